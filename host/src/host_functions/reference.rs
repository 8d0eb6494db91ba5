//! The table of host functions for people: `docs/host-functions.md` is this text, which a test compares and writes.

use std::fmt::{self, Display, Formatter, Write};

use super::call_rules::{CallRules, RequiredGrant};
use super::host_fn::{Form, HostFn, Param};
use super::table::TABLE;

/// Text of `docs/host-functions.md`.
fn reference() -> String {
    let mut text = String::from(REFERENCE);
    for HostFn { name, params, answer, rules, .. } in TABLE {
        let CallRules { grant, roles, fuel, deadline, description, .. } = rules;
        let params: Vec<String> = params.iter().map(ToString::to_string).collect();
        let answer = answer.map_or_else(|| "nothing".to_owned(), |form| form.to_string());
        let grant = match grant {
            RequiredGrant::None => "-",
            RequiredGrant::Function => "yes",
        };
        let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let deadline = deadline.map_or_else(|| "-".to_owned(), |d| format!("{} s", d.as_secs()));
        let (params, roles) = (params.join(", "), roles.join(", "));
        let _ = writeln!(
            text,
            "| `{name}` | {params} | {answer} | {description} | {grant} | {roles} | {fuel} | {deadline} |"
        );
    }
    text
}

impl Display for Form {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self { name, ty: "" } => f.write_str(name),
            // As the compiler writes types, there are spaces in them.
            Self { name, ty } => write!(f, "{name} `{}`", ty.replace(' ', "")),
        }
    }
}

impl Display for Param {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.form)
    }
}

/// Text before the table.
const REFERENCE: &str = "\
# Host functions

What a plugin can do beyond computing: imports of module `extism:host/user`.

## Who may call one

A plugin's manifest asks for a function in `required_host_fns`. Where the table says so, the user must also have granted
it (`hm plugin install`, `hm plugin trust`). Otherwise the import is there, and calling it ends the plugin's call. The
column `for` lists the roles whose instances may call it.

## Values

Arguments and results are blocks of Extism memory. A block of no bytes is offset 0. The forms are:

| form | bytes |
|---|---|
| `json` | JSON of the type behind it, which is Rust's or of the crate `hm-plugin-protocol` |
| `utf-8`, `bytes` | as they are |
| `u32`, `i32`, `u64` | little-endian; a truth value is a `u32` |

Bytes that are no such value end the plugin's call with a trap that names the function and the argument. A failure of
the host ends the call too. Something that is merely not there is `null`, false or empty.

## Costs

Fuel is the price of a call. Each byte that crosses costs one more. A deadline is the function's own, where it has one.
That of the plugin's call holds for all.

## The table

This page is made from the host's table. `HM_BLESS=1 cargo test -p hm --lib` writes it again.
[The tour](tour.md#to-add-a-host-function) says how to add a function.

| function | takes | answers | the plugin can | needs a grant | for | fuel | deadline |
|---|---|---|---|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_what_the_table_says() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/host-functions.md");
        if std::env::var_os("HM_BLESS").is_some() {
            std::fs::write(&path, reference()).expect("docs");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("docs/host-functions.md"), reference());
    }
}
