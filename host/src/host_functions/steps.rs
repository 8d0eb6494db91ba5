//! Host functions of step executors: the primitives of the local sandbox, on sandboxes that this step has started.

use std::sync::atomic::Ordering;

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::{
    CacheDecision, SandboxArtifactsArgs, SandboxCommitArgs, SandboxExecArgs, SandboxStartArgs, SnapshotRef,
    StdStream,
};
use hm_step_sandbox::{ExecSpec, SandboxError, SandboxRun};
use hm_workspace::CACHE_TAG_PREFIX;
use hm_workspace::artifacts::Collected;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{Args, PluginState, Role, StepContext};
use crate::backend::artifact_ref;

/// How many chunks of output may wait between the command and the event channel.
const OUTPUT_CHUNKS: usize = 16;

/// What a shell exits with when it cannot find a command.
pub(super) const NOT_FOUND: i32 = 127;

/// A call that the plugin had no reason to make.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misuse {
    /// The argument is not what the function takes.
    #[error("the argument of {function} is not valid")]
    Argument {
        /// The function.
        function: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The sandbox is not one that this step has started.
    #[error("`{0}` is not a sandbox of this step")]
    NotItsSandbox(String),
    /// The container is not one that this step has started.
    #[error("`{0}` is not a container of this step")]
    NotItsContainer(String),
    /// The image is not one that this step has saved.
    #[error("`{0}` is not an image that this step has saved")]
    NotItsImage(String),
    /// The snapshot is kept for later builds, and is neither this step's nor its parent's.
    #[error("the snapshot `{0}` is neither this step's nor its parent's")]
    NotItsSnapshot(String),
    /// What is kept has the name that the host gave it.
    #[error("this step is not to keep its files as `{0}`")]
    NotItsName(String),
    /// The archive is not the one that this step was given.
    #[error("the archive is not the one that this step was given")]
    NotItsArchive,
}

/// Reads an argument that travels as JSON.
pub(super) fn json<T: DeserializeOwned>(function: &'static str, bytes: &[u8]) -> Result<T, HostError> {
    serde_json::from_slice(bytes).map_err(|source| failed(Misuse::Argument { function, source }))
}

/// Reads an argument that travels as text.
pub(super) fn text<'a>(function: &'static str, bytes: &'a [u8]) -> Result<&'a str, HostError> {
    let not_text = |_| HostError::InvalidArgument(format!("the argument of {function} is not UTF-8"));
    std::str::from_utf8(bytes).map_err(not_text)
}

/// The step of an executor; nobody else has one.
pub(super) fn step(state: &mut PluginState) -> Result<&mut StepContext, HostError> {
    match &mut state.role {
        Role::Executor(step) => Ok(step),
        other => {
            Err(HostError::Denied { capability: format!("acting on a step, by {}", other.who().plural()) })
        }
    }
}

/// The local sandbox: whoever has one of these functions may have it opened.
async fn local(step: &StepContext) -> Result<&SandboxRun, HostError> {
    step.backends.local.open().await.map_err(failed)
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> HostError {
    HostError::Failed(Box::new(error))
}

/// A truth value: they travel as four bytes, which readers of `bool`, `u32` and `i32` all understand.
pub(super) fn truth(value: bool) -> Vec<u8> {
    u32::from(value).to_le_bytes().to_vec()
}

/// A sandbox's id as an argument, if the sandbox belongs to this step.
fn own_sandbox(step: &StepContext, id: &[u8]) -> Result<String, HostError> {
    let id = String::from_utf8_lossy(id).into_owned();
    if step.sandboxes.contains(&id) { Ok(id) } else { Err(failed(Misuse::NotItsSandbox(id))) }
}

/// Checks that a snapshot, if it is one that outlives builds, is one that this step was told of.
pub(super) fn own_snapshot(step: &StepContext, snapshot: &SnapshotRef) -> Result<(), HostError> {
    let told = match &step.terms.cache {
        CacheDecision::Hit { tag } | CacheDecision::MissBuildAs { tag } => Some(tag),
        CacheDecision::MissNoCommit => None,
    };
    let own = [told, step.terms.parent.as_ref()].contains(&Some(snapshot));
    if own || !snapshot.0.starts_with(CACHE_TAG_PREFIX) {
        Ok(())
    } else {
        Err(failed(Misuse::NotItsSnapshot(snapshot.0.clone())))
    }
}

/// Whether a name is the one under which this step is to keep its files. No other may look like such a one.
pub(super) fn own_name(step: &StepContext, name: &SnapshotRef) -> Result<bool, HostError> {
    match &step.terms.cache {
        CacheDecision::MissBuildAs { tag } if tag == name => Ok(true),
        _ if name.0.starts_with(CACHE_TAG_PREFIX) => Err(failed(Misuse::NotItsName(name.0.clone()))),
        _ => Ok(false),
    }
}

/// Does something that has output, which becomes that of the step.
pub(super) async fn with_output<T, F: Future<Output = T>>(
    step: &mut StepContext,
    work: impl FnOnce(mpsc::Sender<(StdStream, Vec<u8>)>) -> F,
) -> T {
    let id = step.terms.step_id;
    tracing::debug!(target: "hm::exec", step = %id, "command started");
    let (sender, mut chunks) = mpsc::channel::<(StdStream, Vec<u8>)>(OUTPUT_CHUNKS);
    let lines = async {
        while let Some((stream, bytes)) = chunks.recv().await {
            step.output(stream, &bytes).await;
        }
        step.end_of_output().await;
    };
    let (ended, ()) = tokio::join!(work(sender), lines);
    tracing::debug!(target: "hm::exec", step = %id, "command ended");
    ended
}

/// Answers what was brought out of where a step runs. What is wrong with that is the step's fault and said in its output; the plugin
/// hears only that it did not work.
pub(super) async fn brought_out(
    step: &mut StepContext,
    collected: Result<Collected, &(dyn std::error::Error + Send + Sync)>,
) -> Result<Vec<u8>, HostError> {
    match collected {
        Ok(Collected { artifacts, notes }) => {
            for note in notes {
                step.lines(StdStream::Stderr, &format!("hm: {note}")).await;
            }
            let named: Vec<_> = artifacts.iter().map(artifact_ref).collect();
            let answer = serde_json::to_vec(&named).map_err(failed)?;
            step.produced = artifacts;
            Ok(answer)
        }
        Err(error) => {
            step.lines(StdStream::Stderr, &format!("hm: {}", with_causes(error))).await;
            Ok(b"null".to_vec())
        }
    }
}

/// `hm_should_cancel`: 1 once the step is to stop.
pub(super) fn should_cancel(state: &mut PluginState, _: Args) -> HostFuture<'_> {
    Box::pin(async move { Ok(truth(state.cancelled.load(Ordering::Relaxed))) })
}

