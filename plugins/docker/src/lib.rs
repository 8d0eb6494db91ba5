//! The runner `docker`: runs a step's command with a shell in a container of the step's image.
//! Making, limiting and clearing away containers and images is the host's; this only decides what to do with them.

#[cfg(test)]
mod tests;

use hm_plugin_sdk::*;
use hm_runner_args::{NO_ARTIFACTS, RunnerArgs};

/// Runs steps in containers.
#[derive(Default)]
struct Docker;

impl StepExecutor for Docker {
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
        if let CacheDecision::Hit { tag } = &input.cache_lookup {
            if !host::docker_image_exists(&tag.0) {
                let message = format!("the cached state `{}` of step `{}` is gone", tag.0, input.step.key);
                return Err(PluginError::new("snapshot_gone", message));
            }
            let committed_snapshot = Some(tag.clone());
            return Ok(StepResult { exit_code: 0, committed_snapshot, artifacts: Vec::new() });
        }

        let args = RunnerArgs::of(&input.step, "docker")?;
        let image = image(&input)?;
        let container_id = host::docker_start_container(DockerStartArgs {
            image,
            // What is given to the container ends in the configuration of the images that are made of it.
            env: [].into(),
            workdir: input.workdir.clone(),
            name_hint: input.step.key.clone(),
            network: args.network,
        });
        host::docker_extract_workspace(DockerExtractArgs {
            container_id: container_id.clone(),
            archive_id: input.workspace_archive_id,
            workdir: input.workdir.clone(),
        });
        let exit_code = host::docker_exec(DockerExecArgs {
            container_id: container_id.clone(),
            cmd: vec![args.shell, "-c".into(), input.step.cmd],
            env: input.env,
            workdir: input.workdir.clone(),
            stdin_archive_id: None,
        });
        // Also of a command that failed: its reports are what tells why.
        let produced = match args.artifacts {
            paths if paths.is_empty() => Some(Vec::new()),
            paths => host::docker_artifacts(DockerArtifactsArgs {
                container_id: container_id.clone(),
                paths,
                workdir: input.workdir,
            }),
        };
        let exit_code = if exit_code == 0 && produced.is_none() { NO_ARTIFACTS } else { exit_code };
        let committed_snapshot = (exit_code == 0).then(|| {
            let tag = match input.cache_lookup {
                CacheDecision::MissBuildAs { tag } => tag.0,
                // The steps that build in this one start from it all the same.
                CacheDecision::Hit { .. } | CacheDecision::MissNoCommit => format!("run-{}", input.step_id),
            };
            SnapshotRef(host::docker_commit(DockerCommitArgs { container_id: container_id.clone(), tag }))
        });
        host::docker_stop_remove(&container_id);
        Ok(StepResult { exit_code, committed_snapshot, artifacts: produced.unwrap_or_default() })
    }
}

/// Image that the step starts from: its parent's state, else its own image, which is pulled if it is not there.
fn image(input: &ExecutorInput) -> Result<String, PluginError> {
    let key = &input.step.key;
    if let Some(SnapshotRef(parent)) = &input.parent_snapshot {
        // There is nowhere to pull it from.
        if !host::docker_image_exists(parent) {
            let message = format!("the state `{parent}` that step `{key}` builds in is gone");
            return Err(PluginError::new("snapshot_gone", message));
        }
        return Ok(parent.clone());
    }
    let Some(image) = input.step.image.clone().filter(|image| !image.is_empty()) else {
        let message = format!(
            "step `{key}` has no image to run in; give it an `image` (or the pipeline a `default_image`), \
             or another runner: `\"runner\": \"local\"`"
        );
        return Err(PluginError::new("no_image", message));
    };
    if !host::docker_image_exists(&image) {
        host::docker_pull(&image);
    }
    Ok(image)
}

register_plugin!(
    manifest = manifest! {
        name: "docker",
        capabilities: [Capability::StepExecutor(StepExecutorSpec {
            runner: "docker".into(),
            default: false,
            step_schema: Some(RunnerArgs::schema()),
        })],
        required_host_fns: [
            "hm_docker_artifacts",
            "hm_docker_commit",
            "hm_docker_exec",
            "hm_docker_extract_workspace",
            "hm_docker_image_exists",
            "hm_docker_pull",
            "hm_docker_start_container",
            "hm_docker_stop_remove",
            "hm_log",
        ],
    },
    executor = Docker,
);
