//! Exit code of each error, as docs/exit-codes.md lists them.

use hm_abi::CallError;

use super::error::{CliError, FailedCall};
use super::refusal::Refusal;
use crate::orchestrator::{FormatterError, exit};
use crate::pipeline::PipelineError;
use crate::plugin::{FetchError, LoadError, PluginSetError};
use crate::render::RenderError;
use hm_step_sandbox::SandboxError;
use hm_workspace::WorkspaceError;

/// Exit code for wrong usage or configuration.
const USAGE: u8 = 2;
/// Exit code for a network or a daemon that is not there, the sandbox of the kernel included.
const ENVIRONMENT: u8 = 4;
/// Exit code for a plugin that is missing or cannot be loaded.
const PLUGIN_LOAD: u8 = 5;
/// Exit code for a pipeline that is not valid.
const PIPELINE: u8 = 7;

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::LogFilter { .. }
            | Self::NoSuchAttack { .. }
            | Self::OnlyScripts { .. }
            | Self::Config { .. }
            | Self::Cache(_)
            | Self::Layers(_)
            | Self::ImageRecords(_)
            | Self::System(_)
            | Self::Artifacts(_)
            | Self::NoBuild { .. }
            | Self::NoSuchStep { .. }
            | Self::NoSuchFormat { .. } => USAGE,
            Self::Pipeline(
                PipelineError::NoProject { .. }
                | PipelineError::Ambiguous { .. }
                | PipelineError::UnknownPipeline { .. },
            ) => USAGE,
            Self::Pipeline(PipelineError::Read { .. } | PipelineError::ForeignProject { .. }) => USAGE,
            Self::Render(error) => render_code(error),
            Self::Pipeline(PipelineError::NoImageRunner { .. } | PipelineError::BadSchema { .. }) => {
                PLUGIN_LOAD
            }
            Self::Pipeline(_) => PIPELINE,
            Self::Plugins(PluginSetError::Config(_))
            | Self::Trust(_)
            | Self::Load(LoadError::Config { .. }) => USAGE,
            Self::Refused(Refusal::NoTerminal | Refusal::BuiltIn { .. } | Refusal::Several { .. }) => USAGE,
            Self::Refused(Refusal::Declined) => to_u8(exit::FAILED),
            Self::Refused(_) => PLUGIN_LOAD,
            Self::Fetch(FetchError::Url { .. } | FetchError::File { .. }) => USAGE,
            Self::Fetch(FetchError::TooLarge { .. }) => PLUGIN_LOAD,
            Self::Fetch(_) => ENVIRONMENT,
            Self::Plugins(PluginSetError::Conflict(_)) | Self::NoSuchPlugin { .. } | Self::Load(_) => {
                PLUGIN_LOAD
            }
            Self::Audit { .. } | Self::Input { .. } => USAGE,
            Self::Certificates(_) | Self::Attack(_) => ENVIRONMENT,
            Self::Call(call) => call.exit_code(),
            Self::NoSuchVerb { broken: true, .. } => PLUGIN_LOAD,
            Self::NoSuchVerb { .. } => USAGE,
            Self::Plugin(_) => to_u8(exit::PLUGIN),
            Self::Stopped(_) => to_u8(exit::FAILED),
            Self::Interrupted => to_u8(exit::INTERRUPTED),
            Self::Sandbox(
                SandboxError::Io { .. } | SandboxError::Workspace(WorkspaceError::IgnoreFile(_)),
            ) => USAGE,
            Self::Engine(_) | Self::Runtime(_) | Self::Sandbox(_) => ENVIRONMENT,
            Self::Output(FormatterError::Plugin(_)) => to_u8(exit::PLUGIN),
            Self::Docker(_) | Self::Images(_) => ENVIRONMENT,
            Self::CleanUp(_)
            | Self::CleanUpDocker(_)
            | Self::Output(FormatterError::Write(_))
            | Self::Write(_) => to_u8(exit::FAILED),
        }
    }
}

impl FailedCall {
    fn exit_code(&self) -> u8 {
        match self.source {
            _ if self.is_misnamed() => USAGE,
            CallError::Cancelled { .. } => to_u8(exit::INTERRUPTED),
            _ => to_u8(exit::PLUGIN),
        }
    }
}

fn render_code(error: &RenderError) -> u8 {
    match error {
        RenderError::NotThere { .. }
        | RenderError::NoPython
        | RenderError::Foreign { .. }
        | RenderError::NoHarmont { .. }
        | RenderError::BrokenHarmont { .. }
        | RenderError::LeftOut { .. }
        | RenderError::Sandbox(
            SandboxError::Io { .. } | SandboxError::Workspace(WorkspaceError::IgnoreFile(_)),
        ) => USAGE,
        RenderError::Sandbox(_) => ENVIRONMENT,
        _ => PIPELINE,
    }
}

/// An exit code as the system takes it.
pub(super) fn to_u8(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
