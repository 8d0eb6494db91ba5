//! Things outside of an instance that it has open: sockets, a server that waits for a callback. They belong to this
//! instance alone, and end with it.

use std::collections::BTreeMap;

use hm_abi::HostError;
use tokio::net::UnixStream;

use crate::backend::callback::CallbackServer;

/// Most sockets that an instance can have open.
const MAX_SOCKETS: usize = 16;

/// Open things of one instance.
#[derive(Debug, Default)]
pub struct Handles {
    sockets: BTreeMap<u64, UnixStream>,
    next_socket: u64,
    /// The server that waits for a callback.
    pub callback: Option<CallbackServer>,
    /// Count of pages that it has opened.
    pub(super) pages: u64,
    /// Count of secrets that it has kept.
    pub(super) secrets: u64,
}

impl Handles {
    /// Checks that there is room for another socket.
    pub(super) fn check_room(&self) -> Result<(), HostError> {
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
