//! The contract between the host and a step executor: what it is given, what it gives back.
//! Deciding about caches and scheduling is the host's; running the command is the plugin's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ir::CommandStep;

/// Names the source archive of a run. Only the plugin that was given it can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ArchiveId(pub Uuid);

/// Names a saved file system state, in the executor's own terms (an image tag, a layer). The host hands it on
/// without looking inside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SnapshotRef(pub String);

/// A file that a step produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactRef {
    /// Its name within the step.
    pub key: String,
    /// Media type, such as `text/plain`.
    pub mime: String,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// Decision of the host about its cache. The executor obeys and does not look for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CacheDecision {
    /// The result exists under this tag: do not run the command.
    Hit {
        /// The snapshot that exists.
        tag: SnapshotRef,
    },
    /// Run the command, and on success save the state under this tag.
    MissBuildAs {
        /// The snapshot to make.
        tag: SnapshotRef,
    },
    /// Run the command; nothing is kept beyond this run.
    MissNoCommit,
}

/// The input of `hm_executor_run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutorInput {
    /// The step as the pipeline has it.
    pub step: CommandStep,
    /// The source tree of this run.
    pub workspace_archive_id: ArchiveId,
    /// The environment of the command, already merged.
    pub env: BTreeMap<String, String>,
    /// Path of the workspace, as the command sees it.
    pub workdir: String,
    /// The run that the step is part of.
    pub run_id: Uuid,
    /// The step within the run.
    pub step_id: Uuid,
    /// Decision of the host about its cache.
    pub cache_lookup: CacheDecision,
    /// The state to start from; none for a step that starts from the source tree.
    #[serde(default)]
    pub parent_snapshot: Option<SnapshotRef>,
}

/// The output of `hm_executor_run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// Exit code of the command.
    pub exit_code: i32,
    /// The state that children build in.
    pub committed_snapshot: Option<SnapshotRef>,
    /// Files that the step produced.
    pub artifacts: Vec<ArtifactRef>,
}
