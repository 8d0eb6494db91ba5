//! What an instance holds outside of itself: open sockets, a server that waits for a callback. It belongs to this instance alone, and
//! ends with it.

use std::collections::BTreeMap;

use hm_abi::HostError;
use tokio::net::UnixStream;

use crate::backend::callback::CallbackServer;

/// How many sockets an instance can have open.
const MAX_SOCKETS: usize = 16;

/// What one instance holds.
#[derive(Debug, Default)]
pub struct Handles {
    sockets: BTreeMap<u64, UnixStream>,
    next_socket: u64,
    /// The server that waits for a callback.
    pub callback: Option<CallbackServer>,
    /// How many pages it has opened.
    pub pages: u64,
    /// How many secrets it has kept.
    pub secrets: u64,
}

impl Handles {
    /// Whether there is room for another socket.
    pub(super) fn room(&self) -> Result<(), HostError> {
        let asked = self.sockets.len() + 1;
        if asked > MAX_SOCKETS {
            return Err(limit("open sockets of an instance", asked, MAX_SOCKETS));
        }
        Ok(())
    }

    /// Takes a socket, and gives it a number that no other has had.
    pub fn add(&mut self, socket: UnixStream) -> u64 {
        self.next_socket += 1;
        self.sockets.insert(self.next_socket, socket);
        self.next_socket
    }

    /// The socket of this number.
    pub(super) fn socket(&mut self, number: u64) -> Result<&mut UnixStream, HostError> {
        self.sockets
            .get_mut(&number)
            .ok_or_else(|| HostError::InvalidArgument(format!("there is no open socket {number}")))
    }

    /// Closes a socket, if it is there.
    pub(super) fn close(&mut self, number: u64) {
        self.sockets.remove(&number);
    }
}

/// A limit that an instance ran into.
pub(super) fn limit(which: &'static str, asked: usize, allowed: usize) -> HostError {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    HostError::Limit { which, asked: number(asked), allowed: number(allowed) }
}

/// Counts what an instance does only so often.
pub(super) fn count(done: &mut u64, which: &'static str, allowed: u64) -> Result<(), HostError> {
    *done = done.saturating_add(1);
    if *done > allowed { Err(HostError::Limit { which, asked: *done, allowed }) } else { Ok(()) }
}
