//! What a subcommand plugin is called with.
//! Parsing the arguments by the plugin's schema happens in the host.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The input of `hm_subcommand_run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubcommandInput {
    /// The verb and the subcommands below it, as typed.
    pub verb_path: Vec<String>,
    /// The parsed arguments.
    pub args: serde_json::Value,
    /// The `HARMONT_*` variables.
    pub env: BTreeMap<String, String>,
}
