//! Functions of the host as the PDK imports them: each argument and each result is a block that it encodes and frees,
//! the arguments after the call and before the result is read.

use extism_pdk::{host_fn, plugin_fn, FnResult, Json};

use crate::Greeting;

#[host_fn]
extern "ExtismHost" {
    fn join(left: String, right: Vec<u8>) -> String;
    fn is_even(number: u64) -> bool;
    fn double(number: i32) -> i32;
    fn find(key: String) -> Json<Option<Greeting>>;
    fn note(text: String);
}

#[host_fn("other")]
extern "ExtismHost" {
    fn half(number: f64) -> f64;
}

#[plugin_fn]
pub fn host_functions(text: String) -> FnResult<String> {
    // SAFETY: the host has these functions with these types, or this module would not have been linked.
    unsafe {
        let joined = join(text.clone(), text.into_bytes())?;
        let length = joined.len();
        let even = is_even(length.try_into()?)?;
        let doubled = double(-(i32::try_from(length)?))?;
        let half = half(doubled.into())?;
        note(format!("joined {length}"))?;
        let found = find(joined.clone())?;
        let found =
            found.0.map_or_else(|| "nothing".to_owned(), |found| format!("{} {}", found.name, found.times));
        Ok(format!("{joined} {even} {doubled} {half} {found}"))
    }
}
