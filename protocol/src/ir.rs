//! The pipeline as emitters write it: the `steps` form of wire format v0.
//! Loading, checking and planning are the host's. Unknown fields are kept in `extra` and written out again, since
//! a plugin may know more than the host (0.0.1 dropped them, cache parameters among them).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A pipeline, as emitters write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pipeline {
    /// The wire format: `"0"`.
    pub version: String,
    /// The environment of every step; a step's own wins.
    #[serde(default)]
    pub env: Option<BTreeMap<String, String>>,
    /// The image of root steps that name none.
    #[serde(default)]
    pub default_image: Option<String>,
    /// Commands and barriers, in order.
    pub steps: Vec<Step>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// An entry of [`Pipeline::steps`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Step {
    /// Runs a shell command.
    Command(Box<CommandStep>),
    /// Holds everything below it back until everything above it has ended.
    Wait(WaitStep),
}

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandStep {
    /// Unique in the pipeline.
    pub key: String,
    /// For people; may hold `:emoji:` codes.
    #[serde(default)]
    pub label: Option<String>,
    /// The shell command to run.
    pub cmd: String,
    /// The key of the step whose file system state this one starts from.
    #[serde(default)]
    pub builds_in: Option<String>,
    /// The image to run in; a parent's snapshot wins over it.
    #[serde(default)]
    pub image: Option<String>,
    /// Added to the pipeline's environment.
    #[serde(default)]
    pub env: Option<BTreeMap<String, String>>,
    /// The command is stopped after this many seconds.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    /// Conditions under which a former result may be used again.
    #[serde(default)]
    pub cache: Option<Cache>,
    /// The runner to use, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Arguments of the runner, in the form that its `step_schema` gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_args: Option<Value>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// A barrier between the steps above and below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitStep {
    /// True to run what follows although something before it failed. The build fails all the same.
    #[serde(default)]
    pub continue_on_failure: bool,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Conditions under which a former result of a step may be used again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cache {
    /// `none`, `forever`, `ttl`, `on_change` or `compose`.
    pub policy: String,
    /// Key that the emitter computed. It leaves out too much to be trusted alone.
    #[serde(default)]
    pub key: Option<String>,
    /// Parameters of the policy (`duration_seconds`, `paths`, `env_keys`, `sub_policies`) and fields that this
    /// version does not know.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}
