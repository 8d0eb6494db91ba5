//! Ends of attacks: as the process saw them, and as they are judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
