//! The user functions that both hosts offer, and what each answers, so that the two cannot differ here.

use std::sync::{Arc, Mutex};

use hm_abi::USER_MODULE;

/// A function with arguments and result in blocks.
pub struct Function {
    pub module: &'static str,
    pub name: &'static str,
    pub params: u8,
    pub returns: bool,
}

const fn function(name: &'static str, params: u8) -> Function {
    Function { module: USER_MODULE, name, params, returns: true }
}

/// All of them: that of the scripts, and those that the guests in `tests/guests` import.
pub const FUNCTIONS: &[Function] = &[
    function("reverse", 1),
    function("join", 2),
    function("is_even", 1),
    function("double", 1),
    function("find", 1),
    Function { returns: false, ..function("note", 1) },
    Function { module: "other", ..function("half", 1) },
];

/// Each call of a function, with its arguments.
pub type Called = Vec<(&'static str, Vec<Vec<u8>>)>;

/// The same, for who adds to it.
pub type Calls = Arc<Mutex<Called>>;

/// Notes a call and answers it. Arguments of a wrong size are numbers that are 0.
pub fn answer(calls: &Calls, name: &'static str, arguments: Vec<Vec<u8>>) -> Vec<u8> {
    let all = arguments.concat();
    if let Ok(mut calls) = calls.lock() {
        calls.push((name, arguments));
    }
    match name {
        "reverse" => all.into_iter().rev().collect(),
        "join" => all,
        "is_even" => u32::from(all.first().is_none_or(|low| low % 2 == 0)).to_le_bytes().to_vec(),
        "double" => {
            i32::from_le_bytes(all.try_into().unwrap_or_default()).wrapping_mul(2).to_le_bytes().to_vec()
        }
        "half" => (f64::from_le_bytes(all.try_into().unwrap_or_default()) / 2.0).to_le_bytes().to_vec(),
        "find" if all.len() % 2 == 0 => b"null".to_vec(),
        "find" => br#"{"name":"Ada","times":2}"#.to_vec(),
        _ => Vec::new(),
    }
}
