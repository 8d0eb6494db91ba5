//! Events of a build, as the formatter and the hooks hear of them.
//! The host alone makes these events; a plugin may only contribute log lines of its own step.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::executor::{ArtifactRef, SnapshotRef};

/// One of a command's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdStream {
    /// Standard output, file descriptor 1.
    Stdout,
    /// Standard error, file descriptor 2.
    Stderr,
}

/// One event of a build. Events of a build arrive in one order, the same for every listener: `build_start` first,
/// `build_end` last, and for a step `step_queued`, `step_start`, its `step_log`s, `step_end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BuildEvent {
    /// The plan is valid and the run begins.
    BuildStart {
        /// Names the run everywhere.
        run_id: Uuid,
        /// Summary of the plan that will be run.
        plan: PlanSummary,
        /// Wall clock at the start.
        started_at: DateTime<Utc>,
    },
    /// A step is part of this run and waits for its turn.
    StepQueued {
        /// Names this step of this run in all later events.
        step_id: Uuid,
        /// The step's key in the pipeline.
        key: String,
        /// Number of the chain that it belongs to, from 0.
        chain_idx: usize,
    },
    /// A step's executor was called.
    StepStart {
        /// The step that starts.
        step_id: Uuid,
        /// The runner that was chosen.
        runner: String,
        /// The image it runs in, where the runner uses images.
        image: Option<String>,
    },
    /// One line of a step's output, without its line end.
    StepLog {
        /// The step that wrote the line.
        step_id: Uuid,
        /// The stream that the line was written to.
        stream: StdStream,
        /// The line; bytes that are not UTF-8 are replaced.
        line: String,
        /// Wall clock when the host read it.
        ts: DateTime<Utc>,
    },
    /// The step's result was taken from the cache.
    StepCacheHit {
        /// The step that was not run.
        step_id: Uuid,
        /// The step's key in the pipeline.
        key: String,
        /// The snapshot that was found.
        tag: String,
    },
    /// A step came to its end.
    StepEnd {
        /// The step that ended.
        step_id: Uuid,
        /// The exit code of its command; 124 after a timeout, 130 when cancelled.
        exit_code: i32,
        /// From `step_start` on, in milliseconds.
        duration_ms: u64,
        /// State that its children build in.
        snapshot: Option<SnapshotRef>,
        /// The files that it has produced.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        artifacts: Vec<ArtifactRef>,
    },
    /// A step failed, and with it the chain that it is in.
    ChainFailed {
        /// The chain, from 0.
        chain_idx: usize,
        /// The step that failed.
        failed_step_id: Uuid,
        /// Its key in the pipeline.
        failed_step_key: String,
        /// Exit code of its command.
        exit_code: i32,
        /// Reason, in a sentence.
        message: String,
        /// Wall clock when the step had ended.
        ts: DateTime<Utc>,
    },
    /// The build is over. Nothing follows.
    BuildEnd {
        /// Exit code of `hm build`.
        exit_code: i32,
        /// From `build_start` on, in milliseconds.
        duration_ms: u64,
    },
}

/// Summary of a plan, as a header shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanSummary {
    /// Number of command steps.
    pub step_count: usize,
    /// Number of chains that they form: runs of steps in which each is the only child of the one before.
    pub chain_count: usize,
    /// The runner of steps that name none.
    pub default_runner: String,
}
