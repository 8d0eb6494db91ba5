//! The one table of host functions. Linking, checks of manifests and refusals all come from it, so that a function
//! cannot exist for a plugin in any other way. The bodies are in the modules beside this one.

use std::fmt::Write;
use std::time::Duration;

use hm_abi::{HostFunction, HostFunctions, HostFuture, USER_MODULE};

use super::{
    Args, PluginState, Who, browser, gate, keyring, kv, log, output, project, sockets, steps, terminal,
};

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
    /// What it takes, an offset each: name and form, such as `scope json`.
    pub params: &'static [&'static str],
    /// The form of what it answers, behind an offset; empty if it answers nothing.
    pub returns: &'static str,
    /// What it needs beyond being asked for.
    pub grant: Grant,
    /// Which instances may call it.
    pub who: &'static [Who],
    /// Its price in fuel.
    pub fuel: u64,
    /// How long it may take; none: as long as the guest's call.
    pub longest: Option<Duration>,
    /// What it is for, in a sentence for who installs a plugin: "It can …".
    pub can: &'static str,
    /// What it does.
    pub body: for<'a> fn(&'a mut PluginState, Args) -> HostFuture<'a>,
}

/// Fuel for each byte that crosses in either direction: copying is not free for the host either.
const FUEL_PER_BYTE: u64 = 1;

/// Fuel for a call that only hands data on.
const CHEAP: u64 = 1_000;

/// Fuel for a call that starts or removes something outside the guest.
const DEAR: u64 = 100_000;

/// Fuel for a call that reads a file of some megabytes, or writes it and waits for the disk.
const DISK: u64 = 1_000_000;

/// The deadline of what is done at once unless the machine is in trouble.
const SOON: Option<Duration> = Some(Duration::from_secs(30));

/// The deadline of what waits for a person.
const PERSON: Option<Duration> = Some(Duration::from_secs(10 * 60));

/// Every instance but the one that reads the manifest.
const ALL: &[Who] = &[Who::Executor, Who::Formatter, Who::Hook, Who::Subcommand, Who::Call];

/// Those that run a step.
const STEPS: &[Who] = &[Who::Executor];

/// Those that may be told to stop.
const STOPPABLE: &[Who] = &[Who::Executor, Who::Hook, Who::Subcommand];

/// Those that have streams of their own.
const WRITERS: &[Who] = &[Who::Formatter, Who::Subcommand, Who::Call];

/// Those behind which a person may be.
const ATTENDED: &[Who] = &[Who::Executor, Who::Hook, Who::Subcommand, Who::Call];

