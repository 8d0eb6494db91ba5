//! A docker executor on the SDK 0.0.1: makes the host calls that the docker plugin of `hm` 0.0.1 makes, in its order, and claims the
//! names that it claims.

mod engine;

use hm_plugin_sdk::*;

/// Image of a step that names none.
const DEFAULT_IMAGE: &str = "alpine:latest";

#[derive(Default)]
struct Docker;

impl StepExecutor for Docker {
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError> {
        let ExecutorInput { step, env, workdir, .. } = input;
        let image = match (input.parent_snapshot, step.image) {
            (Some(SnapshotRef(parent)), _) => parent,
            (None, image) => image.unwrap_or_else(|| DEFAULT_IMAGE.into()),
        };
        let tag = match input.cache_lookup {
            // It does not ask whether that is there.
            CacheDecision::Hit { tag } => {
                return Ok(StepResult { exit_code: 0, committed_snapshot: Some(tag), artifacts: vec![] });
            }
            CacheDecision::MissBuildAs { tag: SnapshotRef(tag) } => tag,
            CacheDecision::MissNoCommit => {
                format!("harmont-local-ephemeral/{}:run-{}", step.key, input.step_id.simple())
            }
        };
        if engine::image_exists(&image)? == 0 {
            host::log(Level::Info, &format!("pulling {image}"));
            engine::pull(&image)?;
        }
        let container_id = engine::start_container(DockerStartArgs {
            image,
            env: env.clone(),
            workdir: workdir.clone(),
            name_hint: format!("harmont-{}", step.key),
        })?;
        // Whatever it starts from.
        engine::extract_workspace(DockerExtractArgs {
            container_id: container_id.clone(),
            archive_id: input.workspace_archive_id,
            workdir: workdir.clone(),
        })?;
        let exit_code = engine::exec(DockerExecArgs {
            container_id: container_id.clone(),
            cmd: ["sh", "-c", &step.cmd].map(String::from).to_vec(),
            env,
            workdir,
            stdin_archive_id: None,
        })?;
        let mut committed_snapshot = None;
        if exit_code == 0 {
            engine::commit(DockerCommitArgs { container_id: container_id.clone(), tag: tag.clone() })?;
            // What it asked for is what it goes by, whatever the answer.
            committed_snapshot = Some(SnapshotRef(tag));
        }
        engine::stop_remove(&container_id)?;
        Ok(StepResult { exit_code, committed_snapshot, artifacts: vec![] })
    }
}

register_plugin!(
    manifest = PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: "harmont-docker".into(),
        version: semver::Version::new(0, 0, 1),
        description: "Runs steps in containers.".into(),
        capabilities: vec![Capability::StepExecutor(StepExecutorSpec {
            runner: "docker".into(),
            default: true,
            step_schema: None,
        })],
        required_host_fns: [
            "hm_log",
            "hm_emit_step_log",
            "hm_should_cancel",
            "hm_docker_ping",
            "hm_docker_image_exists",
            "hm_docker_pull",
            "hm_docker_start_container",
            "hm_docker_extract_workspace",
            "hm_docker_exec",
            "hm_docker_commit",
            "hm_docker_remove_image",
            "hm_docker_stop_remove",
        ]
        .map(String::from)
        .to_vec(),
        config_schema: None,
        allowed_hosts: vec![],
    },
    executor = Docker,
);
