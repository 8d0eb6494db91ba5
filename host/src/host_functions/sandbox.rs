//! Host functions of step executors: the primitives of the local sandbox, on sandboxes that this step has started.

use hm_abi::HostError;
use hm_plugin_protocol::{
    ArtifactRef, SandboxArtifactsArgs, SandboxCommitArgs, SandboxExecArgs, SandboxStartArgs, SnapshotRef,
};
use hm_step_sandbox::{ExecSpec, SandboxError, SandboxRun};

use super::ownership::NotItsOwn;
use super::{PluginState, StepContext};

/// The local sandbox: whoever has one of these functions may have it opened.
async fn local(step: &StepContext) -> Result<&SandboxRun, HostError> {
    step.backends.local.open().await.map_err(HostError::failed)
}

/// `hm_sandbox_start`: a sandbox on the source tree or on a parent's snapshot; its id.
pub(super) async fn hm_sandbox_start(
    state: &mut PluginState,
    SandboxStartArgs { archive_id, parent }: SandboxStartArgs,
) -> Result<String, HostError> {
    let step = state.step()?;
    step.check_archive(archive_id)?;
    if let Some(parent) = &parent {
        step.check_snapshot(parent)?;
    }
    let id = local(step).await?.start(parent.as_ref()).await.map_err(HostError::failed)?;
    step.sandboxes.insert(id.clone());
    Ok(id)
}

/// `hm_sandbox_exec`: runs a command to its end; its output becomes log lines of the step.
pub(super) async fn hm_sandbox_exec(
    state: &mut PluginState,
    SandboxExecArgs { sandbox_id, cmd, env, workdir, network }: SandboxExecArgs,
) -> Result<i32, HostError> {
    let step = state.step()?;
    step.check_sandbox(&sandbox_id)?;
    let spec = ExecSpec { argv: cmd, env, workdir, network };
    // Of its own, as the step has to be there for its output.
    let backends = step.backends.clone();
    let local = backends.local.open().await.map_err(HostError::failed)?;
    match step.with_output(|sender| local.exec(&sandbox_id, spec, sender)).await {
        // The step's own mistake, such as a shell that does not exist, and not the plugin's.
        Err(SandboxError::Command(reason)) => Ok(step.cannot_start(&reason).await),
        ended => ended.map_err(HostError::failed),
    }
}

/// `hm_sandbox_artifacts`: files of the sandbox go to the user.
pub(super) async fn hm_sandbox_artifacts(
    state: &mut PluginState,
    SandboxArtifactsArgs { sandbox_id, paths }: SandboxArtifactsArgs,
) -> Result<Option<Vec<ArtifactRef>>, HostError> {
    let step = state.step()?;
    step.check_sandbox(&sandbox_id)?;
    // Before anything else: each call replaces what the one before has brought out.
    step.produced.clear();
    let Some(out) = step.scope.artifacts.clone() else { return Ok(Some(Vec::new())) };
    match local(step).await?.collect(&sandbox_id, &paths, &out).await {
        Err(error @ (SandboxError::Artifacts(_) | SandboxError::Io(_))) => {
            Ok(step.not_collected(&error).await)
        }
        collected => Ok(step.collected(collected.map_err(HostError::failed)?).await),
    }
}

/// `hm_sandbox_commit`: the sandbox becomes a snapshot, of this run or one that is kept.
pub(super) async fn hm_sandbox_commit(
    state: &mut PluginState,
    SandboxCommitArgs { sandbox_id, keep_as }: SandboxCommitArgs,
) -> Result<SnapshotRef, HostError> {
    let step = state.step()?;
    step.check_sandbox(&sandbox_id)?;
    if let Some(name) = &keep_as
        && !step.is_name_to_keep(name)?
    {
        return Err(NotItsOwn::Name(name.0.clone()).into());
    }
    let snapshot = local(step).await?.commit(&sandbox_id, keep_as.as_ref()).await;
    let snapshot = snapshot.map_err(HostError::failed)?;
    step.sandboxes.remove(&sandbox_id);
    Ok(snapshot)
}

/// `hm_sandbox_discard`: the sandbox and all that was written in it go away.
pub(super) async fn hm_sandbox_discard(state: &mut PluginState, sandbox: String) -> Result<(), HostError> {
    let step = state.step()?;
    step.check_sandbox(&sandbox)?;
    local(step).await?.discard(&sandbox).await.map_err(HostError::failed)?;
    step.sandboxes.remove(&sandbox);
    Ok(())
}

/// `hm_sandbox_exists`: true if a snapshot can be started from.
pub(super) async fn hm_sandbox_exists(
    state: &mut PluginState,
    snapshot: SnapshotRef,
) -> Result<bool, HostError> {
    let step = state.step()?;
    step.check_snapshot(&snapshot)?;
    Ok(local(step).await?.exists(&snapshot).await)
}
