//! Host functions on unix sockets: those that the manifest names in `allowed_hosts` and the user has granted, by exactly that path.

use std::path::Path;

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::{SocketHandle, SocketReadArgs, SocketWriteArgs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::handles::limit;
use super::steps::{failed, json};
use super::{Args, PluginState, Reach};
use crate::backend::socket;

/// Most bytes of one reading or writing.
const MAX_BYTES: usize = 1 << 20;

/// Most bytes of a path that a message shows.
const SHOWN: usize = 200;

/// `hm_unix_socket_connect`: a connection to a granted path.
pub(super) fn connect(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let path = String::from_utf8_lossy(&args[0]);
        // By its text: a path that only means the same was not granted.
        let granted = state.policy.reach().any(
            |(_, reach)| matches!(reach, Reach::Socket(granted) if granted.as_os_str().as_encoded_bytes() == args[0]),
        );
        if !granted {
            let shown = &path[..path.floor_char_boundary(SHOWN)];
            let capability = format!(
                "hm_unix_socket_connect: {shown:?} is not a socket that it asked for and was granted"
            );
            return Err(HostError::Denied { capability });
        }
        state.handles.room()?;
        let stream = socket::connect(Path::new(&*path)).await.map_err(failed)?;
        serde_json::to_vec(&SocketHandle(state.handles.add(stream))).map_err(failed)
    })
}

/// `hm_socket_write`: all bytes, or an error.
pub(super) fn write(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let SocketWriteArgs { h, bytes } = json("hm_socket_write", &args[0])?;
        let socket = state.handles.socket(h.0)?;
        if bytes.len() > MAX_BYTES {
            return Err(limit("bytes of one hm_socket_write", bytes.len(), MAX_BYTES));
        }
        socket.write_all(&bytes).await.map_err(failed)?;
        let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(taken.to_le_bytes().to_vec())
    })
}

/// `hm_socket_read`: what has come, or what comes next; nothing at the end of the stream.
pub(super) fn read(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let SocketReadArgs { h, max } = json("hm_socket_read", &args[0])?;
        let socket = state.handles.socket(h.0)?;
        let mut bytes = vec![0; usize::try_from(max).unwrap_or(MAX_BYTES).min(MAX_BYTES)];
        let count = socket.read(&mut bytes).await.map_err(failed)?;
        bytes.truncate(count);
        Ok(bytes)
    })
}

/// `hm_socket_close`: closing what is closed is no mistake.
pub(super) fn close(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let SocketHandle(number) = json("hm_socket_close", &args[0])?;
        state.handles.close(number);
        Ok(Vec::new())
    })
}
