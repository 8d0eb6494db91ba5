//! A host for the unit tests of plugins: it records what a plugin did and answers what a test prepared.
//! It knows no policy and runs nothing; whether the real host grants a function is for tests with `hm`.
//!
//! ```
//! use hm_plugin_sdk::{Level, host, mock};
//!
//! let prepared = mock::Host { should_cancel: true, ..mock::Host::default() };
//! let (cancelled, host) = mock::with(prepared, || {
//!     host::log(Level::Info, "looking");
//!     host::should_cancel()
//! });
//! assert!(cancelled);
//! assert_eq!(host.logs, [(Level::Info, "looking".to_owned())]);
//! ```

mod answers;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use hm_plugin_protocol::*;

use crate::forms::value;

/// What a plugin under test finds and leaves behind.
#[derive(Debug, Default)]
pub struct Host {
    /// Recorded: lines of `log`.
    pub logs: Vec<(Level, String)>,
    /// Recorded: what `emit_step_log` was given, call by call.
    pub step_logs: Vec<(StdStream, Vec<u8>)>,
    /// Recorded: events of `emit_event`.
    pub events: Vec<BuildEvent>,
    /// Recorded: all that went to standard output.
    pub stdout: Vec<u8>,
    /// Recorded: all that went to standard error.
    pub stderr: Vec<u8>,
    /// Recorded: the names of the host functions that were called, in order.
    pub calls: Vec<&'static str>,
    /// Recorded: arguments of `browser_open`.
    pub opened_urls: Vec<String>,

    /// The answer of `should_cancel`.
    pub should_cancel: bool,
    /// What `config` finds.
    pub config: BTreeMap<String, String>,
    /// What `kv_get` finds and `kv_set` stores.
    pub kv: Vec<((KvScope, String), Vec<u8>)>,
    /// The source archive, whatever its id.
    pub archive: Vec<u8>,
    /// What `fs_read_config` finds, by relative path.
    pub config_files: BTreeMap<String, Vec<u8>>,
    /// What the keyring functions find, keep and remove, by service and account.
    pub keyring: BTreeMap<(String, String), String>,
    /// What the person types at prompts, in order.
    pub prompt_answers: VecDeque<String>,
    /// What the person says at yes-or-no questions, in order; then the default holds.
    pub confirm_answers: VecDeque<bool>,
    /// The answer of `browser_open`.
    pub browser_opens: bool,
    /// The answers of `loopback_recv`, in order; then nothing arrives.
    pub callbacks: VecDeque<CallbackData>,
    /// What sockets deliver, in order: one entry for each read, then the end of the stream.
    pub socket_reads: VecDeque<Vec<u8>>,
    /// Recorded: all that was written to sockets.
    pub socket_written: Vec<u8>,

    /// Exit codes of commands, of sandboxes and containers alike, in order; then 0.
    pub exit_codes: VecDeque<i32>,
    /// Recorded: arguments of `sandbox_start`. The ids are `sandbox-0`, `sandbox-1` …
    pub sandboxes: Vec<SandboxStartArgs>,
    /// Recorded: arguments of `sandbox_exec`.
    pub sandbox_execs: Vec<SandboxExecArgs>,
    /// Recorded: arguments of `sandbox_artifacts`.
    pub artifact_calls: Vec<SandboxArtifactsArgs>,
    /// What `sandbox_artifacts` and `docker_artifacts` bring out.
    pub artifacts: Vec<ArtifactRef>,
    /// Whether `sandbox_artifacts` and `docker_artifacts` do not work.
    pub artifacts_fail: bool,
    /// Recorded: sandboxes that were discarded.
    pub discarded: Vec<String>,
    /// What `sandbox_exists` finds; `sandbox_commit` adds the name it was given, or else `layer-of-ID`.
    pub snapshots: Vec<SnapshotRef>,
    /// The answer of `docker_ping`.
    pub docker_answers: bool,
    /// What `docker_image_exists` finds; pulling and committing add to it.
    pub images: Vec<String>,
    /// Recorded: images that were pulled.
    pub pulled: Vec<String>,
    /// Recorded: arguments of `docker_start_container`. The ids are `container-0`, `container-1` …
    pub containers: Vec<DockerStartArgs>,
    /// Recorded: arguments of `docker_exec`.
    pub docker_execs: Vec<DockerExecArgs>,
    /// Recorded: arguments of `docker_extract_workspace`.
    pub docker_extracts: Vec<DockerExtractArgs>,
    /// Recorded: arguments of `docker_artifacts`.
    pub docker_artifact_calls: Vec<DockerArtifactsArgs>,
    /// Recorded: containers that were stopped and removed.
    pub removed_containers: Vec<String>,
}

