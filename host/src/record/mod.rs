//! The record that each build leaves: what was planned, what happened, what the cache said, what the steps printed. Written as the build
//! goes, so that a build that is killed has one too, and read by `hm why` and `hm build --failed`. Decides nothing.
//!
//! `docs/runs.md` describes the files. Nobody but the user can look into them, and no value of an environment variable is in them.

mod log;
mod recorder;
mod run;
#[cfg(test)]
mod tests;
mod writer;

pub use log::{StepLog, read_log};
pub use recorder::Recorder;
pub use run::{RecordedDecision, Run, RunHeader, RunStatus, Runs, StepFailure, StepStatus};
pub use writer::{EventWriter, StepWriter};

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use hm_disk::PathError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The form of the files. A record of a later form is left alone.
const FORMAT: u32 = 1;

/// Number of builds of a project that are remembered.
const MAX_RECORDS: usize = 20;

/// Names within a record.
mod name {
    /// Header. It is written when all else is in place: where there is none, there is no record.
    pub(super) const RUN: &str = "run.json";
    /// Steps as they were planned.
    pub(super) const PLAN: &str = "plan.json";
    /// Events, without what the steps printed.
    pub(super) const EVENTS: &str = "events.jsonl";
    /// Decisions of the cache.
    pub(super) const DECISIONS: &str = "cache.jsonl";
    /// A file for each step that printed something.
    pub(super) const LOGS: &str = "logs";
    /// Locked while the build runs.
    pub(super) const LOCK: &str = "lock";
}

/// Error of making or reading a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] PathError),
}

/// Metadata of a build, known before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// Names the build everywhere.
    pub run_id: Uuid,
    /// Folder of the project.
    pub project: PathBuf,
    /// The name of the pipeline.
    pub pipeline: String,
    /// Wall clock at the start.
    pub started_at: DateTime<Utc>,
    /// The version of hm.
    pub version: String,
    /// All steps of the pipeline, also those that this build leaves out.
    pub steps: Vec<StepMeta>,
}

/// Metadata of a step, as it was planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMeta {
    /// Its key in the pipeline.
    pub key: String,
    /// Label in the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Command of the step.
    pub cmd: String,
    /// Runner of the step.
    pub runner: String,
    /// The image that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The key of the step that it builds in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The keys of the steps that have to succeed before it, whatever it builds in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Number of waits that stand before it.
    #[serde(default, rename = "segment")]
    pub stage: usize,
    /// A digest of its environment, its arguments and the fields that nobody knows.
    #[serde(default, rename = "rest")]
    pub settings_digest: String,
    /// It is not part of this build, since it had succeeded in the one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub succeeded_before: bool,
}
