//! The one table of host functions. Linking, checks of manifests and refusals all come from it, so that a function
//! cannot exist for a plugin in any other way. The bodies are in the modules beside this one.

use std::time::Duration;

use hm_abi::HostFuture;

use super::{
    Args, PluginState, Who, browser, docker, keyring, kv, log, output, project, sockets, steps, terminal,
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
        name: "hm_docker_ping",
        params: &[],
        returns: "u32",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: SOON,
        can: "ask whether a Docker Engine answers",
        body: docker::ping,
    },
    HostFn {
        name: "hm_docker_image_exists",
        params: &["image utf-8"],
        returns: "u32",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "ask the Docker Engine whether it has an image",
        body: docker::image_exists,
    },
    HostFn {
        name: "hm_docker_pull",
        params: &["image utf-8"],
        returns: "",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "have the Docker Engine pull images, with what you are logged in to",
        body: docker::pull,
    },
    HostFn {
        name: "hm_docker_start_container",
        params: &["args json"],
        returns: "utf-8",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "start containers from any image of the Docker Engine, without privileges and without your files",
        body: docker::start_container,
    },
    HostFn {
        name: "hm_docker_extract_workspace",
        params: &["args json"],
        returns: "",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "put a copy of the project's files into a container that its step has started",
        body: docker::extract_workspace,
    },
    HostFn {
        name: "hm_docker_exec",
        params: &["args json"],
        returns: "i32",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "run any command in a container that its step has started",
        body: docker::exec,
    },
    HostFn {
        name: "hm_docker_artifacts",
        params: &["args json"],
        returns: "json",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "copy files out of a container that its step has started, to where you want what steps produce",
        body: docker::artifacts,
    },
    HostFn {
        name: "hm_docker_commit",
        params: &["args json"],
        returns: "utf-8",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "keep the files of a container that its step has started as an image, also for later builds",
        body: docker::commit,
    },
    HostFn {
        name: "hm_docker_remove_image",
        params: &["image utf-8"],
        returns: "",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "remove an image that its step has made",
        body: docker::remove_image,
    },
    HostFn {
        name: "hm_docker_stop_remove",
        params: &["container utf-8"],
        returns: "",
        grant: Grant::Named,
        who: STEPS,
        fuel: DEAR,
        longest: None,
        can: "remove a container that its step has started",
        body: docker::stop_remove,
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