thread_local! {
    // The functions of `host` have no argument that could carry the mock, as they have none on wasm32.
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Runs `test` with this host behind the functions of [`host`](crate::host) on this thread; gives the result and
/// the host back.
///
/// # Panics
/// Within another `with` on the same thread.
pub fn with<R>(host: Host, test: impl FnOnce() -> R) -> (R, Host) {
    struct Uninstall;
    impl Drop for Uninstall {
        fn drop(&mut self) {
            CURRENT.take();
        }
    }
    let before = CURRENT.replace(Some(host));
    assert!(before.is_none(), "mock::with within mock::with");
    let uninstall = Uninstall;
    let result = test();
    let host = CURRENT.take().unwrap_or_default();
    drop(uninstall);
    (result, host)
}

/// Records the call, and lets `body` at the host.
fn called<R>(function: &'static str, body: impl FnOnce(&mut Host) -> R) -> R {
    CURRENT.with_borrow_mut(|current| match current {
        Some(host) => {
            host.calls.push(function);
            body(host)
        }
        None => panic!("{function} was called outside of hm_plugin_sdk::mock::with"),
    })
}

/// A trait of all host functions, and for each the function that stands for its import and asks the current [`Host`].
macro_rules! functions {
    ($($(#[$meta:meta])* fn $name:ident $(as $wrapper:ident)?
        ($($arg:ident: $form:ident $($ty:ty)?),*) $(-> $result:ident $($answer:ty)?)?;)*) => {
        /// The host functions, as a mock answers them.
        trait HostFunctions {$(
            fn $name(&mut self, $($arg: value!($form $($ty)?)),*) $(-> value!($result $($answer)?))? {
                $(let _ = $arg;)*
                panic!("the mock host has no answer for {}", stringify!($name))
            }
        )*}
        $(
            pub(crate) fn $name($($arg: value!($form $($ty)?)),*) $(-> value!($result $($answer)?))? {
                called(stringify!($name), |host| HostFunctions::$name(host, $($arg),*))
            }
        )*
    };
}

hm_plugin_protocol::host_functions!(functions);

/// What the test put into [`Host::config`]; an empty value counts as none, as it does on wasm32.
pub(crate) fn config_get(key: &str) -> Option<String> {
    called("config_get", |host| host.config.get(key).filter(|value| !value.is_empty()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    #[test]
    fn what_is_stored_is_found_again() {
        let ((), host) = with(Host::default(), || {
            assert_eq!(host::kv_get(KvScope::Build, "k"), None);
            host::kv_set(KvScope::Build, "k", b"1");
            host::kv_set(KvScope::Build, "k", b"2");
            assert_eq!(host::kv_get(KvScope::Build, "k").as_deref(), Some(&b"2"[..]));
            assert_eq!(host::kv_get(KvScope::Step, "k"), None, "scopes are apart");
            host::keyring_set("s", "a", "secret");
            assert_eq!(host::keyring_get("s", "a").as_deref(), Some("secret"));
            host::keyring_delete("s", "a");
            assert_eq!(host::keyring_get("s", "a"), None);
        });
        assert_eq!(host.kv.len(), 1);
        assert_eq!(host.calls[0], "hm_kv_get");
    }

    #[test]
    fn archives_and_sockets_end_where_they_end() {
        let prepared = Host {
            archive: b"0123456789".to_vec(),
            socket_reads: [b"abcd".to_vec()].into(),
            ..Host::default()
        };
        with(prepared, || {
            let id = ArchiveId(uuid::Uuid::nil());
            assert_eq!(host::archive_total_size(id), 10);
            assert_eq!(host::archive_read(id, 8, 100), b"89");
            assert_eq!(host::archive_read(id, u64::MAX, u64::MAX), b"");
            let Some(socket) = host::unix_socket_connect("/run/x.sock") else { panic!("no socket") };
            assert_eq!(host::socket_read(socket, 3), b"abc");
            assert_eq!(host::socket_read(socket, 3), b"d");
            assert_eq!(host::socket_read(socket, 3), b"");
        });
    }

    #[test]
    fn scripted_answers_come_in_order() {
        let prepared = Host {
            exit_codes: [3].into(),
            prompt_answers: ["me".to_owned()].into(),
            confirm_answers: [false].into(),
            ..Host::default()
        };
        let exec = SandboxExecArgs {
            sandbox_id: "sandbox-0".into(),
            cmd: vec!["true".into()],
            env: BTreeMap::new(),
            workdir: "/".into(),
            network: false,
        };
        with(prepared, || {
            assert_eq!(host::sandbox_exec(exec.clone()), 3);
            assert_eq!(host::sandbox_exec(exec), 0);
            assert_eq!(host::tty_prompt("Who?", false), "me");
            assert!(!host::tty_confirm("Sure?", true));
            assert!(host::tty_confirm("Sure?", true));
        });
    }

    #[test]
    #[should_panic(expected = "hm_log was called outside of hm_plugin_sdk::mock::with")]
    fn without_a_mock_a_call_says_so() {
        host::log(Level::Info, "nobody hears this");
    }

    #[test]
    fn a_panic_leaves_no_host_behind() {
        let panicked = std::panic::catch_unwind(|| with(Host::default(), || panic!("in the test")));
        assert!(panicked.is_err());
        with(Host::default(), || host::log(Level::Info, "again"));
    }
}
