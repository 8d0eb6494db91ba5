//! Host functions of step executors: containers of a Docker Engine that this step has made, and images to make them from.

use hm_abi::{HostError, HostFuture};
use hm_docker::{Command, Container, ContainerSpec, DockerError, Image};
use hm_plugin_protocol::{
    CacheDecision, DockerArtifactsArgs, DockerCommitArgs, DockerExecArgs, DockerExtractArgs, DockerStartArgs,
    SnapshotRef, StdStream,
};
use hm_workspace::CACHE_TAG_PREFIX;
use tokio::sync::mpsc;

use super::steps::{
    Misuse, NOT_FOUND, brought_out, failed, json, own_name, own_snapshot, step, text, truth, with_output,
};
use super::{Args, PluginState, StepContext};

/// How many lines about a pull may wait.
const LINES: usize = 16;

/// A container of this step.
fn own<'a>(
    containers: &'a mut std::collections::BTreeMap<String, Container>,
    id: &str,
) -> Result<&'a mut Container, HostError> {
    containers.get_mut(id).ok_or_else(|| failed(Misuse::NotItsContainer(id.to_owned())))
}

/// What a step means by a name: its parent's state, or its own, or else an image of the engine. What other steps have saved is not for it.
fn image_of(step: &StepContext, name: &str) -> Result<Image, HostError> {
    let tag = SnapshotRef(name.to_owned());
    own_snapshot(step, &tag)?;
    let is_own = step.terms.parent.as_ref() == Some(&tag)
        || step.saved.contains(name)
        || name.starts_with(CACHE_TAG_PREFIX);
    let name = name.to_owned();
    Ok(if is_own { Image::State(name) } else { Image::Named(name) })
}

/// `hm_docker_ping`: whether an engine answers.
pub(super) fn ping(state: &mut PluginState, _: Args) -> HostFuture<'_> {
    Box::pin(async move { Ok(truth(step(state)?.backends.docker.connect().await.is_ok())) })
}

/// `hm_docker_image_exists`: whether containers can be made from an image or a snapshot.
pub(super) fn image_exists(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let image = text("hm_docker_image_exists", &args[0])?;
        let step = step(state)?;
        let image = image_of(step, image)?;
        Ok(truth(step.backends.docker.has(&image).await.map_err(failed)?))
    })
}

/// `hm_docker_pull`: gets an image; how far that is becomes output of the step.
pub(super) fn pull(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let image = text("hm_docker_pull", &args[0])?;
        let step = step(state)?;
        let docker = step.backends.docker.clone();
        let (sender, mut lines) = mpsc::channel::<String>(LINES);
        let shown = async {
            while let Some(line) = lines.recv().await {
                step.lines(StdStream::Stderr, &line).await;
            }
        };
        let (pulled, ()) = tokio::join!(docker.pull(image, sender), shown);
        pulled.map(|()| Vec::new()).map_err(failed)
    })
}

/// `hm_docker_start_container`: a container of an image, or of what a step has saved.
pub(super) fn start_container(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let DockerStartArgs { image, env, workdir, name_hint: hint, network } =
            json("hm_docker_start_container", &args[0])?;
        let step = step(state)?;
        let image = image_of(step, &image)?;
        let keep = matches!(step.terms.cache, CacheDecision::MissBuildAs { .. });
        let spec = ContainerSpec { image, step: step.terms.step_id, env, workdir, hint, network, keep };
        let container = step.backends.docker.container(spec).await.map_err(failed)?;
        let id = container.name().to_owned();
        step.containers.insert(id.clone(), container);
        Ok(id.into_bytes())
    })
}

/// `hm_docker_extract_workspace`: the project's files go into a container.
pub(super) fn extract_workspace(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let DockerExtractArgs { container_id, archive_id, workdir } =
            json("hm_docker_extract_workspace", &args[0])?;
        let step = step(state)?;
        let container = own(&mut step.containers, &container_id)?;
        if archive_id != step.terms.archive {
            return Err(failed(Misuse::NotItsArchive));
        }
        container.put_project(&workdir).await.map_err(failed)?;
        Ok(Vec::new())
    })
}

