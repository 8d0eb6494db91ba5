//! Host functions that reach what is outside of `hm`, as a person has them: a real terminal, a real keyring, a real
//! browser, real sockets; and what must stay untouched meanwhile.

mod browser;
mod keyring;
pub(crate) mod pty;
mod sockets;
mod terminal;

use std::fmt::Write;
use std::fs;

use crate::support::{BLOCKS, Project};

/// A host call: function, argument, and whether it answers anything.
pub(crate) type Call<'a> = (&'a str, &'a [u8], bool);

/// A module whose `go` makes these host calls in turn, and answers what the last one answers; `call0`, `call1`, … make
/// one of them.
fn guest(calls: &[Call<'_>]) -> Vec<u8> {
    let [mut imports, mut data, mut single, mut body] = [const { String::new() }; 4];
    let mut offset = 0;
    for (index, (name, argument, answers)) in calls.iter().enumerate() {
        let call =
            format!("(call $f{index} (call $block (i32.const {offset}) (i32.const {})))", argument.len());
        let (result, call) =
            if *answers { ("(result i64)", format!("(local.set 0 {call})")) } else { ("", call) };
        let _ = writeln!(
            imports,
            r#"(import "extism:host/user" "{name}" (func $f{index} (param i64) {result}))"#
        );
        let bytes: String = argument.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = writeln!(data, r#"(data (i32.const {offset}) "{bytes}")"#);
        let _ = writeln!(
            single,
            r#"(func (export "call{index}") (local i64) {call} (call $answer (local.get 0)))"#
        );
        let _ = writeln!(body, "{call}");
        offset += argument.len();
    }
    let pages = offset / 65536 + 1;
    let text = format!(
        r#"(module
          {imports}
          {BLOCKS}
          (memory (export "memory") {pages})
          {data}
          {single}
          (func (export "go") (local i64) {body} (call $answer (local.get 0))))"#
    );
    wat::parse_str(text).expect("a guest")
}

/// Puts such a module into the project, and gives the arguments for `hm` that call it with all that it calls granted.
fn granted(project: &Project, file: &str, export: &str, calls: &[Call<'_>]) -> Vec<String> {
    fs::write(project.path().join(file), guest(calls)).expect("a file");
    let mut args: Vec<String> = ["plugin", "call", file, export].map(str::to_owned).into();
    for (name, ..) in calls {
        args.extend(["--grant".to_owned(), (*name).to_owned()]);
    }
    args
}

/// These arguments and more of them.
fn strs<'a>(args: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    args.iter().map(String::as_str).chain(more.iter().copied()).collect()
}
