//! Input of a subcommand plugin.
//! Parsing the arguments by the plugin's schema happens in the host.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The input of `hm_subcommand_run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubcommandInput {
    /// The verb and the subcommands below it, as typed; and all that follows, if the last of them declares no
    /// arguments.
    pub verb_path: Vec<String>,
    /// The parsed arguments, an object with each [`ArgSpec::id`](crate::ArgSpec) of these commands as a key; `null`
    /// if none were parsed.
    pub args: serde_json::Value,
    /// Those variables of the user that begin with `HARMONT_`.
    pub env: BTreeMap<String, String>,
}
