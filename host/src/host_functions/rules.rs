//! The rules for calling each host function, in one list for whoever reviews them. The gate enforces them; what a
//! function does is in its body.

use std::time::Duration;

use super::RoleKind;
use super::call_rules::{BackendKind, CallRules, RequiredGrant};

/// Fuel for a call that only passes data on.
const FUEL_CHEAP: u64 = 1_000;

/// Fuel for a call that starts or removes something outside the guest.
const FUEL_EXPENSIVE: u64 = 100_000;

/// Fuel for a call that reads a file of some megabytes, or writes it and waits for the disk.
const FUEL_DISK: u64 = 1_000_000;

/// Deadline of a call that is done at once, unless the machine is in trouble.
const DEADLINE_SHORT: Option<Duration> = Some(Duration::from_secs(30));

/// Deadline of a call that waits for the user.
const DEADLINE_INTERACTIVE: Option<Duration> = Some(Duration::from_secs(10 * 60));

/// Every instance but the one that reads the manifest.
const ALL: &[RoleKind] =
    &[RoleKind::Executor, RoleKind::Formatter, RoleKind::Hook, RoleKind::Subcommand, RoleKind::Call];

/// Instances that run a step.
const STEPS: &[RoleKind] = &[RoleKind::Executor];

/// Instances that may be told to stop.
const STOPPABLE: &[RoleKind] = &[RoleKind::Executor, RoleKind::Hook, RoleKind::Subcommand];

/// Instances that have streams of their own.
const WRITERS: &[RoleKind] = &[RoleKind::Formatter, RoleKind::Subcommand, RoleKind::Call];

/// Instances that may have a user to ask.
const ATTENDED: &[RoleKind] = &[RoleKind::Executor, RoleKind::Hook, RoleKind::Subcommand, RoleKind::Call];

