//! Cases of the functions on containers and images, on a real engine.

use hm_docker::{Command as Program, ContainerSpec, Image};
use hm_host::host_functions::{Role, StepContext};
use hm_plugin_protocol::{
    ArtifactRef, BuildEvent, DockerArtifactsArgs, DockerCommitArgs, DockerExecArgs, DockerExtractArgs,
    DockerStartArgs, SnapshotRef,
};
use hm_test_lab::Registry;
use tokio::sync::mpsc;

use super::case::{Bench, Case, Done, Happened, json};
use crate::docker::lab::{BUSYBOX, Engine};

/// Directory for the project's files.
const WORKSPACE: &str = "/workspace";

/// The case of the function of this name; there is an engine.
pub(super) async fn case(name: &str, bench: &Bench) -> Case {
    let (mut step, mut events) = bench.step();
    let workdir = WORKSPACE.to_owned();
    let (args, done): (Vec<u8>, Done) = match name {
        "hm_docker_ping" => {
            return Case { role: Role::Executor(Box::new(step)), args: vec![], done: Box::new(is_true) };
        }
        "hm_docker_image_exists" => (BUSYBOX.into(), Box::new(is_true)),
        "hm_docker_pull" => {
            let remote = Remote::new();
            (remote.image.clone().into(), Box::new(move |_| engine().has(&remote.image)))
        }
        "hm_docker_start_container" => {
            let name_hint = "x".to_owned();
            let args =
                DockerStartArgs { image: BUSYBOX.into(), env: [].into(), workdir, name_hint, network: false };
            let done = |happened: &Happened<'_>| {
                let id = String::from_utf8(happened.answer.to_vec()).expect("an id");
                its(happened).containers.contains_key(&id)
            };
            (json(args), Box::new(done))
        }
        "hm_docker_extract_workspace" => {
            let container_id = container(bench, &mut step).await;
            let look = ["exec", &container_id, "ls", "/workspace/of-the-project"].map(str::to_owned);
            let args = DockerExtractArgs { container_id, archive_id: bench.archive, workdir };
            (json(args), Box::new(move |_| engine().try_docker(&look.each_ref().map(String::as_str)).is_ok()))
        }
        "hm_docker_exec" => {
            let args = DockerExecArgs {
                container_id: container(bench, &mut step).await,
                cmd: ["sh", "-c", "echo done; exit 7"].map(str::to_owned).to_vec(),
                env: [].into(),
                workdir,
                stdin_archive_id: None,
            };
            let done = move |happened: &Happened<'_>| {
                happened.answer == 7_i32.to_le_bytes()
                    && matches!(events.try_recv(), Ok(BuildEvent::StepLog { line, .. }) if line == "done")
            };
            (json(args), Box::new(done))
        }
        "hm_docker_artifacts" => {
            let out = bench.directory.path().canonicalize().expect("a directory").join("out/step");
            step.scope.artifacts = Some(out.clone());
            let container_id = container(bench, &mut step).await;
            let args = DockerArtifactsArgs { container_id, paths: vec!["made".into()], workdir };
            let done = move |happened: &Happened<'_>| {
                let answered: Option<Vec<ArtifactRef>> = serde_json::from_slice(happened.answer).ok();
                let names: Vec<_> = answered.into_iter().flatten().map(|artifact| artifact.key).collect();
                names == ["made"] && its(happened).produced.len() == 1 && out.join("made").exists()
            };
            (json(args), Box::new(done))
        }
        "hm_docker_commit" => {
            let container_id = container(bench, &mut step).await;
            // Its own, as another step of the build may have one of that name.
            let tag = format!("of-{container_id}");
            let done = {
                let tag = tag.clone();
                move |happened: &Happened<'_>| {
                    happened.answer == tag.as_bytes() && its(happened).saved.contains(&tag)
                }
            };
            (json(DockerCommitArgs { container_id, tag }), Box::new(done))
        }
        "hm_docker_remove_image" => {
            let id = container(bench, &mut step).await;
            let tag = SnapshotRef(format!("of-{id}"));
            let container = step.containers.get_mut(&id).expect("made just now");
            container.commit(&tag, false).await.expect("an image");
            step.saved.insert(tag.0.clone());
            (tag.0.clone().into(), Box::new(move |happened| !its(happened).saved.contains(&tag.0)))
        }
        "hm_docker_stop_remove" => {
            let id = container(bench, &mut step).await;
            (id.clone().into(), Box::new(move |_| !engine().has(&id)))
        }
        _ => panic!("no case for {name}"),
    };
    Case { role: Role::Executor(Box::new(step)), args: vec![args], done }
}

/// A container of the step, in which there is a file `made`.
async fn container(bench: &Bench, step: &mut StepContext) -> String {
    let spec = ContainerSpec {
        image: Image::Named(BUSYBOX.into()),
        step: bench.step_id,
        env: [].into(),
        workdir: WORKSPACE.into(),
        hint: "case".into(),
        network: false,
        keep: false,
    };
    let mut container = bench.backends.docker.container(spec).await.expect("a container");
    let (sender, _unread) = mpsc::channel(1);
    let argv = ["touch", "made"].map(str::to_owned).to_vec();
    let make = Program { argv, env: [].into(), workdir: WORKSPACE.into(), input: None };
    assert_eq!(container.exec(make, sender).await.expect("a command"), 0);
    let id = container.name().to_owned();
    step.containers.insert(id.clone(), container);
    id
}

fn is_true(happened: &Happened<'_>) -> bool {
    happened.answer == 1_u32.to_le_bytes()
}

/// The step of the instance.
fn its<'a>(happened: &'a Happened<'_>) -> &'a StepContext {
    match &happened.state.role {
        Role::Executor(step) => step,
        _ => panic!("not a step's"),
    }
}

fn engine() -> &'static Engine {
    Engine::get().expect("there was one")
}

/// An image of a registry that the engine has not, under this name; and it is removed again.
struct Remote {
    image: String,
    _registry: Registry,
}

impl Remote {
    fn new() -> Self {
        let registry = Registry::start(engine(), None).expect("a registry");
        let image = format!("{}/case:1", registry.host);
        engine().docker(&["tag", BUSYBOX, &image]);
        engine().docker(&["push", &image]);
        engine().docker(&["rmi", &image]);
        Self { image, _registry: registry }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = engine().try_docker(&["rmi", &self.image]);
    }
}