/// `hm_sandbox_start`: a sandbox on the source tree or on a parent's snapshot.
pub(super) fn sandbox_start(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let start: SandboxStartArgs = json("hm_sandbox_start", &args[0])?;
        let step = step(state)?;
        if start.archive_id != step.terms.archive {
            return Err(failed(Misuse::NotItsArchive));
        }
        if let Some(parent) = &start.parent {
            own_snapshot(step, parent)?;
        }
        let id = local(step).await?.start(start.parent.as_ref()).await.map_err(failed)?;
        step.sandboxes.insert(id.clone());
        Ok(id.into_bytes())
    })
}

/// `hm_sandbox_exec`: runs a command to its end; its output becomes log lines of the step.
pub(super) fn sandbox_exec(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let SandboxExecArgs { sandbox_id, cmd, env, workdir, network } = json("hm_sandbox_exec", &args[0])?;
        let step = step(state)?;
        let id = own_sandbox(step, sandbox_id.as_bytes())?;
        let spec = ExecSpec { argv: cmd, env, workdir, network };
        let backends = step.backends.clone();
        let local = backends.local.open().await.map_err(failed)?;
        let ended = with_output(step, |sender| local.exec(&id, spec, sender)).await;
        let exit_code = match ended {
            // The step's own mistake, such as a shell that does not exist, and not the plugin's.
            Err(SandboxError::Command(reason)) => {
                step.lines(StdStream::Stderr, &format!("hm: cannot start the command: {reason}")).await;
                NOT_FOUND
            }
            ended => ended.map_err(failed)?,
        };
        Ok(exit_code.to_le_bytes().to_vec())
    })
}

/// `hm_sandbox_artifacts`: files of the sandbox go to the user.
pub(super) fn sandbox_artifacts(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let SandboxArtifactsArgs { sandbox_id, paths } = json("hm_sandbox_artifacts", &args[0])?;
        let step = step(state)?;
        let id = own_sandbox(step, sandbox_id.as_bytes())?;
        // Before anything else: each call replaces what the one before has brought out.
        step.produced.clear();
        let Some(out) = step.terms.artifacts.clone() else { return Ok(b"[]".to_vec()) };
        match local(step).await?.collect(&id, &paths, &out).await {
            Err(error @ (SandboxError::Artifacts(_) | SandboxError::Io(_))) => {
                brought_out(step, Err(&error)).await
            }
            collected => brought_out(step, Ok(collected.map_err(failed)?)).await,
        }
    })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// `hm_sandbox_commit`: the sandbox becomes a snapshot, of this run or one that is kept.
pub(super) fn sandbox_commit(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let SandboxCommitArgs { sandbox_id, keep_as } = json("hm_sandbox_commit", &args[0])?;
        let step = step(state)?;
        let id = own_sandbox(step, sandbox_id.as_bytes())?;
        if let Some(name) = keep_as.as_ref()
            && !own_name(step, name)?
        {
            return Err(failed(Misuse::NotItsName(name.0.clone())));
        }
        let snapshot = local(step).await?.commit(&id, keep_as.as_ref()).await.map_err(failed)?;
        step.sandboxes.remove(&id);
        serde_json::to_vec(&snapshot).map_err(failed)
    })
}

/// `hm_sandbox_discard`: the sandbox and all that was written in it go away.
pub(super) fn sandbox_discard(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let step = step(state)?;
        let id = own_sandbox(step, &args[0])?;
        local(step).await?.discard(&id).await.map_err(failed)?;
        step.sandboxes.remove(&id);
        Ok(Vec::new())
    })
}

/// `hm_sandbox_exists`: whether a snapshot can be started from.
pub(super) fn sandbox_exists(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let snapshot: SnapshotRef = json("hm_sandbox_exists", &args[0])?;
        let step = step(state)?;
        own_snapshot(step, &snapshot)?;
        Ok(truth(local(step).await?.exists(&snapshot).await))
    })
}
