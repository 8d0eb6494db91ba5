//! Host functions on unix sockets: those that the manifest names in `allowed_hosts` and the user has granted, by
//! exactly that path.

use std::path::Path;

use hm_abi::HostError;
use hm_plugin_protocol::{SocketHandle, SocketReadArgs, SocketWriteArgs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::handles::limit;
use super::{AccessEntry, PluginState};
use crate::backend::socket;

/// Most bytes of one reading or writing.
const MAX_BYTES: usize = 1 << 20;

/// Most bytes of a path that a message shows.
const SHOWN: usize = 200;

/// `hm_unix_socket_connect`: a connection to a granted path.
pub(super) async fn hm_unix_socket_connect(
    state: &mut PluginState,
    path: String,
) -> Result<SocketHandle, HostError> {
    // By its text: a path that only means the same was not granted.
    let granted = state.policy.access_entries().any(
        |(_, entry)| matches!(entry, AccessEntry::Socket(granted) if granted.as_os_str() == path.as_str()),
    );
    if !granted {
        let shown = &path[..path.floor_char_boundary(SHOWN)];
        let capability =
            format!("hm_unix_socket_connect: {shown:?} is not a socket that it asked for and was granted");
        return Err(HostError::Denied { capability });
    }
    state.handles.check_room()?;
    let stream = socket::connect(Path::new(&path)).await.map_err(HostError::failed)?;
    Ok(SocketHandle(state.handles.add(stream)))
}

/// `hm_socket_write`: all bytes, or an error.
pub(super) async fn hm_socket_write(
    state: &mut PluginState,
    SocketWriteArgs { h, bytes }: SocketWriteArgs,
) -> Result<u64, HostError> {
    let socket = state.handles.socket(h.0)?;
    if bytes.len() > MAX_BYTES {
        return Err(limit("bytes of one hm_socket_write", bytes.len(), MAX_BYTES));
    }
    socket.write_all(&bytes).await?;
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// `hm_socket_read`: bytes that have come, or that come next; none at the end of the stream.
pub(super) async fn hm_socket_read(
    state: &mut PluginState,
    SocketReadArgs { h, max }: SocketReadArgs,
) -> Result<Vec<u8>, HostError> {
    let socket = state.handles.socket(h.0)?;
    let mut bytes = vec![0; usize::try_from(max).unwrap_or(MAX_BYTES).min(MAX_BYTES)];
    let count = socket.read(&mut bytes).await?;
    bytes.truncate(count);
    Ok(bytes)
}

/// `hm_socket_close`: closing what is closed is no mistake.
pub(super) async fn hm_socket_close(state: &mut PluginState, socket: SocketHandle) -> Result<(), HostError> {
    state.handles.close(socket.0);
    Ok(())
}