/// `hm_docker_exec`: runs a command to its end; its output becomes log lines of the step.
pub(super) fn exec(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let DockerExecArgs { container_id, cmd: argv, env, workdir, stdin_archive_id } =
            json("hm_docker_exec", &args[0])?;
        let step = step(state)?;
        let input = match stdin_archive_id {
            Some(id) if id != step.terms.archive => return Err(failed(Misuse::NotItsArchive)),
            Some(_) => Some(step.backends.workspace.archive().await.map_err(failed)?),
            None => None,
        };
        // Taken out, as the step has to be there for its output; if this is dropped, so is the container.
        let Some(mut container) = step.containers.remove(&container_id) else {
            return Err(failed(Misuse::NotItsContainer(container_id)));
        };
        let command = Command { argv, env, workdir, input };
        let ended = with_output(step, |sender| container.exec(command, sender)).await;
        step.containers.insert(container_id, container);
        let exit_code = match ended {
            Err(DockerError::Command(reason)) => {
                step.lines(StdStream::Stderr, &format!("hm: cannot start the command: {reason}")).await;
                NOT_FOUND
            }
            ended => ended.map_err(failed)?,
        };
        Ok(exit_code.to_le_bytes().to_vec())
    })
}

/// `hm_docker_artifacts`: files of the container go to the user.
pub(super) fn artifacts(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let DockerArtifactsArgs { container_id, paths, workdir } = json("hm_docker_artifacts", &args[0])?;
        let step = step(state)?;
        let container = own(&mut step.containers, &container_id)?;
        // Before anything else: each call replaces what the one before has brought out.
        step.produced.clear();
        let Some(out) = step.terms.artifacts.clone() else { return Ok(b"[]".to_vec()) };
        match container.collect(&workdir, &paths, &out).await {
            Err(error @ DockerError::Artifacts(_)) => brought_out(step, Err(&error)).await,
            collected => brought_out(step, Ok(collected.map_err(failed)?)).await,
        }
    })
}

/// `hm_docker_commit`: the container's files become a snapshot, of this run or one that is kept.
pub(super) fn commit(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let DockerCommitArgs { container_id, tag } = json("hm_docker_commit", &args[0])?;
        let step = step(state)?;
        let tag = SnapshotRef(tag);
        let is_kept = own_name(step, &tag)?;
        if !is_kept && !step.terms.is_built_in {
            // A state that nobody starts from need not be there.
            own(&mut step.containers, &container_id)?;
            return Ok(tag.0.into_bytes());
        }
        let container = own(&mut step.containers, &container_id)?;
        let snapshot = container.commit(&tag, is_kept).await.map_err(failed)?;
        step.saved.extend([tag.0, snapshot.0.clone()]);
        Ok(snapshot.0.into_bytes())
    })
}

/// `hm_docker_remove_image`: forgets what this step has saved.
pub(super) fn remove_image(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let tag = text("hm_docker_remove_image", &args[0])?;
        let step = step(state)?;
        if !step.saved.remove(tag) {
            return Err(failed(Misuse::NotItsImage(tag.to_owned())));
        }
        step.backends.docker.forget(tag).await.map_err(failed)?;
        Ok(Vec::new())
    })
}

/// `hm_docker_stop_remove`: a container goes away, and all that runs in it.
pub(super) fn stop_remove(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let id = text("hm_docker_stop_remove", &args[0])?;
        let step: &mut StepContext = step(state)?;
        let Some(container) = step.containers.remove(id) else {
            return Err(failed(Misuse::NotItsContainer(id.to_owned())));
        };
        container.end().await.map_err(failed)?;
        Ok(Vec::new())
    })
}
