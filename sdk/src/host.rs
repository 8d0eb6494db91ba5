//! The host functions, as plain functions: all that a plugin can do to the world.
//! Encoding them is `imports`' work (on wasm32) or `mock`'s (elsewhere); what they may do is the host's decision.
//!
//! A function that the manifest does not ask for, or the user did not grant, ends the call of the plugin when it
//! is used, and so does one that fails: there is nothing for the plugin to handle. Something that is merely not
//! there is `None`, `false` or empty. A function that a plugin never calls is not imported by it.

use extism_pdk::Json;
use hm_plugin_protocol::BuildEvent;
pub use hm_plugin_protocol::executor::{ArchiveId, ArtifactRef, SnapshotRef};
pub use hm_plugin_protocol::host_abi::*;

use hm_plugin_protocol::StdStream;

#[cfg(target_arch = "wasm32")]
use crate::imports as sys;
#[cfg(not(target_arch = "wasm32"))]
use crate::mock as sys;

/// Writes a diagnostic line, which the host shows with the plugin's name.
pub fn log(level: Level, msg: &str) {
    sys::hm_log(Json(level), msg.to_owned());
}

/// Adds to the output of the step that this call runs. The host splits it into lines.
pub fn emit_step_log(stream: StdStream, bytes: &[u8]) {
    sys::hm_emit_step_log(Json(stream), bytes.to_owned());
}

/// Sends a build event: a `step_log` of the step that this call runs, and no other.
pub fn emit_event(event: BuildEvent) {
    sys::hm_emit_event(Json(event));
}

/// True if the step, build or command that this call belongs to was cancelled and should come to an end.
#[must_use]
pub fn should_cancel() -> bool {
    sys::hm_should_cancel() != 0
}

/// The value that the host configured for this plugin under `key`. An empty value counts as none.
#[must_use]
pub fn config(key: &str) -> Option<String> {
    sys::config_get(key)
}

/// A stored value of this plugin.
#[must_use]
pub fn kv_get(scope: KvScope, key: &str) -> Option<Vec<u8>> {
    sys::hm_kv_get(Json(scope), key.to_owned()).0
}

/// Stores a value. In scope `plugin` it is on disk when this returns.
pub fn kv_set(scope: KvScope, key: &str, val: &[u8]) {
    sys::hm_kv_set(Json(scope), key.to_owned(), val.to_owned());
}

/// The size of the source archive, in bytes.
#[must_use]
pub fn archive_total_size(id: ArchiveId) -> u64 {
    sys::hm_archive_total_size(Json(id))
}

/// At most `max` bytes of the source archive from `offset` on; empty at its end.
#[must_use]
pub fn archive_read(id: ArchiveId, offset: u64, max: u64) -> Vec<u8> {
    sys::hm_archive_read(Json(ArchiveReadArgs { id, offset, max }))
}

/// A file below the project's `.hm` or `.harmont` directory.
#[must_use]
pub fn fs_read_config(rel_path: &str) -> Option<Vec<u8>> {
    sys::hm_fs_read_config(rel_path.to_owned()).0
}

/// Connects to a unix socket that the manifest asked for as `unix:PATH`.
#[must_use]
pub fn unix_socket_connect(path: &str) -> Option<SocketHandle> {
    Some(sys::hm_unix_socket_connect(path.to_owned()).0)
}

/// Writes to a socket; how many bytes were taken.
pub fn socket_write(h: SocketHandle, bytes: &[u8]) -> u64 {
    sys::hm_socket_write(Json(SocketWriteArgs { h, bytes: bytes.to_owned() }))
}

/// Waits for bytes from a socket, at most `max` of them; empty at the end of the stream.
#[must_use]
pub fn socket_read(h: SocketHandle, max: u64) -> Vec<u8> {
    sys::hm_socket_read(Json(SocketReadArgs { h, max }))
}

/// Closes a socket. Its handle stands for nothing afterwards.
pub fn socket_close(h: SocketHandle) {
    sys::hm_socket_close(Json(h));
}

/// A secret of the OS keyring.
#[must_use]
pub fn keyring_get(service: &str, account: &str) -> Option<String> {
    sys::hm_keyring_get(Json(KeyringArgs { service: service.to_owned(), account: account.to_owned() })).0
}

/// Keeps a secret in the OS keyring.
pub fn keyring_set(service: &str, account: &str, secret: &str) {
    let (service, account, secret) = (service.to_owned(), account.to_owned(), secret.to_owned());
    sys::hm_keyring_set(Json(KeyringSetArgs { service, account, secret }));
}

/// Removes a secret from the OS keyring.
pub fn keyring_delete(service: &str, account: &str) {
    sys::hm_keyring_delete(Json(KeyringArgs { service: service.to_owned(), account: account.to_owned() }));
}

/// Asks the person at the terminal for a line; what is typed is hidden if `mask` is set.
#[must_use]
pub fn tty_prompt(msg: &str, mask: bool) -> String {
    sys::hm_tty_prompt(Json(TtyPromptArgs { msg: msg.to_owned(), mask }))
}

