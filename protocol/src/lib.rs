//! Wire types shared by the `hm` host and its plugins.
//!
//! Everything here is plain data: what crosses the boundary as JSON, and nothing that acts on it. The shapes
//! are those of the published 0.0.1 crates, so that plugins built years ago still understand their host.
//! Loading pipelines, checking them and talking to plugins belong to the host crate.
//!
//! Rules of evolution: a new field is optional and defaulted; a new required field means another
//! [`HM_PLUGIN_API_VERSION`]. What comes from the pipeline's author ([`Pipeline`], [`CommandStep`],
//! [`WaitStep`], [`Cache`]) keeps the fields it does not know in `extra`, so that they reach the plugin.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod error;
pub mod events;
pub mod executor;
pub mod hook;
pub mod host_abi;
mod host_functions;
pub mod ir;
pub mod manifest;
pub mod subcommand;

pub use arguments::{ArgSpec, ArgTakes, ArgsSchema};
pub use error::{ExitInfo, PluginError};
pub use events::{BuildEvent, PlanSummary, StdStream};
pub use executor::{ArchiveId, ArtifactRef, CacheDecision, ExecutorInput, SnapshotRef, StepResult};
pub use hook::{HookEvent, HookEventKind, HookOutcome, HookPhase};
pub use host_abi::{
    ArchiveReadArgs, CallbackData, DockerArtifactsArgs, DockerCommitArgs, DockerExecArgs, DockerExtractArgs,
    DockerStartArgs, KeyringArgs, KeyringSetArgs, KvScope, Level, LoopbackHandle, LoopbackRecvArgs,
    SandboxArtifactsArgs, SandboxCommitArgs, SandboxExecArgs, SandboxStartArgs, SocketHandle, SocketReadArgs,
    SocketWriteArgs, TtyConfirmArgs, TtyPromptArgs,
};
pub use ir::{Cache, CommandStep, Pipeline, Step, WaitStep};
pub use manifest::{
    Capability, ClapJson, JsonSchema, LifecycleHookSpec, OutputFormatterSpec, PluginManifest,
    StepExecutorSpec, SubcommandSpec,
};
pub use subcommand::SubcommandInput;

pub use {chrono, semver, serde_json, uuid};

/// Version of the wire format. A manifest that states another one is refused when the plugin is loaded.
pub const HM_PLUGIN_API_VERSION: u32 = 1;
