//! The one table of host functions. Linking, checks of manifests and refusals all come from it, so that a function
//! cannot exist for a plugin in any other way. The bodies are in the modules beside this one.

use hm_abi::{HostError, HostFunction, HostFunctions, HostFuture, USER_MODULE};

use super::{Args, PluginState, log, output, steps};

/// What the user must have granted before a host function does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Nothing: it reaches nothing beyond the plugin's own step or output. Asking for it in the manifest is enough.
    Harmless,
    /// The function, by name.
    Named,
}

/// One host function.
pub struct HostFn {
    /// The import's name in `extism:host/user`.
    pub name: &'static str,
    /// How many arguments it takes, each an offset.
    pub params: u8,
    /// Whether it answers with an offset.
    pub returns: bool,
    /// What it needs beyond being asked for.
    pub grant: Grant,
    /// Its price in fuel.
    pub fuel: u64,
    /// What it does.
    pub body: for<'a> fn(&'a mut PluginState, Args) -> HostFuture<'a>,
}

/// Fuel for each byte that crosses in either direction: copying is not free for the host either.
const FUEL_PER_BYTE: u64 = 1;

/// Fuel for a call that only hands data on.
const CHEAP: u64 = 1_000;

/// Fuel for a call that starts or removes something outside the guest.
const DEAR: u64 = 100_000;

const fn function(
    name: &'static str,
    (params, returns): (u8, bool),
    grant: Grant,
    fuel: u64,
    body: for<'a> fn(&'a mut PluginState, Args) -> HostFuture<'a>,
) -> HostFn {
    HostFn { name, params, returns, grant, fuel, body }
}

/// Every host function that this host has.
pub const TABLE: &[HostFn] = &[
    function("hm_log", (2, false), Grant::Harmless, CHEAP, log::log),
    function("hm_emit_step_log", (2, false), Grant::Harmless, CHEAP, log::emit_step_log),
    function("hm_emit_event", (1, false), Grant::Harmless, CHEAP, log::emit_event),
    function("hm_should_cancel", (0, true), Grant::Harmless, CHEAP, steps::should_cancel),
    function("hm_write_stdout", (1, false), Grant::Harmless, CHEAP, output::write_stdout),
    function("hm_write_stderr", (1, false), Grant::Harmless, CHEAP, output::write_stderr),
    function("hm_sandbox_start", (1, true), Grant::Named, DEAR, steps::sandbox_start),
    function("hm_sandbox_exec", (1, true), Grant::Named, DEAR, steps::sandbox_exec),
    function("hm_sandbox_commit", (1, true), Grant::Named, DEAR, steps::sandbox_commit),
    function("hm_sandbox_discard", (1, false), Grant::Named, DEAR, steps::sandbox_discard),
    function("hm_sandbox_exists", (1, true), Grant::Named, CHEAP, steps::sandbox_exists),
];

/// The table as the ABI links it. Each call first checks that the plugin asked for the function and was granted it.
#[must_use]
pub fn host_functions() -> HostFunctions<PluginState> {
    let mut functions = HostFunctions::new();
    for entry in TABLE {
        let declaration = HostFunction {
            module: USER_MODULE,
            name: entry.name,
            params: entry.params,
            returns: entry.returns,
            fuel: entry.fuel,
            fuel_per_byte: FUEL_PER_BYTE,
        };
        functions.define(declaration, move |state: &mut PluginState, args: Args| {
            if state.granted.contains(entry.name) {
                (entry.body)(state, args)
            } else {
                let capability = entry.name.to_owned();
                Box::pin(async move { Err(HostError::Denied { capability }) })
            }
        });
    }
    functions
}

/// The first function that a manifest asks for and that does not exist here.
#[must_use]
pub fn required_but_unknown(required: &[String]) -> Option<&str> {
    required.iter().map(String::as_str).find(|name| TABLE.iter().all(|f| f.name != *name))
}

#[cfg(test)]
mod tests {
    use super::*;

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
