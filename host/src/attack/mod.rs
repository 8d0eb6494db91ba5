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

pub use carry_out::{AttackError, act};
pub use judge::judge;
pub use run::run;
pub use table::attacks;

/// One attack on the sandbox.
pub struct Attack {
    /// How it is called.
    pub name: String,
    /// The part of the sandbox that it tests.
    pub class: &'static str,
    module: Guest,
    links: Vec<(&'static str, Guest)>,
    /// What it may reach by HTTP; without any, there is no HTTP.
    hosts: &'static [&'static str],
    calls: Vec<Call>,
    fuel: u64,
    deadline: Duration,
    compile_time: Duration,
    /// When each call is cancelled.
    cancelled_after: Option<Duration>,
    /// In what time it must be over, all in all.
    pub time: Duration,
    /// How many bytes of memory the process may have had at its worst.
    pub memory: u64,
}

/// One call of a guest, and what must become of it.
struct Call {
    export: &'static str,
    input: Vec<u8>,
    expected: Expected,
}

/// What must become of a call, or of loading the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// [`CallEnd::kind`]
    pub kind: &'static str,
    /// What [`CallEnd::text`] must contain.
    pub says: &'static str,
}

/// What became of a call, or of loading the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// `ok`, `load` if the module could not be loaded, else the kind of the error.
    pub kind: String,
    /// The error, or the output; not all of it, if it is long.
    pub text: String,
}

/// What the process of an attack has seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Observation {
    /// What became of each call.
    pub ends: Vec<CallEnd>,
    /// What was wrong with the calls of a harmless neighbour, meanwhile and afterwards.
    pub neighbour: Option<String>,
    /// What was wrong with the lines that the guest could log.
    pub log: Option<String>,
    /// How many connections were made to a listener that nobody may reach.
    pub connections: usize,
    /// The most bytes of memory that the process has had.
    pub memory: u64,
}

/// What has become of an attack.
#[derive(Debug, Clone)]
pub struct AttackOutcome {
    /// What the process has seen; or why it could not tell.
    pub seen: Result<Observation, String>,
    /// How long it has taken.
    pub time: Duration,
}

/// An attack with its judgement.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    /// The attack's name.
    pub attack: String,
    /// The part of the sandbox that it tests.
    pub class: &'static str,
    /// What must become of it.
    pub expected: String,
    /// What became of it.
    pub got: String,
    /// How long it has taken.
    pub ms: u64,
    /// The most bytes of memory that its process has had.
    pub memory_bytes: u64,
    /// Whether the sandbox has held.
    pub held: bool,
    /// What was wrong, if it has not.
    pub problems: Vec<String>,
}
