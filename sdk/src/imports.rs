//! The host functions as wasm imports of module `extism:host/user`. The only unsafe code of this crate.
//! Names and types are all there is here; what an author calls, and its meaning, is in `host`.
#![allow(unsafe_code)]

use extism_pdk::{FromBytesOwned, Json, ManagedMemory, Memory, ToMemory};
use hm_plugin_protocol::*;

/// Puts an argument into a block of Extism memory, which is freed when the argument goes out of scope.
fn block(function: &str, value: &impl ToMemory) -> ManagedMemory {
    match value.to_memory() {
        Ok(memory) => ManagedMemory::from(memory),
        Err(error) => panic!("an argument of {function} cannot be encoded: {error}"),
    }
}

/// Takes the answer at this offset; none is as good as an empty one.
fn answer<T: FromBytesOwned>(function: &str, offset: u64) -> T {
    let bytes = Memory::find(offset).map_or_else(Vec::new, |memory| {
        let bytes = memory.to_vec();
        memory.free();
        bytes
    });
    match T::from_bytes_owned(&bytes) {
        Ok(value) => value,
        Err(error) => panic!("{function} gave an answer of another form: {error}"),
    }
}

macro_rules! offset {
    ($_:ty) => {
        u64
    };
}

macro_rules! imports {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {$(
        pub(crate) fn $name($($arg: $ty),*) $(-> $out)? {
            #[link(wasm_import_module = "extism:host/user")]
            unsafe extern "C" {
                fn $name($($arg: u64),*) $(-> offset!($out))?;
            }
            $(let $arg = block(stringify!($name), &$arg);)*
            // SAFETY: only offsets of Extism blocks cross, which the host checks; it never sees an address of
            // ours, and the blocks of the arguments live until the end of this function.
            let offset = unsafe { $name($($arg.offset()),*) };
            imports!(@answer $name offset $($out)?)
        }
    )*};
    (@answer $name:ident $offset:ident) => { $offset };
    (@answer $name:ident $offset:ident $out:ty) => { answer::<$out>(stringify!($name), $offset) };
}

imports! {
    fn hm_log(level: Json<Level>, msg: String);
    fn hm_emit_step_log(stream: Json<StdStream>, bytes: Vec<u8>);
    fn hm_emit_event(event: Json<BuildEvent>);
    fn hm_should_cancel() -> u32;

    fn hm_kv_get(scope: Json<KvScope>, key: String) -> Json<Option<Vec<u8>>>;
    fn hm_kv_set(scope: Json<KvScope>, key: String, val: Vec<u8>);

    fn hm_archive_total_size(id: Json<ArchiveId>) -> u64;
    fn hm_archive_read(args: Json<ArchiveReadArgs>) -> Vec<u8>;
    fn hm_fs_read_config(rel_path: String) -> Json<Option<Vec<u8>>>;

    fn hm_unix_socket_connect(path: String) -> Json<SocketHandle>;
    fn hm_socket_write(args: Json<SocketWriteArgs>) -> u64;
    fn hm_socket_read(args: Json<SocketReadArgs>) -> Vec<u8>;
    fn hm_socket_close(h: Json<SocketHandle>);

    fn hm_keyring_get(args: Json<KeyringArgs>) -> Json<Option<String>>;
    fn hm_keyring_set(args: Json<KeyringSetArgs>);
    fn hm_keyring_delete(args: Json<KeyringArgs>);

    fn hm_tty_prompt(args: Json<TtyPromptArgs>) -> String;
    fn hm_tty_confirm(args: Json<TtyConfirmArgs>) -> bool;
    fn hm_browser_open(url: String) -> bool;
    fn hm_spawn_loopback(port: Json<Option<u16>>) -> Json<LoopbackHandle>;
    fn hm_loopback_recv(args: Json<LoopbackRecvArgs>) -> Json<Option<CallbackData>>;

    fn hm_write_stdout(bytes: Vec<u8>);
    fn hm_write_stderr(bytes: Vec<u8>);

    fn hm_docker_ping() -> u32;
    fn hm_docker_image_exists(tag: String) -> u32;
    fn hm_docker_pull(tag: String);
    fn hm_docker_start_container(args: Json<DockerStartArgs>) -> String;
    fn hm_docker_extract_workspace(args: Json<DockerExtractArgs>);
    fn hm_docker_exec(args: Json<DockerExecArgs>) -> i32;
    fn hm_docker_artifacts(args: Json<DockerArtifactsArgs>) -> Json<Option<Vec<ArtifactRef>>>;
    fn hm_docker_commit(args: Json<DockerCommitArgs>) -> String;
    fn hm_docker_remove_image(tag: String);
    fn hm_docker_stop_remove(container_id: String);

    fn hm_sandbox_start(args: Json<SandboxStartArgs>) -> String;
    fn hm_sandbox_exec(args: Json<SandboxExecArgs>) -> i32;
    fn hm_sandbox_artifacts(args: Json<SandboxArtifactsArgs>) -> Json<Option<Vec<ArtifactRef>>>;
    fn hm_sandbox_commit(args: Json<SandboxCommitArgs>) -> Json<SnapshotRef>;
    fn hm_sandbox_discard(sandbox_id: String);
    fn hm_sandbox_exists(snapshot: Json<SnapshotRef>) -> u32;
}

/// The value that the host configured under this key; an empty one counts as none.
pub(crate) fn config_get(key: &str) -> Option<String> {
    extism_pdk::config::get_memory(key).ok().flatten().and_then(|memory| memory.to_string().ok())
}

/// Makes this the error of the current call.
pub(crate) fn set_error(text: &str) {
    if let Ok(memory) = Memory::from_bytes(text) {
        // SAFETY: passes the offset of a block that was just made; it is left to the host, which frees it.
        unsafe { extism_pdk::extism::error_set(memory.offset()) };
    }
}
