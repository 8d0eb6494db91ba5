//! Everything that keeps a command from doing its work. Its words for a person are in `report`, its exit code in
//! `exit_code`.

use std::error::Error;
use std::path::PathBuf;

use hm_abi::CallError;
use hm_docker::DockerError;
use hm_step_sandbox::SandboxError;
use hm_workspace::artifacts::ArtifactError;

use super::refusal::Refusal;
use crate::attack::AttackError;
use crate::cache::CacheError;
use crate::orchestrator::{FormatterError, HookStop};
use crate::pipeline::PipelineError;
use crate::plugin::{FetchError, LoadError, LockError, PluginFailure, PluginSetError, TrustError};
use crate::render::RenderError;
use crate::sys::SystemError;

/// Whatever keeps a command from doing its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error("{variable} cannot be used: {reason}")]
    LogFilter { variable: &'static str, reason: String },
    #[error("cannot read the configuration {}", path.display())]
    Config { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error(transparent)]
    System(#[from] SystemError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error("all pipelines in {} are in Python, which would have to run: {files}", folder.display())]
    OnlyScripts { folder: PathBuf, files: String },
    #[error(transparent)]
    Render(Box<RenderError>),
    #[error(transparent)]
    Plugins(#[from] PluginSetError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fetch(FetchError),
    #[error("there is no plugin `{name}`; there is: {}", known.join(", "))]
    NoSuchPlugin { name: String, known: Vec<String> },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot write the audit to {}", path.display())]
    Audit { path: PathBuf, source: std::io::Error },
    #[error("cannot read the input from {from}")]
    Input { from: String, source: std::io::Error },
    #[error("HTTPS is not to be had")]
    Certificates(#[source] hm_abi::TlsError),
    #[error(transparent)]
    Call(#[from] Box<FailedCall>),
    #[error("the attack cannot begin")]
    Attack(#[from] AttackError),
    #[error("there is no command `{verb}`{}", if *broken { ", unless it is of a plugin that could not be loaded" } else { "" })]
    NoSuchVerb { verb: String, near: Vec<String>, known: Vec<String>, broken: bool },
    #[error(transparent)]
    Plugin(#[from] PluginFailure),
    #[error(transparent)]
    Stopped(HookStop),
    #[error("interrupted")]
    Interrupted,
    #[error("there is no output format `{format}`; there is: {}", known.join(", "))]
    NoSuchFormat { format: String, known: Vec<String> },
    #[error("there is no build{} on record for this project", pipeline.as_ref().map(|of| format!(" of `{of}`")).unwrap_or_default())]
    NoBuild { pipeline: Option<String> },
    #[error("no build on record has a step `{step}`")]
    NoSuchStep { step: String, near: Vec<String>, known: Vec<String> },
    #[error("there is no attack `{name}`")]
    NoSuchAttack { name: String, groups: Vec<String> },
    #[error("cannot start the WebAssembly engine")]
    Engine(#[from] hm_abi::EngineError),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("cannot work on the layers that are kept")]
    Layers(#[source] SandboxError),
    #[error("cannot prepare the sandbox for steps")]
    Sandbox(#[source] SandboxError),
    #[error("there is no place for artifacts")]
    Artifacts(#[source] ArtifactError),
    #[error("there are steps that run in containers, and no engine for them")]
    Docker(#[source] DockerError),
    #[error("the build left something behind")]
    CleanUp(#[source] SandboxError),
    #[error("the build left something behind on the Docker Engine")]
    CleanUpDocker(#[source] DockerError),
    #[error("cannot remove images that are kept")]
    Images(#[source] DockerError),
    #[error("cannot read what images are kept")]
    ImageRecords(#[source] hm_disk::PathError),
    #[error(transparent)]
    Output(#[from] FormatterError),
    #[error("cannot write the output")]
    Write(#[source] std::io::Error),
}

/// A call of `hm plugin call` that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("calling `{export}` of {} failed", file.display())]
pub(super) struct FailedCall {
    pub(super) file: PathBuf,
    pub(super) export: String,
    /// Functions that could have been called.
    pub(super) exports: Vec<String>,
    pub(super) source: CallError,
}

impl FailedCall {
    /// True if the module has no such function.
    pub(super) fn is_misnamed(&self) -> bool {
        matches!(self.source, CallError::NoSuchExport { .. } | CallError::WrongSignature { .. })
    }
}

impl From<RenderError> for CliError {
    fn from(error: RenderError) -> Self {
        Self::Render(Box::new(error))
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        Self::Trust(error.into())
    }
}

impl From<FetchError> for CliError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Tls(source) => Self::Certificates(source),
            other => Self::Fetch(other),
        }
    }
}
