//! What comes of the table of host functions: linking, checks of manifests, and the table for people.

use std::fmt::Write;

use hm_abi::{HostFunction, HostFunctions, USER_MODULE};

use super::{Args, Grant, HostFn, PluginState, TABLE, gate};

/// Fuel for each byte that crosses in either direction: copying is not free for the host either.
const FUEL_PER_BYTE: u64 = 1;

/// The table as the ABI links it, each function behind the gate.
#[must_use]
pub fn host_functions() -> HostFunctions<PluginState> {
    let mut functions = HostFunctions::new();
    for function in TABLE {
        let declaration = HostFunction {
            module: USER_MODULE,
            name: function.name,
            params: u8::try_from(function.params.len()).unwrap_or(u8::MAX),
            returns: !function.returns.is_empty(),
            fuel: function.fuel,
            fuel_per_byte: FUEL_PER_BYTE,
        };
        functions.define(declaration, move |state: &mut PluginState, args: Args| {
            Box::pin(gate::call(function, state, args))
        });
    }
    functions
}

/// The table for people: `docs/host-functions.md` is this text.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(REFERENCE);
    for function in TABLE {
        let HostFn { name, params, returns, fuel, can, .. } = function;
        let returns = if returns.is_empty() { "nothing" } else { returns };
        let grant = match function.grant {
            Grant::Harmless => "-",
            Grant::Named => "yes",
        };
        let who: Vec<&str> = function.who.iter().map(|who| who.name()).collect();
        let longest = function.longest.map_or_else(|| "-".to_owned(), |d| format!("{} s", d.as_secs()));
        let (params, who) = (params.join(", "), who.join(", "));
        let _ = writeln!(
            text,
            "| `{name}` | {params} | {returns} | {can} | {grant} | {who} | {fuel} | {longest} |"
        );
    }
    text
}

/// What stands before the table.
const REFERENCE: &str = "\
# Host functions

What a plugin can do beyond computing: imports of module `extism:host/user`. This text is made from the table that links them
(`host/src/host_functions/table.rs`); `HM_BLESS=1 cargo test -p hm --lib` writes it anew.

A function works for a plugin if its manifest asks for it in `required_host_fns` and, where the table says so, the user has
granted it (`hm plugin install`, `hm plugin trust`). Otherwise the import is there and calling it ends the plugin's call. A
failure of the host ends the call too; something that is merely not there is `null`, false or empty.

Arguments and results are blocks of Extism memory, and a block of no bytes is offset 0. Of the forms, `json` is JSON text of the
type that the crate `hm-plugin-protocol` has for it, `utf-8` and `bytes` are as they are, and `u32`, `i32` and `u64` are
little-endian, truth values among them as `u32`. Fuel is the price of a call; each byte that crosses costs one more. A deadline
of the function itself is given where there is one; that of the plugin's call holds for all.

| function | takes | answers | the plugin can | needs a grant | for | fuel | deadline |
|---|---|---|---|---|---|---|---|
";

/// The first function that a manifest asks for and that does not exist here.
#[must_use]
pub fn required_but_unknown(required: &[String]) -> Option<&str> {
    required.iter().map(String::as_str).find(|name| TABLE.iter().all(|f| f.name != *name))
}

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

    #[test]
    fn every_function_is_there_once() {
        let mut names: Vec<&str> = TABLE.iter().map(|f| f.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(
            required_but_unknown(&["hm_log".into(), "hm_rule_the_world".into()]),
            Some("hm_rule_the_world")
        );
    }
}
