//! The host functions, each declared once: import name, arguments and result, with their forms on the wire.
//! Hosts and SDKs expand the list with a macro of their own; what a call may do is the host's decision.

/// Expands to `$callback! { … }` around the declarations of all host functions.
///
/// A declaration is `fn IMPORT as WRAPPER(ARGUMENT: FORM, …) -> FORM;`. `IMPORT` is the name in the import module
/// `extism:host/user`, `WRAPPER` that of the function with the same arguments in the SDK. Without `as`, the SDK has a
/// wrapper with other arguments, written by hand. Types are those of this crate; the expansion has them in scope.
///
/// | form | bytes of the block |
/// |---|---|
/// | `json T` | JSON of `T` |
/// | `secret_json T` | the same, and no message quotes it |
/// | `utf8` | text |
/// | `lossy_utf8` | text, in which the host replaces what is not UTF-8 |
/// | `bytes` | as they are |
/// | `truth` | 0 or 1, as a `u32` in little endian, which readers of one byte and of four understand |
/// | `i32`, `u64` | little endian |
///
/// ```
/// macro_rules! names {
///     ($($(#[$meta:meta])* fn $name:ident $(as $wrapper:ident)?
///         ($($arg:ident: $form:ident $($ty:ty)?),*) $(-> $result:ident $($answer:ty)?)?;)*) => {
///         [$(stringify!($name)),*]
///     };
/// }
/// assert!(hm_plugin_protocol::host_functions!(names).contains(&"hm_log"));
/// ```
#[macro_export]
macro_rules! host_functions {
    ($callback:ident) => {
        $callback! {
            /// Writes a diagnostic line, which the host shows with the plugin's name.
            fn hm_log as log(level: json Level, text: lossy_utf8);
            /// Adds to the output of the step that this call runs. The host splits it into lines.
            fn hm_emit_step_log as emit_step_log(stream: json StdStream, output: bytes);
            /// Sends a build event: a `step_log` of the step that this call runs, and no other.
            fn hm_emit_event as emit_event(event: json BuildEvent);
            /// True once the step, build or command that this call belongs to was cancelled. The plugin should then
            /// return.
            #[must_use]
            fn hm_should_cancel as should_cancel() -> truth;

            /// Writes to the standard output of `hm`. For formatters and subcommands.
            fn hm_write_stdout as write_stdout(text: bytes);
            /// Writes to the standard error of `hm`. For formatters and subcommands.
            fn hm_write_stderr as write_stderr(text: bytes);

            /// Makes a sandbox on the project's files or on a parent's snapshot, and returns its id.
            #[must_use]
            fn hm_sandbox_start as sandbox_start(args: json SandboxStartArgs) -> utf8;
            /// Runs a command in a sandbox, and returns its exit code. The command's output becomes the step's.
            #[must_use]
            fn hm_sandbox_exec as sandbox_exec(args: json SandboxExecArgs) -> i32;
            /// Copies the files that the patterns name out of a sandbox to the step's artifact directory, in place of
            /// what was copied before. `None` if that does not work: then the step has failed, and its output says why.
            #[must_use]
            fn hm_sandbox_artifacts as sandbox_artifacts(args: json SandboxArtifactsArgs) -> json Option<Vec<ArtifactRef>>;
            /// Ends a sandbox and saves its workspace as a snapshot. If the arguments give it a tag and that works, the
            /// snapshot outlives this run, and the answer is that tag.
            #[must_use]
            fn hm_sandbox_commit as sandbox_commit(args: json SandboxCommitArgs) -> json SnapshotRef;
            /// Ends a sandbox and discards its workspace.
            fn hm_sandbox_discard as sandbox_discard(sandbox: utf8);
            fn hm_sandbox_exists(snapshot: json SnapshotRef) -> truth;

            /// True if a Docker Engine answers.
            #[must_use]
            fn hm_docker_ping as docker_ping() -> truth;
            /// True if the engine has this image.
            #[must_use]
            fn hm_docker_image_exists as docker_image_exists(image: utf8) -> truth;
            /// Pulls an image.
            fn hm_docker_pull as docker_pull(image: utf8);
            /// Starts a container of an image, and returns its id. The host may put that off until something is done in
            /// it.
            #[must_use]
            fn hm_docker_start_container as docker_start_container(args: json DockerStartArgs) -> utf8;
            /// Puts the project's files into a container: those of the source archive, with the changes of the steps
            /// before.
            fn hm_docker_extract_workspace as docker_extract_workspace(args: json DockerExtractArgs);
            /// Runs a command in a container, and returns its exit code. The command's output becomes the step's.
            #[must_use]
            fn hm_docker_exec as docker_exec(args: json DockerExecArgs) -> i32;
            /// Copies the files that the patterns name out of a container to the step's artifact directory, in place of
            /// what was copied before. `None` if that does not work: then the step has failed, and its output says why.
            #[must_use]
            fn hm_docker_artifacts as docker_artifacts(args: json DockerArtifactsArgs) -> json Option<Vec<ArtifactRef>>;
            /// Makes an image of a container, and returns its tag.
            fn hm_docker_commit as docker_commit(args: json DockerCommitArgs) -> utf8;
            /// Removes an image that this run made.
            fn hm_docker_remove_image as docker_remove_image(image: utf8);
            /// Stops and removes a container that this run started.
            fn hm_docker_stop_remove as docker_stop_remove(container: utf8);

            /// A stored value of this plugin.
            #[must_use]
            fn hm_kv_get as kv_get(scope: json KvScope, key: utf8) -> json Option<Vec<u8>>;
            /// Stores a value. In scope `plugin` it is on disk when this returns.
            fn hm_kv_set as kv_set(scope: json KvScope, key: utf8, value: bytes);

            /// The size of the source archive, in bytes.
            #[must_use]
            fn hm_archive_total_size as archive_total_size(archive: json ArchiveId) -> u64;
            fn hm_archive_read(args: json ArchiveReadArgs) -> bytes;
            /// A file below the project's `.hm` or `.harmont` directory.
            #[must_use]
            fn hm_fs_read_config as fs_read_config(path: utf8) -> json Option<Vec<u8>>;

            fn hm_unix_socket_connect(path: utf8) -> json SocketHandle;
            fn hm_socket_write(args: json SocketWriteArgs) -> u64;
            fn hm_socket_read(args: json SocketReadArgs) -> bytes;
            /// Closes a socket.
            fn hm_socket_close as socket_close(socket: json SocketHandle);

            fn hm_keyring_get(args: secret_json KeyringArgs) -> json Option<String>;
            fn hm_keyring_set(args: secret_json KeyringSetArgs);
            fn hm_keyring_delete(args: secret_json KeyringArgs);

            fn hm_tty_prompt(args: json TtyPromptArgs) -> utf8;
            fn hm_tty_confirm(args: json TtyConfirmArgs) -> truth;
            /// Opens an `https` or loopback URL in the user's browser; true if that worked.
            fn hm_browser_open as browser_open(url: utf8) -> truth;
            fn hm_spawn_loopback(port: json Option<u16>) -> json LoopbackHandle;
            fn hm_loopback_recv(args: json LoopbackRecvArgs) -> json Option<CallbackData>;
        }
    };
}
