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

What a plugin can do beyond computing: imports of module `extism:host/user`. This text is made from the table that links them
(`host/src/host_functions/table.rs`); `HM_BLESS=1 cargo test -p hm --lib` writes it anew. To add a function, declare it in
`protocol/src/host_functions.rs`, give it rules in `host/src/host_functions/rules.rs` and a body of its name in a file beside
that, and add its case in `tests/grants`; the compiler and the tests ask for each of these.

A function works for a plugin if its manifest asks for it in `required_host_fns` and, where the table says so, the user has
granted it (`hm plugin install`, `hm plugin trust`). Otherwise the import is there and calling it ends the plugin's call. A
failure of the host ends the call too; something that is merely not there is `null`, false or empty.

Arguments and results are blocks of Extism memory, and a block of no bytes is offset 0. Of the forms, `json` is JSON text of the
type that stands behind it, which is Rust's or of the crate `hm-plugin-protocol`; `utf-8` and `bytes` are as they are; `u32`,
`i32` and `u64` are little-endian, truth values among them as `u32`. Bytes that are no such value end the plugin's call with a
trap that names the function and the argument. Fuel is the price of a call; each byte that crosses costs one more. A deadline
of the function itself is given where there is one; that of the plugin's call holds for all.

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
