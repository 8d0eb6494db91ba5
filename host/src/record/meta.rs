//! Facts of a build that its record begins with.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Metadata of a build, known before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMeta {
    /// Names the build everywhere.
    pub run_id: Uuid,
    /// Directory of the project.
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
