//! Turns errors into what a person reads (`error:`, causes, `hint:`) and into the exit code. The only place that knows both.

use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;

use hm_abi::CallError;
use hm_disk::causes;
use hm_docker::DockerError;
use hm_step_sandbox::SandboxError;
use hm_workspace::WorkspaceError;
use hm_workspace::artifacts::ArtifactError;

use super::indented;
use super::refusal::{Refusal, against};
use super::why::names;
use crate::attack::Failure;
use crate::cache::CacheError;
use crate::orchestrator::{FormatterError, HookStop, exit};
use crate::pipeline::PipelineError;
use crate::plugin::{CompileError, FetchError, LoadError, Obstacle, PluginFailure, TermsError};
use crate::render::{Interpreter, RenderError};
use crate::sys::SystemError;

/// Most bytes of a text that an error shows: the words of a plugin may be many.
const SHOWN: usize = 16 * 1024;

/// Exit code for wrong usage or configuration.
const USAGE: u8 = 2;
/// Exit code for a network or a daemon that is not there, the sandbox of the kernel included.
const ENVIRONMENT: u8 = 4;
/// Exit code for a plugin that is missing or cannot be loaded.
const PLUGIN_LOAD: u8 = 5;
/// Exit code for a pipeline that is not valid.
const PIPELINE: u8 = 7;