/// Every host function that this host has.
pub const TABLE: &[HostFn] = &[
    HostFn {
        name: "hm_log",
        params: &["level json", "text utf-8"],
        returns: "",
        grant: Grant::Harmless,
        who: ALL,
        fuel: CHEAP,
        longest: None,
        can: "say something to whoever runs hm, with its name before it",
        body: log::log,
    },
    HostFn {
        name: "hm_emit_step_log",
        params: &["stream json", "output bytes"],
        returns: "",
        grant: Grant::Harmless,
        who: STEPS,
        fuel: CHEAP,
        longest: None,
        can: "add to the output of its own step",
        body: log::emit_step_log,
    },
    HostFn {
        name: "hm_emit_event",
        params: &["event json"],
        returns: "",
        grant: Grant::Harmless,
        who: STEPS,
        fuel: CHEAP,
        longest: None,
        can: "add a line to the output of its own step, and send no other event",
        body: log::emit_event,
    },
    HostFn {
        name: "hm_should_cancel",
        params: &[],
        returns: "u32",
        grant: Grant::Harmless,
        who: STOPPABLE,
        fuel: CHEAP,
        longest: None,
        can: "ask whether it is to stop",
        body: steps::should_cancel,
    },
    HostFn {
        name: "hm_write_stdout",
        params: &["text bytes"],
        returns: "",
        grant: Grant::Harmless,
        who: WRITERS,
        fuel: CHEAP,
        longest: None,
        can: "write to the standard output of hm",
        body: output::write_stdout,
    },
    HostFn {
        name: "hm_write_stderr",
        params: &["text bytes"],
        returns: "",
        grant: Grant::Harmless,
        who: WRITERS,
        fuel: CHEAP,
        longest: None,
        can: "write to the standard error of hm",
        body: output::write_stderr,
    },
    HostFn {
        name: "hm_sandbox_start",
        params: &["args json"],
        returns: "utf-8",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "make a sandbox with a copy of the project's files in it",
        body: steps::sandbox_start,
    },
    HostFn {
        name: "hm_sandbox_exec",
        params: &["args json"],
        returns: "i32",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "run any command in a sandbox that its step has made",
        body: steps::sandbox_exec,
    },
    HostFn {
        name: "hm_sandbox_artifacts",
        params: &["args json"],
        returns: "json",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "copy files out of a sandbox that its step has made, to where you want what steps produce",
        body: steps::sandbox_artifacts,
    },
    HostFn {
        name: "hm_sandbox_commit",
        params: &["args json"],
        returns: "json",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "keep the files of a sandbox that its step has made, also for later builds",
        body: steps::sandbox_commit,
    },
    HostFn {
        name: "hm_sandbox_discard",
        params: &["sandbox utf-8"],
        returns: "",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "remove a sandbox that its step has made",
        body: steps::sandbox_discard,
    },
    HostFn {
        name: "hm_sandbox_exists",
        params: &["snapshot json"],
        returns: "u32",
        grant: Grant::Named,
        who: STEPS,
        fuel: CHEAP,
        longest: SOON,
        can: "ask whether the kept files of a sandbox are still there",
        body: steps::sandbox_exists,
    },
    HostFn {
        name: "hm_kv_get",
        params: &["scope json", "key utf-8"],
        returns: "json",
        grant: Grant::Named,
        who: ALL,
        fuel: DISK,
        longest: SOON,
        can: "read the values that it has kept, which no other plugin sees",
        body: kv::get,
    },
    HostFn {
        name: "hm_kv_set",
        params: &["scope json", "key utf-8", "value bytes"],
        returns: "",
        grant: Grant::Named,
        who: ALL,
        fuel: DISK,
        longest: SOON,
        can: "keep values of its own on this machine, up to 4 MiB",
        body: kv::set,
    },
    HostFn {
        name: "hm_archive_total_size",
        params: &["archive json"],
        returns: "u64",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "see how large the project's files are in one archive",
        body: project::archive_total_size,
    },
    HostFn {
        name: "hm_archive_read",
        params: &["args json"],
        returns: "bytes",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "read all of the project's files, .git included, but for what .gitignore and .hmignore leave out",
        body: project::archive_read,
    },
    HostFn {
        name: "hm_fs_read_config",
        params: &["path utf-8"],
        returns: "json",
        grant: Grant::Named,
        who: ALL,
        fuel: DEAR,
        longest: SOON,
        can: "read the files in the project's .hm and .harmont",
        body: project::fs_read_config,
    },
    HostFn {
        name: "hm_unix_socket_connect",
        params: &["path utf-8"],
        returns: "json",
        grant: Grant::Named,
        who: ALL,
        fuel: DEAR,
        longest: SOON,
        can: "connect to the unix sockets that it names",
        body: sockets::connect,
    },
    HostFn {
        name: "hm_socket_write",
        params: &["args json"],
        returns: "u64",
        grant: Grant::Named,
        who: ALL,
        fuel: CHEAP,
        longest: None,
        can: "write to a socket that it has connected to",
        body: sockets::write,
    },
    HostFn {
        name: "hm_socket_read",
        params: &["args json"],
        returns: "bytes",
        grant: Grant::Named,
        who: ALL,
        fuel: CHEAP,
        longest: None,
        can: "read from a socket that it has connected to",
        body: sockets::read,
    },
    HostFn {
        name: "hm_socket_close",
        params: &["socket json"],
        returns: "",
        grant: Grant::Named,
        who: ALL,
        fuel: CHEAP,
        longest: None,
        can: "close a socket that it has connected to",
        body: sockets::close,
    },
    HostFn {
        name: "hm_keyring_get",
        params: &["args json"],
        returns: "json",
        grant: Grant::Named,
        who: ALL,
        fuel: DEAR,
        longest: PERSON,
        can: "read its own secrets in your keyring",
        body: keyring::get,
    },
    HostFn {
        name: "hm_keyring_set",
        params: &["args json"],
        returns: "",
        grant: Grant::Named,
        who: ALL,
        fuel: DEAR,
        longest: PERSON,
        can: "keep secrets of its own in your keyring",
        body: keyring::set,
    },
    HostFn {
        name: "hm_keyring_delete",
        params: &["args json"],
        returns: "",
        grant: Grant::Named,
        who: ALL,
        fuel: DEAR,
        longest: PERSON,
        can: "remove its own secrets from your keyring",
        body: keyring::delete,
    },
    HostFn {
        name: "hm_tty_prompt",
        params: &["args json"],
        returns: "utf-8",
        grant: Grant::Named,
        who: ATTENDED,
        fuel: DEAR,
        longest: PERSON,
        can: "ask you for a line at the terminal, with its name before the question",
        body: terminal::prompt,
    },
    HostFn {
        name: "hm_tty_confirm",
        params: &["args json"],
        returns: "u32",
        grant: Grant::Named,
        who: ATTENDED,
        fuel: DEAR,
        longest: PERSON,
        can: "ask you yes or no at the terminal, with its name before the question",
        body: terminal::confirm,
    },
    HostFn {
        name: "hm_browser_open",
        params: &["url utf-8"],
        returns: "u32",
        grant: Grant::Named,
        who: ATTENDED,
        fuel: DEAR,
        longest: SOON,
        can: "open a page in your browser, over https or of this machine",
        body: browser::open,
    },
    HostFn {
        name: "hm_spawn_loopback",
        params: &["port json"],
        returns: "json",
        grant: Grant::Named,
        who: ATTENDED,
        fuel: DEAR,
        longest: SOON,
        can: "wait on this machine for the one request that a login page sends your browser back with",
        body: browser::spawn_loopback,
    },
    HostFn {
        name: "hm_loopback_recv",
        params: &["args json"],
        returns: "json",
        grant: Grant::Named,
        who: ATTENDED,
        fuel: CHEAP,
        longest: PERSON,
        can: "read the request that a login page has sent your browser back with",
        body: browser::loopback_recv,
    },
];

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
(`host/src/sandbox/table.rs`); `HM_BLESS=1 cargo test -p hm --lib` writes it anew.

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
