//! What a lifecycle hook is called with and what it may answer.
//! Which hooks run, in which order and for how long, is the host's affair.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::BuildEvent;

/// The input of `hm_hook_on_event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookEvent {
    /// What is about to happen, or has happened.
    pub event: BuildEvent,
    /// Which of the two.
    pub phase: HookPhase,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookPhase {
    /// Before the event takes effect; the hook may abort the build.
    Before,
    /// Afterwards; the answer is ignored.
    After,
}

/// A hook's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HookOutcome {
    /// Go on.
    Continue,
    /// Stop the build.
    Abort {
        /// Shown to the user.
        reason: String,
    },
}

/// Names of the events that a hook may ask for in its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookEventKind {
    /// [`BuildEvent::BuildStart`]
    BuildStart,
    /// [`BuildEvent::StepQueued`]
    StepQueued,
    /// [`BuildEvent::StepStart`]
    StepStart,
    /// [`BuildEvent::StepLog`]
    StepLog,
    /// [`BuildEvent::StepCacheHit`]
    StepCacheHit,
    /// [`BuildEvent::StepEnd`]
    StepEnd,
    /// [`BuildEvent::BuildEnd`]
    BuildEnd,
}
