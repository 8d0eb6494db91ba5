//! Input of a lifecycle hook, and its answer.
//! The choice of hooks, their order and their time are the host's affair.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::BuildEvent;

/// The input of `hm_hook_on_event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookEvent {
    /// The event that is about to happen, or has happened.
    pub event: BuildEvent,
    /// Phase of the event in which the hook is called.
    pub phase: HookPhase,
}

/// Phase of an event in which a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookPhase {
    /// Before the event takes effect; the hook may abort the build.
    Before,
    /// Afterwards; the answer is ignored.
    After,
}

/// Answer of a hook to an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HookOutcome {
    /// The build goes on.
    Continue,
    /// The build stops, and fails.
    Abort {
        /// Shown to the user.
        reason: String,
    },
}

/// Names of the events that a hook may ask for in its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookEventKind {
    /// Asks for [`BuildEvent::BuildStart`].
    BuildStart,
    /// Asks for [`BuildEvent::StepQueued`].
    StepQueued,
    /// Asks for [`BuildEvent::StepStart`].
    StepStart,
    /// Asks for [`BuildEvent::StepLog`].
    StepLog,
    /// Asks for [`BuildEvent::StepCacheHit`].
    StepCacheHit,
    /// Asks for [`BuildEvent::StepEnd`].
    StepEnd,
    /// Asks for [`BuildEvent::BuildEnd`].
    BuildEnd,
}
