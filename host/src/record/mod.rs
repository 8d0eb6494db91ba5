//! The record that each build leaves: what was planned, what happened, what the cache said, what the steps printed. Written as the build
//! goes, so that a build that is killed has one too, and read by `hm why` and `hm build --failed`. Decides nothing.
//!
//! `docs/runs.md` describes the files. Nobody but the user can look into them, and no value of an environment variable is in them.

mod log;
mod recorder;
mod run;
#[cfg(test)]
mod tests;

pub use log::{StepLog, read_log};
pub use recorder::Recorder;
pub use run::{Decided, Failure, Header, Outcome, Run, Runs, State};

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The form of the files. A record of a later form is left alone.
const FORMAT: u32 = 1;

/// How many builds of a project are remembered.
const CACHE_TAG_PREFIX: usize = 20;

/// Names within a record.
mod name {
    /// What the build is. It is written when all else is in place: where there is none, there is no record.
    pub(super) const RUN: &str = "run.json";
    /// The steps.
    pub(super) const PLAN: &str = "plan.json";
    /// What happened, without what the steps printed.
    pub(super) const EVENTS: &str = "events.jsonl";
    /// What the cache said of each step.
    pub(super) const DECISIONS: &str = "cache.jsonl";
    /// A file for each step that printed something.
    pub(super) const LOGS: &str = "logs";
    /// Locked while the build runs.
    pub(super) const LOCK: &str = "lock";
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system says no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// `create`, `read` and so on.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

fn io_error(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RecordError {
    let path = path.into();
    move |source| RecordError::Io { what, path, source }
}

/// What is known of a build before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Names the build everywhere.
    pub run_id: Uuid,
    /// The project.
    pub project: PathBuf,
    /// The name of the pipeline.
    pub pipeline: String,
    /// Wall clock at the start.
    pub started_at: DateTime<Utc>,
    /// The version of hm.
    pub version: String,
    /// All steps of the pipeline, also those that this build leaves out.
    pub steps: Vec<StepAbout>,
}

/// A step, as it was planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepAbout {
    /// Its key in the pipeline.
    pub key: String,
    /// What the pipeline calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it runs.
    pub cmd: String,
    /// Who runs it.
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
    /// How many waits stand before it.
    #[serde(default)]
    pub segment: usize,
    /// A digest of its environment, its arguments and the fields that nobody knows.
    #[serde(default)]
    pub rest: String,
    /// It is not part of this build, since it had succeeded in the one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub succeeded_before: bool,
}