/// Whatever keeps a command from doing its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error("cannot read the configuration {}", path.display())]
    Config { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error(transparent)]
    System(#[from] SystemError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Render(Box<RenderError>),
    #[error(transparent)]
    Plugins(#[from] Obstacle),
    #[error(transparent)]
    Terms(#[from] TermsError),
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
    Attack(#[from] Failure),
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
    /// What could have been called.
    pub(super) exports: Vec<String>,
    pub(super) source: CallError,
}

impl FailedCall {
    /// Whether the module has no such function.
    fn is_misnamed(&self) -> bool {
        matches!(self.source, CallError::NoSuchExport { .. } | CallError::WrongSignature { .. })
    }

    fn exit_code(&self) -> u8 {
        match self.source {
            _ if self.is_misnamed() => USAGE,
            CallError::Cancelled { .. } => to_u8(exit::INTERRUPTED),
            _ => to_u8(exit::PLUGIN),
        }
    }
}

impl From<RenderError> for CliError {
    fn from(error: RenderError) -> Self {
        Self::Render(Box::new(error))
    }
}

impl CliError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::NoSuchAttack { .. }
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
            Self::Pipeline(PipelineError::Read(_) | PipelineError::ForeignProject { .. }) => USAGE,
            Self::Render(error) => render_code(error),
            Self::Pipeline(PipelineError::NoImageRunner { .. } | PipelineError::BadSchema { .. }) => {
                PLUGIN_LOAD
            }
            Self::Pipeline(_) => PIPELINE,
            Self::Plugins(Obstacle::Config(_)) | Self::Terms(_) | Self::Load(LoadError::Config { .. }) => {
                USAGE
            }
            Self::Refused(Refusal::NoTerminal | Refusal::BuiltIn { .. } | Refusal::Several { .. }) => USAGE,
            Self::Refused(Refusal::Declined) => to_u8(exit::FAILED),
            Self::Refused(_) => PLUGIN_LOAD,
            Self::Fetch(FetchError::Url { .. } | FetchError::File { .. }) => USAGE,
            Self::Fetch(FetchError::TooLarge { .. }) => PLUGIN_LOAD,
            Self::Fetch(_) => ENVIRONMENT,
            Self::Plugins(Obstacle::Conflict(_)) | Self::NoSuchPlugin { .. } | Self::Load(_) => PLUGIN_LOAD,
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

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Call(call) if call.is_misnamed() && !call.exports.is_empty() => {
                return Some(format!("functions that can be called: {}", call.exports.join(", ")).into());
            }
            Self::NoSuchVerb { near, known, .. } => {
                let near = match near.as_slice() {
                    [] => String::new(),
                    near => format!("did you mean `{}`? ", near.join("` or `")),
                };
                return Some(format!("{near}the commands are: {}", known.join(", ")).into());
            }
            Self::NoSuchStep { near, .. } if !near.is_empty() => {
                return Some(format!("did you mean {}?", names(near)).into());
            }
            Self::NoSuchStep { known, .. } if !known.is_empty() => {
                return Some(format!("the steps of the last build are {}", names(known)).into());
            }
            Self::NoBuild { .. } => Some("hm build makes one"),
            Self::NoSuchAttack { groups, .. } => {
                return Some(format!("the groups of attacks: {}", groups.join(", ")).into());
            }
            Self::Load(LoadError::Module {
                source: hm_abi::LoadError::UnknownImport { module, .. }, ..
            }) if module == hm_abi::USER_MODULE => {
                Some("this hm has no such host function; docs/host-functions.md lists those that it has")
            }
            Self::Load(LoadError::Module { source: hm_abi::LoadError::UnknownImport { .. }, .. }) => {
                Some("a module to import from is linked with --link NAME=FILE")
            }
            Self::Load(LoadError::Code {
                source: CompileError::Module(hm_abi::LoadError::NotWasm), ..
            }) => Some("module text has to be assembled first, with wat2wasm or wasm-tools"),
            Self::Call(call) => match &call.source {
                CallError::Denied { capability, .. } => return denied_hint(capability),
                _ => None,
            },
            Self::Plugin(PluginFailure::Call { plugin, source: CallError::Denied { .. }, .. }) => {
                let told =
                    format!("hm plugin info {plugin} tells what it asks for, and what of that it may do");
                return Some(told.into());
            }
            Self::Refused(refusal) => return refusal.hint(),
            Self::Plugins(Obstacle::Conflict(conflict)) => return Some(against(conflict).into()),
            Self::Pipeline(PipelineError::NoProject { .. }) => {
                Some("put a pipeline into .hm/ci.py or .hm/ci.json, or name one: hm build --file FILE")
            }
            Self::Render(error) => return render_hint(error),
            Self::Pipeline(PipelineError::ForeignProject { .. }) => {
                Some("if you trust it, name the project: hm build --dir DIR")
            }
            Self::Pipeline(PipelineError::Ambiguous { .. }) => Some("name the one to run: hm build PIPELINE"),
            Self::Pipeline(PipelineError::NoImageRunner { .. }) => Some(
                "run such steps without their image, in the local sandbox: --runner local, or runner = \"local\" in .hm/config.toml",
            ),
            Self::Pipeline(PipelineError::UnknownRunner { .. })
            | Self::NoSuchPlugin { .. }
            | Self::NoSuchFormat { .. } => Some("see what there is: hm plugin list"),
            Self::Docker(_) => Some(
                "start it, or say where another one is: DOCKER_HOST or docker context use; or run without containers: --runner local",
            ),
            Self::CleanUpDocker(_) => {
                Some("the next build that uses Docker tries again, and so does hm cache prune")
            }
            Self::Sandbox(SandboxError::Io { .. }) => {
                Some("steps need a cache folder that hm can write to; XDG_CACHE_HOME can name another one")
            }
            Self::Sandbox(_) => {
                Some("steps need user namespaces or Landlock; docs/local-sandbox.md says how to allow them")
            }
            _ => None,
        };
        hint.map(Cow::Borrowed)
    }

    /// The guest's functions that were running when it was stopped, innermost first.
    fn backtrace(&self) -> &[String] {
        match self {
            Self::Call(call) => match &call.source {
                CallError::Trap { backtrace, .. } => backtrace,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// Whether the reader of our output has gone away, which is no error to tell anybody about.
    fn is_broken_pipe(&self) -> bool {
        // Below a call it is somebody else's pipe.
        !matches!(self, Self::Call(_) | Self::Plugin(_))
            && causes(self).any(|e| {
                e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            })
    }

    /// The error for a person: nothing, where there is nothing to tell.
    pub(super) fn report(&self) -> String {
        if self.is_broken_pipe() {
            return String::new();
        }
        let mut text = format!("error: {}\n", shown(&self.to_string()));
        for (number, cause) in causes(self).enumerate().skip(1) {
            text.push_str(&format!("  {number}: {}\n", shown(&cause.to_string())));
        }
        if !self.backtrace().is_empty() {
            text.push_str("backtrace, innermost first:\n");
        }
        for (number, function) in self.backtrace().iter().enumerate() {
            text.push_str(&format!("  {number}: {}\n", indented(function)));
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("hint: {}\n", shown(&hint)));
        }
        text
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

/// How pipelines in Python can be rendered after all.
fn render_hint(error: &RenderError) -> Option<Cow<'static, str>> {
    let hint = match error {
        RenderError::NoHarmont { python, .. } => {
            let command = if Interpreter::is_in_environment(python) {
                format!("{} -m pip install harmont", python.display())
            } else {
                // Where a system looks after its packages itself, pip installs nothing beside them.
                "python3 -m venv .venv && .venv/bin/pip install harmont".to_owned()
            };
            return Some(format!("install it: {command}; or name another Python in HARMONT_PYTHON").into());
        }
        RenderError::NotThere { .. } => {
            "it has to be a program, or a directory with bin/python3 for VIRTUAL_ENV"
        }
        RenderError::NoPython => {
            "install python3 and the package harmont, or name a Python in HARMONT_PYTHON"
        }
        RenderError::Foreign { .. } => {
            "put the Python that it was made from on PATH, or activate an environment of yours, or name a Python in HARMONT_PYTHON"
        }
        RenderError::BrokenHarmont { .. } => "another Python can be named in HARMONT_PYTHON",
        RenderError::LeftOut { .. } => {
            "take it out of .gitignore or .hmignore, or add it with git add --force"
        }
        RenderError::TooLong { .. } => {
            "files of pipelines only say what steps do; there is no network while they are read"
        }
        RenderError::NoPipeline { .. } => {
            "a function registers one: @hm.pipeline(\"ci\"), after import harmont as hm"
        }
        _ => return None,
    };
    Some(hint.into())
}

/// How what a module was denied is granted to it.
fn denied_hint(capability: &str) -> Option<Cow<'static, str>> {
    if capability.starts_with("http_request") {
        return Some(
            "hosts are allowed with --allow-host HOST; docs/plugin-call.md says how they are written".into(),
        );
    }
    let function = capability.strip_suffix(": it was not granted")?;
    Some(format!("if the module is to have it: --grant {function}").into())
}

/// A text of somebody else, of which no line can pass for one of ours; not all of it, if it is long.
fn shown(text: &str) -> String {
    let start = &text[..text.floor_char_boundary(SHOWN)];
    let more = text.len() - start.len();
    if more == 0 { indented(start) } else { format!("{}… ({more} bytes more)", indented(start)) }
}

/// An exit code as the system takes it.
pub(super) fn to_u8(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}
