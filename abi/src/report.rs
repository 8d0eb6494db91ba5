//! Usage of a call, for whoever has to account for it.

use std::collections::BTreeMap;
use std::time::Duration;

/// Usage of the last call of an instance, whether it succeeded or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Fuel, that of the start included. Where a call was ended by the clock or a cancellation, the part that the
    /// engine had charged by then.
    pub fuel_used: u64,
    /// Time, by the clock on the wall.
    pub wall: Duration,
    /// The most bytes of all linear memories at one time.
    pub memory_bytes: u64,
    /// The most bytes of Extism memory that were live at one time.
    pub block_bytes: u64,
    /// Number of calls of each function of the host, by name. Those that only move bytes of Extism memory are not
    /// counted; those of WASI are.
    pub host_calls: BTreeMap<&'static str, u64>,
    /// Bytes of the input.
    pub bytes_in: u64,
    /// Bytes of the output the guest set, also where a failure has dropped it.
    pub bytes_out: u64,
}
