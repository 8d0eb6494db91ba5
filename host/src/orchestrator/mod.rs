//! Runs a plan. The [`Dispatcher`] decides (events in, actions out, no clock, no I/O); [`run`] carries its decisions
//! out as tasks and turns what happened into `BuildEvent`s. Which plugin runs a step, and how, is below, in `plugin`.

mod dispatcher;
mod formatter;
mod hooks;
mod keeping;
mod predict;
mod run;
#[cfg(test)]
mod simulation;
mod step;

pub use dispatcher::Manner;
pub use formatter::FormatterError;
pub use hooks::HookStop;
pub use keeping::{Keeping, Kept, ON_ENGINE, RUNS_HERE, Terms};
pub use predict::predict;
pub use run::{Build, Ended, Interrupt, run};

/// Exit codes of a build; the command line's contract (`docs/exit-codes.md`) holds the whole list.
pub mod exit {
    /// Everything succeeded.
    pub const OK: i32 = 0;
    /// A step failed.
    pub const FAILED: i32 = 1;
    /// Something outside that a step needs is not to be had.
    pub const UNAVAILABLE: i32 = 4;
    /// A plugin failed.
    pub const PLUGIN: i32 = 6;
    /// The user stopped it.
    pub const INTERRUPTED: i32 = 130;
}