macro_rules! rules_by_function {
    ($($(#[$meta:meta])* fn $name:ident $(as $wrapper:ident)?
        ($($arg:ident: $form:ident $($ty:ty)?),*) $(-> $result:ident $($answer:ty)?)?;)*) => {
        /// Rules for each function that is declared; one without them does not compile.
        pub(super) struct RulesByFunction {
            $(pub(super) $name: CallRules,)*
        }
    };
}

hm_plugin_protocol::host_functions!(rules_by_function);

/// The rules for every host function.
pub(super) const RULES: RulesByFunction = RulesByFunction {
    hm_log: CallRules {
        backend: BackendKind::None,
        grant: RequiredGrant::None,
        roles: ALL,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "say something to whoever runs hm, with its name before it",
    },
    hm_emit_step_log: CallRules {
        backend: BackendKind::None,
        grant: RequiredGrant::None,
        roles: STEPS,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "add to the output of its own step",
    },
    hm_emit_event: CallRules {
        backend: BackendKind::None,
        grant: RequiredGrant::None,
        roles: STEPS,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "add a line to the output of its own step, and send no other event",
    },
    hm_should_cancel: CallRules {
        backend: BackendKind::None,
        grant: RequiredGrant::None,
        roles: STOPPABLE,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "ask whether it is to stop",
    },
    hm_write_stdout: CallRules {
        backend: BackendKind::None,
        grant: RequiredGrant::None,
        roles: WRITERS,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "write to the standard output of hm",
    },
    hm_write_stderr: CallRules {
        backend: BackendKind::None,
        grant: RequiredGrant::None,
        roles: WRITERS,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "write to the standard error of hm",
    },
    hm_sandbox_start: CallRules {
        backend: BackendKind::Sandbox,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "make a sandbox with a copy of the project's files in it",
    },
    hm_sandbox_exec: CallRules {
        backend: BackendKind::Sandbox,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "run any command in a sandbox that its step has made",
    },
    hm_sandbox_artifacts: CallRules {
        backend: BackendKind::Sandbox,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "copy files out of a sandbox that its step has made, to where you want what steps produce",
    },
    hm_sandbox_commit: CallRules {
        backend: BackendKind::Sandbox,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "keep the files of a sandbox that its step has made, also for later builds",
    },
    hm_sandbox_discard: CallRules {
        backend: BackendKind::Sandbox,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "remove a sandbox that its step has made",
    },
    hm_sandbox_exists: CallRules {
        backend: BackendKind::Sandbox,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_CHEAP,
        deadline: DEADLINE_SHORT,
        description: "ask whether the kept files of a sandbox are still there",
    },
    hm_docker_ping: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_SHORT,
        description: "ask whether a Docker Engine answers",
    },
    hm_docker_image_exists: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "ask the Docker Engine whether it has an image",
    },
    hm_docker_pull: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "have the Docker Engine pull images, with what you are logged in to",
    },
    hm_docker_start_container: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "start containers from any image of the Docker Engine, without privileges and without your files",
    },
    hm_docker_extract_workspace: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "put a copy of the project's files into a container that its step has started",
    },
    hm_docker_exec: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "run any command in a container that its step has started",
    },
    hm_docker_artifacts: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "copy files out of a container that its step has started, to where you want what steps produce",
    },
    hm_docker_commit: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "keep the files of a container that its step has started as an image, also for later builds",
    },
    hm_docker_remove_image: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "remove an image that its step has made",
    },
    hm_docker_stop_remove: CallRules {
        backend: BackendKind::Docker,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "remove a container that its step has started",
    },
    hm_kv_get: CallRules {
        backend: BackendKind::Values,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_DISK,
        deadline: DEADLINE_SHORT,
        description: "read the values that it has kept, which no other plugin sees",
    },
    hm_kv_set: CallRules {
        backend: BackendKind::Values,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_DISK,
        deadline: DEADLINE_SHORT,
        description: "keep values of its own on this machine, up to 4 MiB",
    },
    hm_archive_total_size: CallRules {
        backend: BackendKind::Project,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "see how large the project's files are in one archive",
    },
    hm_archive_read: CallRules {
        backend: BackendKind::Project,
        grant: RequiredGrant::Function,
        roles: STEPS,
        fuel: FUEL_EXPENSIVE,
        deadline: None,
        description: "read all of the project's files, .git included, but for what .gitignore and .hmignore leave out",
    },
    hm_fs_read_config: CallRules {
        backend: BackendKind::Project,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_SHORT,
        description: "read the files in the project's .hm and .harmont",
    },
    hm_unix_socket_connect: CallRules {
        backend: BackendKind::Sockets,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_SHORT,
        description: "connect to the unix sockets that it names",
    },
    hm_socket_write: CallRules {
        backend: BackendKind::Sockets,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "write to a socket that it has connected to",
    },
    hm_socket_read: CallRules {
        backend: BackendKind::Sockets,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "read from a socket that it has connected to",
    },
    hm_socket_close: CallRules {
        backend: BackendKind::Sockets,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_CHEAP,
        deadline: None,
        description: "close a socket that it has connected to",
    },
    hm_keyring_get: CallRules {
        backend: BackendKind::Keyring,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_INTERACTIVE,
        description: "read its own secrets in your keyring",
    },
    hm_keyring_set: CallRules {
        backend: BackendKind::Keyring,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_INTERACTIVE,
        description: "keep secrets of its own in your keyring",
    },
    hm_keyring_delete: CallRules {
        backend: BackendKind::Keyring,
        grant: RequiredGrant::Function,
        roles: ALL,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_INTERACTIVE,
        description: "remove its own secrets from your keyring",
    },
    hm_tty_prompt: CallRules {
        backend: BackendKind::Terminal,
        grant: RequiredGrant::Function,
        roles: ATTENDED,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_INTERACTIVE,
        description: "ask you for a line at the terminal, with its name before the question",
    },
    hm_tty_confirm: CallRules {
        backend: BackendKind::Terminal,
        grant: RequiredGrant::Function,
        roles: ATTENDED,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_INTERACTIVE,
        description: "ask you yes or no at the terminal, with its name before the question",
    },
    hm_browser_open: CallRules {
        backend: BackendKind::Browser,
        grant: RequiredGrant::Function,
        roles: ATTENDED,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_SHORT,
        description: "open a page in your browser, over https or of this machine",
    },
    hm_spawn_loopback: CallRules {
        backend: BackendKind::Browser,
        grant: RequiredGrant::Function,
        roles: ATTENDED,
        fuel: FUEL_EXPENSIVE,
        deadline: DEADLINE_SHORT,
        description: "wait on this machine for the one request that a login page sends your browser back with",
    },
    hm_loopback_recv: CallRules {
        backend: BackendKind::Browser,
        grant: RequiredGrant::Function,
        roles: ATTENDED,
        fuel: FUEL_CHEAP,
        deadline: DEADLINE_INTERACTIVE,
        description: "read the request that a login page has sent your browser back with",
    },
};
