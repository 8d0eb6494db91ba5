//! What was decided about one step of one build, as run records keep it. Deciding is the orchestrator's affair.

use chrono::{DateTime, Utc};
use hm_plugin_protocol::SnapshotRef;
use serde::{Deserialize, Serialize};

use super::{Key, Parts};

/// Whether a step's result was taken from the cache, and what that was decided on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The step's key in the pipeline.
    pub step: String,
    /// What its result is kept under; none if it is not kept.
    pub key: Option<Key>,
    /// What that was made of.
    pub parts: Option<Parts>,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided about a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "about", rename_all = "snake_case")]
pub enum Verdict {
    /// Its result was there.
    Hit {
        /// The result.
        tag: SnapshotRef,
        /// When it was made.
        made_at: DateTime<Utc>,
    },
    /// It was not, so the step runs, and its result is kept.
    Miss(Missing),
    /// The step always runs, and its result is not kept.
    Never(Never),
}

/// Why there was no result to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Missing {
    /// None is kept under this key.
    NoEntry,
    /// It is older than the step's policy allows.
    Expired {
        /// When it became so.
        since: DateTime<Utc>,
    },
    /// It was made later than now: the clock was set back, so nobody knows how old it is.
    MadeInFuture,
    /// Somebody has removed it.
    Removed,
    /// The image of this name is another one than it was made from.
    OtherImage {
        /// The name.
        name: String,
    },
    /// Steps had changed something in the project where there is something else now.
    Covered {
        /// The first such path.
        path: String,
    },
    /// It cannot be asked for, or not be used.
    CannotUse {
        /// Why, in words.
        why: String,
    },
    /// The runner does not have it any more, or says so. Records of earlier versions say this for all of the last four.
    Gone,
    /// What is kept cannot be read, or may not have been written whole.
    Damaged,
    /// Former results were not to be used.
    NotAsked,
}

/// Why a result is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Never {
    /// The step has no cache policy.
    NoPolicy,
    /// Its policy is `none`, or has a `none` in it.
    Policy,
    /// It builds in a step whose result is not kept.
    ParentNotKept {
        /// That step.
        parent: String,
    },
    /// It cannot be.
    CannotKeep {
        /// Why, in words.
        why: String,
    },
}
