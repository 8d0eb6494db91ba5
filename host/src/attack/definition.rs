//! An attack as the table writes it down.

use std::time::Duration;

use super::guests::Guest;

/// One attack on the sandbox.
pub(crate) struct Attack {
    /// Name, with its group before the slash.
    pub name: String,
    /// The part of the sandbox that it tests.
    pub class: &'static str,
    pub(super) module: Guest,
    pub(super) links: Vec<(&'static str, Guest)>,
    /// Network hosts that it may reach; without any, there is no HTTP.
    pub(super) hosts: &'static [&'static str],
    pub(super) calls: Vec<Call>,
    pub(super) fuel: u64,
    pub(super) deadline: Duration,
    pub(super) compile_time: Duration,
    /// Time after which each call is cancelled.
    pub(super) cancelled_after: Option<Duration>,
    /// Time in which all of it must be over.
    pub time: Duration,
    /// Bytes of memory that the process may have had at its worst.
    pub memory: u64,
}

/// One call of a guest, and what must become of it.
pub(super) struct Call {
    pub(super) export: &'static str,
    pub(super) input: Vec<u8>,
    pub(super) expected: Expected,
}

/// Expected end of a call, or of loading the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Kind that [`CallEnd::kind`](super::CallEnd::kind) must be.
    pub kind: &'static str,
    /// Text that [`CallEnd::text`](super::CallEnd::text) must contain.
    pub says: &'static str,
}
