//! Text of an error for a person: `error:`, its causes, `hint:`.

use std::borrow::Cow;

use hm_abi::CallError;
use hm_disk::causes;
use hm_step_sandbox::SandboxError;

use super::error::CliError;
use super::refusal::conflict_hint;
use super::text::{indented, quoted_list};
use crate::pipeline::PipelineError;
use crate::plugin::{CompileError, LoadError, PluginFailure, PluginSetError};
use crate::render::{Interpreter, RenderError};

/// Most bytes of a text that an error shows: the words of a plugin may be many.
const MAX_SHOWN: usize = 16 * 1024;

impl CliError {
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
                return Some(format!("did you mean {}?", quoted_list(near)).into());
            }
            Self::NoSuchStep { known, .. } if !known.is_empty() => {
                return Some(format!("the steps of the last build are {}", quoted_list(known)).into());
            }
            Self::LogFilter { .. } => Some(
                "it takes a level, off, error, warn, info, debug or trace, or levels of targets, such as hm::gate=debug,hm::exec=trace; docs/debugging.md lists them",
            ),
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
            Self::Plugins(PluginSetError::Conflict(conflict)) => return Some(conflict_hint(conflict).into()),
            Self::Pipeline(PipelineError::NoProject { .. }) => {
                Some("put a pipeline into .hm/ci.py or .hm/ci.json, or name one: hm build --file FILE")
            }
            Self::OnlyScripts { .. } => Some("hm plan renders them in the sandbox, and checks them too"),
            Self::Render(error) => return render_hint(error),
            Self::Pipeline(PipelineError::ForeignProject { .. }) => {
                Some("if you trust it, name the project: hm build --dir DIR")
            }
            Self::Pipeline(PipelineError::UnknownFields { .. }) => Some(
                "names that begin with `x-` are yours to use; --lenient takes others for warnings, and what they ask for is not done",
            ),
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

    /// True if the reader of our output has gone away, which is no error to tell anybody about.
    fn is_broken_pipe(&self) -> bool {
        // Below a call it is somebody else's pipe.
        !matches!(self, Self::Call(_) | Self::Plugin(_))
            && causes(self).any(|e| {
                e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            })
    }
}

/// Hint at a way to render pipelines in Python after all.
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

/// Hint at the option that grants a module what it was denied.
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
    let start = &text[..text.floor_char_boundary(MAX_SHOWN)];
    let more = text.len() - start.len();
    if more == 0 { indented(start) } else { format!("{}… ({more} bytes more)", indented(start)) }
}
