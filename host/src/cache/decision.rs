//! Decisions about the steps of a build, and the reasons that there are, as run records keep them. Deciding is the
//! orchestrator's affair. Names in files are older than those in the code: `docs/runs.md` promises them.

use chrono::{DateTime, Utc};
use hm_plugin_protocol::SnapshotRef;
use serde::{Deserialize, Serialize};

use super::{Key, KeyInputs};

/// Decision about a step, with what it was based on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDecision {
    /// Key of the step in its pipeline. Readers of records look for it at the start of a line.
    pub step: String,
    /// Cache key; none if the result is not kept.
    pub key: Option<Key>,
    /// Inputs of that key.
    #[serde(rename = "parts")]
    pub inputs: Option<KeyInputs>,
    /// Verdict of the cache.
    pub verdict: StepVerdict,
}

/// Verdict of the cache on a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "about", rename_all = "snake_case")]
pub enum StepVerdict {
    /// A result is there, and is used.
    Hit {
        /// Tag of its snapshot.
        tag: SnapshotRef,
        /// Time at which it was made.
        made_at: DateTime<Utc>,
    },
    /// No result can be used: the step runs, and its result is kept.
    Miss(MissReason),
    /// The step always runs, and its result is not kept.
    #[serde(rename = "never")]
    Uncacheable(Uncacheable),
}

/// Reason for a miss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum MissReason {
    /// Nothing is kept under this key.
    NoEntry,
    /// The result is older than the step's policy allows.
    Expired {
        /// End of the time in which it could be used.
        since: DateTime<Utc>,
    },
    /// The result was made later than now: the clock was set back, so nobody knows how old it is.
    MadeInFuture,
    /// Somebody has deleted the snapshot.
    #[serde(rename = "removed")]
    Deleted,
    /// The image of this name is another one than the snapshot was made from.
    OtherImage {
        /// Name of the image.
        name: String,
    },
    /// Steps had changed something in the project where there is something else now.
    Covered {
        /// First path of those.
        path: String,
    },
    /// The snapshot cannot be asked for, or not be used.
    CannotUse {
        /// Reason as a sentence for people.
        why: String,
    },
    /// The runner, which has the snapshot itself, does not have it any more. Records of earlier versions say this for
    /// all of the last four.
    #[serde(rename = "gone")]
    RunnerLostIt,
    /// The result cannot be read, or may not have been written whole.
    Damaged,
    /// Former results were not to be used.
    #[serde(rename = "not_asked")]
    Bypassed,
}

/// Reason why a result is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Uncacheable {
    /// The step has no cache policy.
    NoPolicy,
    /// Its policy is `none`, or has a `none` in it.
    Policy,
    /// It builds in a step whose result is not kept.
    ParentNotKept {
        /// Key of that step.
        parent: String,
    },
    /// Keeping it is not possible.
    CannotKeep {
        /// Reason as a sentence for people.
        why: String,
    },
}
