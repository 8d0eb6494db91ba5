//! The manifest of a plugin, as `hm_manifest` returns it: what it provides and what it asks for.
//! A manifest is a request; what the user granted decides what works.

use schemars::JsonSchema as DeriveSchema;
use serde::{Deserialize, Serialize};

use crate::hook::{HookEventKind, HookPhase};

/// A JSON Schema, passed through as it is.
pub type JsonSchema = serde_json::Value;

/// The arguments of a command, as the SDK's `clap_json_from` writes them: an [`ArgsSchema`](crate::ArgsSchema).
/// Anything without `args` declares none, and the command gets what was typed.
pub type ClapJson = serde_json::Value;

/// The output of `hm_manifest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DeriveSchema)]
pub struct PluginManifest {
    /// [`HM_PLUGIN_API_VERSION`](crate::HM_PLUGIN_API_VERSION) of the SDK that the plugin was built with.
    pub api_version: u32,
    /// Name of the plugin: `[a-z0-9][a-z0-9-]{0,63}`.
    pub name: String,
    /// The plugin's own version.
    pub version: semver::Version,
    /// One sentence about the plugin.
    pub description: String,
    /// Capabilities that the plugin provides.
    pub capabilities: Vec<Capability>,
    /// The host functions that it asks for, by import name.
    pub required_host_fns: Vec<String>,
    /// Schema of its configuration.
    pub config_schema: Option<JsonSchema>,
    /// Hosts, sockets and directories that it asks for.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
}

/// One thing that a plugin provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DeriveSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Capability {
    /// A command `hm VERB`.
    Subcommand(SubcommandSpec),
    /// A runner of steps.
    StepExecutor(StepExecutorSpec),
    /// A listener to builds that may abort them.
    LifecycleHook(LifecycleHookSpec),
    /// A format of build output.
    OutputFormatter(OutputFormatterSpec),
}

/// A command that the plugin adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DeriveSchema)]
pub struct SubcommandSpec {
    /// The word after `hm`.
    pub verb: String,
    /// One line of help.
    pub about: String,
    /// Arguments of the command.
    pub args_schema: ClapJson,
    /// Commands below this one.
    pub subcommands: Vec<Self>,
}

/// A runner that the plugin provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DeriveSchema)]
pub struct StepExecutorSpec {
    /// The name that steps use in `runner`.
    pub runner: String,
    /// True if it runs steps that name no runner.
    pub default: bool,
    /// Schema of `runner_args`.
    pub step_schema: Option<JsonSchema>,
}

/// A hook that the plugin provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DeriveSchema)]
pub struct LifecycleHookSpec {
    /// Events that it wants to hear of.
    pub events: Vec<HookEventKind>,
    /// Before or after the event takes effect.
    pub phase: HookPhase,
    /// Longest time of one call, in milliseconds.
    pub timeout_ms: u32,
}

/// An output format that the plugin provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DeriveSchema)]
pub struct OutputFormatterSpec {
    /// The name that `--format` takes.
    pub name: String,
    /// The media type of what it writes.
    pub mime: String,
}