/// Asks the person at the terminal for yes or no; `default` where there is no terminal.
#[must_use]
pub fn tty_confirm(msg: &str, default: bool) -> bool {
    sys::hm_tty_confirm(Json(TtyConfirmArgs { msg: msg.to_owned(), default }))
}

/// Opens an `https` or loopback URL in the person's browser; whether that worked.
pub fn browser_open(url: &str) -> bool {
    sys::hm_browser_open(url.to_owned())
}

/// Starts a server on 127.0.0.1 for one callback, on this port or on a free one.
#[must_use]
pub fn spawn_loopback(port: Option<u16>) -> Option<LoopbackHandle> {
    Some(sys::hm_spawn_loopback(Json(port)).0)
}

/// Waits at most `timeout_ms` milliseconds for the callback.
#[must_use]
pub fn loopback_recv(h: LoopbackHandle, timeout_ms: u32) -> Option<CallbackData> {
    sys::hm_loopback_recv(Json(LoopbackRecvArgs { h, timeout_ms })).0
}

/// Writes to the standard output of `hm`. For formatters and subcommands.
pub fn write_stdout(bytes: &[u8]) {
    sys::hm_write_stdout(bytes.to_owned());
}

/// Writes to the standard error of `hm`. For formatters and subcommands.
pub fn write_stderr(bytes: &[u8]) {
    sys::hm_write_stderr(bytes.to_owned());
}

/// True if a Docker Engine answers.
#[must_use]
pub fn docker_ping() -> bool {
    sys::hm_docker_ping() != 0
}

/// True if the engine has this image.
#[must_use]
pub fn docker_image_exists(tag: &str) -> bool {
    sys::hm_docker_image_exists(tag.to_owned()) != 0
}

/// Pulls an image into the engine.
pub fn docker_pull(tag: &str) {
    sys::hm_docker_pull(tag.to_owned());
}

/// A container of an image, which may be made no sooner than something is done in it; its id.
#[must_use]
pub fn docker_start_container(args: DockerStartArgs) -> String {
    sys::hm_docker_start_container(Json(args))
}

/// Puts the project's files into a container: those of the source archive, with what the steps before have changed.
pub fn docker_extract_workspace(args: DockerExtractArgs) {
    sys::hm_docker_extract_workspace(Json(args));
}

/// Runs a command in a container, its output becoming the step's; its exit code.
#[must_use]
pub fn docker_exec(args: DockerExecArgs) -> i32 {
    sys::hm_docker_exec(Json(args))
}

/// Brings files out of a container, those that the patterns name, to where the user wants what steps produce, in
/// place of what was brought out before. None if that does not work: then the step has failed, and its output says
/// why.
#[must_use]
pub fn docker_artifacts(args: DockerArtifactsArgs) -> Option<Vec<ArtifactRef>> {
    sys::hm_docker_artifacts(Json(args)).0
}

/// Makes an image of a container; its tag.
pub fn docker_commit(args: DockerCommitArgs) -> String {
    sys::hm_docker_commit(Json(args))
}

/// Removes an image that this run made.
pub fn docker_remove_image(tag: &str) {
    sys::hm_docker_remove_image(tag.to_owned());
}

/// Stops and removes a container that this run started.
pub fn docker_stop_remove(container_id: &str) {
    sys::hm_docker_stop_remove(container_id.to_owned());
}

/// Makes a sandbox on the source tree or on a parent's state; its id.
#[must_use]
pub fn sandbox_start(args: SandboxStartArgs) -> String {
    sys::hm_sandbox_start(Json(args))
}

/// Runs a command in a sandbox, its output becoming the step's; its exit code.
#[must_use]
pub fn sandbox_exec(args: SandboxExecArgs) -> i32 {
    sys::hm_sandbox_exec(Json(args))
}

/// Brings files out of a sandbox, those that the patterns name, to where the user wants what steps produce, in place
/// of what was brought out before. None if that does not work: then the step has failed, and its output says why.
#[must_use]
pub fn sandbox_artifacts(args: SandboxArtifactsArgs) -> Option<Vec<ArtifactRef>> {
    sys::hm_sandbox_artifacts(Json(args)).0
}

/// Ends a sandbox and saves the state of its workspace: beyond this run if the arguments give it a name and that works,
/// in which case the answer is that name.
#[must_use]
pub fn sandbox_commit(args: SandboxCommitArgs) -> SnapshotRef {
    sys::hm_sandbox_commit(Json(args)).0
}

/// Ends a sandbox and forgets the state of its workspace.
pub fn sandbox_discard(sandbox_id: &str) {
    sys::hm_sandbox_discard(sandbox_id.to_owned());
}

/// True if a committed state is still there.
#[must_use]
pub fn sandbox_exists(snapshot: &SnapshotRef) -> bool {
    sys::hm_sandbox_exists(Json(snapshot.clone())) != 0
}
