//! The form in which a command declares its arguments: what the SDK's `clap_json_from` writes into
//! [`SubcommandSpec::args_schema`](crate::SubcommandSpec), and of which the host builds a parser. Parsing is the
//! host's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The arguments of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArgsSchema {
    /// Its arguments; those without `long` and `short` in the order in which they are typed.
    pub args: Vec<ArgSpec>,
}

/// One argument of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArgSpec {
    /// The key of its value in [`SubcommandInput::args`](crate::SubcommandInput).
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))]
    pub id: String,
    /// Form of its value.
    pub takes: ArgTakes,
    /// The name behind `--`. An argument with neither this nor `short` is positional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"))]
    pub long: Option<String>,
    /// The letter behind `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<char>,
    /// True if it must be given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Its values if it is not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default: Vec<String>,
    /// All values that are allowed; anything, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub possible_values: Vec<String>,
    /// A sentence for the help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Name of its value in the help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_name: Option<String>,
}

/// Form of the value of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArgTakes {
    /// No value on the command line: true if it was given.
    Flag,
    /// No value on the command line: the number of times that it was given.
    Count,
    /// One string, or null.
    One,
    /// Strings: of an option, one each time that it is given.
    Many,
}
