//! The host functions, as plain functions: all that a plugin can do to the world.
//! Encoding them is `imports`' work (on wasm32) or `mock`'s (elsewhere); what they may do is the host's decision.
//!
//! A function that the manifest does not ask for, or the user did not grant, ends the call of the plugin when it
//! is used, and so does one that fails: there is nothing for the plugin to handle. Something that is merely not
//! there is `None`, `false` or empty. A function that a plugin never calls is not imported by it.

pub use hm_plugin_protocol::executor::{ArchiveId, ArtifactRef, SnapshotRef};
pub use hm_plugin_protocol::host_abi::*;
use hm_plugin_protocol::{BuildEvent, StdStream};

use crate::forms::{given, owned, value};
#[cfg(target_arch = "wasm32")]
use crate::imports as sys;
#[cfg(not(target_arch = "wasm32"))]
use crate::mock as sys;

/// A function for each declaration that names one.
macro_rules! wrappers {
    ($($(#[$meta:meta])* fn $name:ident $(as $wrapper:ident)?
        ($($arg:ident: $form:ident $($ty:ty)?),*) $(-> $result:ident $($answer:ty)?)?;)*) => {$(
        wrappers!(@ [$(#[$meta])*] $name [$($wrapper)?] ($($arg: $form $($ty)?),*) [$($result $($answer)?)?]);
    )*};
    (@ [$($meta:tt)*] $name:ident [] $arguments:tt $result:tt) => {};
    (@ [$(#[$meta:meta])*] $name:ident [$wrapper:ident]
        ($($arg:ident: $form:ident $($ty:ty)?),*) [$($result:ident $($answer:ty)?)?]) => {
        $(#[$meta])*
        pub fn $wrapper($($arg: given!($form $($ty)?)),*) $(-> value!($result $($answer)?))? {
            sys::$name($(owned!($form $arg)),*)
        }
    };
}

hm_plugin_protocol::host_functions!(wrappers);

/// The value that the host configured for this plugin under `key`. An empty value counts as none.
#[must_use]
pub fn config(key: &str) -> Option<String> {
    sys::config_get(key)
}

// Wrappers whose arguments are not those of the function.

/// At most `max` bytes of the source archive from `offset` on; empty at its end.
#[must_use]
pub fn archive_read(id: ArchiveId, offset: u64, max: u64) -> Vec<u8> {
    sys::hm_archive_read(ArchiveReadArgs { id, offset, max })
}

/// Connects to a unix socket that the manifest asked for as `unix:PATH`.
#[must_use]
pub fn unix_socket_connect(path: &str) -> Option<SocketHandle> {
    Some(sys::hm_unix_socket_connect(path.to_owned()))
}

/// Writes to a socket; how many bytes were taken.
pub fn socket_write(h: SocketHandle, bytes: &[u8]) -> u64 {
    sys::hm_socket_write(SocketWriteArgs { h, bytes: bytes.to_owned() })
}

/// Waits for bytes from a socket, at most `max` of them; empty at the end of the stream.
#[must_use]
pub fn socket_read(h: SocketHandle, max: u64) -> Vec<u8> {
    sys::hm_socket_read(SocketReadArgs { h, max })
}

/// A secret of the OS keyring.
#[must_use]
pub fn keyring_get(service: &str, account: &str) -> Option<String> {
    sys::hm_keyring_get(KeyringArgs { service: service.to_owned(), account: account.to_owned() })
}

/// Keeps a secret in the OS keyring.
pub fn keyring_set(service: &str, account: &str, secret: &str) {
    let (service, account, secret) = (service.to_owned(), account.to_owned(), secret.to_owned());
    sys::hm_keyring_set(KeyringSetArgs { service, account, secret });
}

/// Removes a secret from the OS keyring.
pub fn keyring_delete(service: &str, account: &str) {
    sys::hm_keyring_delete(KeyringArgs { service: service.to_owned(), account: account.to_owned() });
}

/// Asks the person at the terminal for a line; what is typed is hidden if `mask` is set.
#[must_use]
pub fn tty_prompt(msg: &str, mask: bool) -> String {
    sys::hm_tty_prompt(TtyPromptArgs { msg: msg.to_owned(), mask })
}

/// Asks the person at the terminal for yes or no; `default` where there is no terminal.
#[must_use]
pub fn tty_confirm(msg: &str, default: bool) -> bool {
    sys::hm_tty_confirm(TtyConfirmArgs { msg: msg.to_owned(), default })
}

/// Starts a server on 127.0.0.1 for one callback, on this port or on a free one.
#[must_use]
pub fn spawn_loopback(port: Option<u16>) -> Option<LoopbackHandle> {
    Some(sys::hm_spawn_loopback(port))
}

/// Waits at most `timeout_ms` milliseconds for the callback.
#[must_use]
pub fn loopback_recv(h: LoopbackHandle, timeout_ms: u32) -> Option<CallbackData> {
    sys::hm_loopback_recv(LoopbackRecvArgs { h, timeout_ms })
}

/// True if a committed state is still there.
#[must_use]
pub fn sandbox_exists(snapshot: &SnapshotRef) -> bool {
    sys::hm_sandbox_exists(snapshot.clone())
}
