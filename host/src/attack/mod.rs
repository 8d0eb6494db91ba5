//! The sandbox attacks itself: hostile guests, each in a process of its own, and what must become of them. The table of
//! attacks is [`attacks`]; [`act`] carries one out, [`run`] has that done and judges it. Showing it is the command line's.

mod carry_out;
mod generated;
mod guests;
mod judge;
mod run;
mod table;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use guests::Guest;

pub(crate) use carry_out::{AttackError, act};
pub(crate) use judge::judge;
pub(crate) use run::run;
pub(crate) use table::attacks;

/// One attack on the sandbox.
pub(crate) struct Attack {
    /// Name, with its group before the slash.
    pub name: String,
    /// The part of the sandbox that it tests.
    pub class: &'static str,
    module: Guest,
    links: Vec<(&'static str, Guest)>,
    /// Network hosts that it may reach; without any, there is no HTTP.
    hosts: &'static [&'static str],
    calls: Vec<Call>,
    fuel: u64,
    deadline: Duration,
    compile_time: Duration,
    /// Time after which each call is cancelled.
    cancelled_after: Option<Duration>,
    /// Time in which all of it must be over.
    pub time: Duration,
    /// Bytes of memory that the process may have had at its worst.
    pub memory: u64,
}

/// One call of a guest, and what must become of it.
struct Call {
    export: &'static str,
    input: Vec<u8>,
    expected: Expected,
}

/// Expected end of a call, or of loading the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Kind that [`CallEnd::kind`] must be.
    pub kind: &'static str,
    /// Text that [`CallEnd::text`] must contain.
    pub says: &'static str,
}

/// End of a call, or of loading the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallEnd {
    /// `ok`, `load` if the module could not be loaded, else the kind of the error.
    pub kind: String,
    /// The error, or the output; not all of it, if it is long.
    pub text: String,
}

/// Observations of the process that carries out an attack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Observation {
    /// End of each call.
    pub ends: Vec<CallEnd>,
    /// First thing that was wrong with the calls of a harmless neighbour, meanwhile and afterwards.
    pub neighbour: Option<String>,
    /// First thing that was wrong with the lines that the guest could log.
    pub log: Option<String>,
    /// Connections to a listener that nobody may reach.
    pub connections: usize,
    /// The most bytes of memory that the process has had.
    pub memory: u64,
}

/// Outcome of an attack, not judged yet.
#[derive(Debug, Clone)]
pub(crate) struct AttackOutcome {
    /// Observations of the process; or the reason that there are none.
    pub seen: Result<Observation, String>,
    /// Time from the start of the process to its end.
    pub time: Duration,
}

/// An attack with its judgement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Judgement {
    pub attack: String,
    /// The part of the sandbox that it tests.
    pub class: &'static str,
    /// Kinds of ends that were expected.
    pub expected: String,
    /// Kinds of ends that came.
    pub got: String,
    /// Time from the start of the process to its end, in milliseconds.
    pub ms: u64,
    /// The most bytes of memory that its process has had.
    pub memory_bytes: u64,
    /// True if the guest boundary has held.
    pub held: bool,
    /// Everything that was wrong, if it has not held.
    pub problems: Vec<String>,
}
