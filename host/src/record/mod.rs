//! The record that each build leaves: what was planned, what happened, what the cache said, what the steps printed.
//! Written as the build goes, so that a build that is killed has one too, and read by `hm why` and `hm build --failed`.
//! Decides nothing.
//!
//! `docs/runs.md` describes the files. Nobody but the user can look into them, and no value of an environment variable
//! is in them.

mod error;
mod log;
mod meta;
mod name;
mod recorder;
mod run;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

pub use error::RecordError;
pub use log::{StepLog, read_log};
pub use meta::{RunMeta, StepMeta};
pub use recorder::Recorder;
pub use run::{RecordedDecision, Run, RunHeader, RunStatus, Runs, StepFailure, StepStatus};
pub use writer::{EventWriter, StepWriter};
