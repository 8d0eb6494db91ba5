//! Host functions of step executors: containers of a Docker Engine that this step has made, and images to make them
//! from.

use hm_abi::HostError;
use hm_docker::{Command, ContainerSpec, DockerError, Image};
use hm_plugin_protocol::{
    ArtifactRef, CacheDecision, DockerArtifactsArgs, DockerCommitArgs, DockerExecArgs, DockerExtractArgs,
    DockerStartArgs, SnapshotRef, StdStream,
};
use hm_workspace::CACHE_TAG_PREFIX;
use tokio::sync::mpsc;

use super::ownership::NotItsOwn;
use super::{PluginState, StepContext};

/// Lines about a pull that may wait to be shown.
const LINES: usize = 16;

/// The image that a step means by a name: its parent's state, or its own, or else one of the engine. States that other
/// steps have saved are not for it.
fn image_of(step: &StepContext, name: &str) -> Result<Image, HostError> {
    let tag = SnapshotRef(name.to_owned());
    step.check_snapshot(&tag)?;
    let is_own = step.scope.parent.as_ref() == Some(&tag)
        || step.saved.contains(name)
        || name.starts_with(CACHE_TAG_PREFIX);
    let name = name.to_owned();
    Ok(if is_own { Image::Snapshot(name) } else { Image::Named(name) })
}

/// `hm_docker_ping`: true if an engine answers.
pub(super) async fn hm_docker_ping(state: &mut PluginState) -> Result<bool, HostError> {
    Ok(state.step()?.backends.docker.connect().await.is_ok())
}

/// `hm_docker_image_exists`: true if containers can be made from an image or a snapshot.
pub(super) async fn hm_docker_image_exists(
    state: &mut PluginState,
    image: String,
) -> Result<bool, HostError> {
    let step = state.step()?;
    let image = image_of(step, &image)?;
    step.backends.docker.has(&image).await.map_err(HostError::failed)
}

/// `hm_docker_pull`: gets an image; how far that is becomes output of the step.
pub(super) async fn hm_docker_pull(state: &mut PluginState, image: String) -> Result<(), HostError> {
    let step = state.step()?;
    let docker = step.backends.docker.clone();
    let (sender, mut lines) = mpsc::channel::<String>(LINES);
    let shown = async {
        while let Some(line) = lines.recv().await {
            step.lines(StdStream::Stderr, &line).await;
        }
    };
    let (pulled, ()) = tokio::join!(docker.pull(&image, sender), shown);
    pulled.map_err(HostError::failed)
}

/// `hm_docker_start_container`: a container of an image, or of what a step has saved; its id.
pub(super) async fn hm_docker_start_container(
    state: &mut PluginState,
    DockerStartArgs { image, env, workdir, name_hint: hint, network }: DockerStartArgs,
) -> Result<String, HostError> {
    let step = state.step()?;
    let image = image_of(step, &image)?;
    let keep = matches!(step.scope.cache, CacheDecision::MissBuildAs { .. });
    let spec = ContainerSpec { image, step: step.scope.step_id, env, workdir, hint, network, keep };
    let container = step.backends.docker.container(spec).await.map_err(HostError::failed)?;
    let id = container.name().to_owned();
    step.containers.insert(id.clone(), container);
    Ok(id)
}

/// `hm_docker_extract_workspace`: the project's files go into a container.
pub(super) async fn hm_docker_extract_workspace(
    state: &mut PluginState,
    DockerExtractArgs { container_id, archive_id, workdir }: DockerExtractArgs,
) -> Result<(), HostError> {
    let step = state.step()?;
    step.container(&container_id)?;
    step.check_archive(archive_id)?;
    step.container(&container_id)?.put_project(&workdir).await.map_err(HostError::failed)
}

/// `hm_docker_exec`: runs a command to its end; its output becomes log lines of the step.
pub(super) async fn hm_docker_exec(
    state: &mut PluginState,
    DockerExecArgs { container_id, cmd: argv, env, workdir, stdin_archive_id }: DockerExecArgs,
) -> Result<i32, HostError> {
    let step = state.step()?;
    let input = match stdin_archive_id {
        Some(id) => {
            step.check_archive(id)?;
            Some(step.backends.workspace.archive().await.map_err(HostError::failed)?)
        }
        None => None,
    };
    // Taken out, as the step has to be there for its output; if this is dropped, so is the container.
    let Some(mut container) = step.containers.remove(&container_id) else {
        return Err(NotItsOwn::Container(container_id).into());
    };
    let command = Command { argv, env, workdir, input };
    let ended = step.with_output(|sender| container.exec(command, sender)).await;
    step.containers.insert(container_id, container);
    match ended {
        Err(DockerError::Command(reason)) => Ok(step.cannot_start(&reason).await),
        ended => ended.map_err(HostError::failed),
    }
}

/// `hm_docker_artifacts`: files of the container go to the user.
pub(super) async fn hm_docker_artifacts(
    state: &mut PluginState,
    DockerArtifactsArgs { container_id, paths, workdir }: DockerArtifactsArgs,
) -> Result<Option<Vec<ArtifactRef>>, HostError> {
    let step = state.step()?;
    step.container(&container_id)?;
    // Before anything else: each call replaces what the one before has brought out.
    step.produced.clear();
    let Some(out) = step.scope.artifacts.clone() else { return Ok(Some(Vec::new())) };
    match step.container(&container_id)?.collect(&workdir, &paths, &out).await {
        Err(error @ DockerError::Artifacts(_)) => Ok(step.not_collected(&error).await),
        collected => Ok(step.collected(collected.map_err(HostError::failed)?).await),
    }
}

/// `hm_docker_commit`: the container's files become a snapshot, of this run or one that is kept; its name.
pub(super) async fn hm_docker_commit(
    state: &mut PluginState,
    DockerCommitArgs { container_id, tag }: DockerCommitArgs,
) -> Result<String, HostError> {
    let step = state.step()?;
    let tag = SnapshotRef(tag);
    let is_kept = step.is_name_to_keep(&tag)?;
    let is_built_in = step.scope.is_built_in;
    let container = step.container(&container_id)?;
    if !is_kept && !is_built_in {
        // A state that nobody starts from need not be there.
        return Ok(tag.0);
    }
    let snapshot = container.commit(&tag, is_kept).await.map_err(HostError::failed)?;
    step.saved.extend([tag.0, snapshot.0.clone()]);
    Ok(snapshot.0)
}

/// `hm_docker_remove_image`: forgets what this step has saved.
pub(super) async fn hm_docker_remove_image(state: &mut PluginState, image: String) -> Result<(), HostError> {
    let step = state.step()?;
    if !step.saved.remove(&image) {
        return Err(NotItsOwn::Image(image).into());
    }
    step.backends.docker.forget(&image).await.map_err(HostError::failed)
}

/// `hm_docker_stop_remove`: a container goes away, and all that runs in it.
pub(super) async fn hm_docker_stop_remove(
    state: &mut PluginState,
    container: String,
) -> Result<(), HostError> {
    match state.step()?.containers.remove(&container) {
        Some(container) => container.end().await.map_err(HostError::failed),
        None => Err(NotItsOwn::Container(container).into()),
    }
}
