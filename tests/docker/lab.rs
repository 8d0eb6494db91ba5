//! The engine of `hm-test-lab` with what `hm` calls its things in it: the project whose `hm` finds it, and what a run
//! has left there.

use std::ops::Deref;
use std::sync::OnceLock;

use hm_plugin_protocol::BuildEvent;
use serde_json::{Value, json};

pub(crate) use hm_test_lab::BUSYBOX;
pub(super) use hm_test_lab::{NO_SHELL, ORDINARY_USER};

use crate::caching::forever;
use crate::support::{Project, child, or_skipped, step};

/// An engine that answers.
pub(crate) struct Engine(hm_test_lab::Engine);

impl Deref for Engine {
    type Target = hm_test_lab::Engine;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Engine {
    /// The one that all tests share. None, with a word, where there cannot be one.
    pub(crate) fn get() -> Option<&'static Self> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        let engine = ENGINE.get_or_init(|| hm_test_lab::Engine::of_the_machine().map(Self));
        or_skipped(engine.as_ref())
    }

    /// One that is nobody else's, to be killed.
    pub(super) fn alone() -> Option<Self> {
        or_skipped(hm_test_lab::Engine::alone()).map(Self)
    }

    /// Podman's service in its place.
    pub(super) fn podman() -> Option<Self> {
        or_skipped(hm_test_lab::Engine::podman()).map(Self)
    }

    /// A project with these steps, a cache of its own, and this engine.
    pub(crate) fn project(&self, steps: &Value) -> Project {
        self.reached_from(Project::with_steps(steps)).alone()
    }

    /// The same project, whose `hm` finds this engine.
    pub(crate) fn reached_from(&self, project: Project) -> Project {
        project.with_variable("DOCKER_HOST", &self.host)
    }

    /// Description that the engine gives of a container or an image.
    #[track_caller]
    pub(super) fn inspect(&self, name: &str) -> Value {
        let text = self.docker(&["inspect", name]);
        serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
    }

    /// The containers, running or not, that have this label.
    pub(super) fn containers(&self, label: &str) -> Vec<String> {
        let filter = format!("label={label}");
        lines(&self.docker(&["ps", "-a", "--no-trunc", "--format", "{{.Names}}", "--filter", &filter]))
    }

    /// The images of runs that are or were, by name: what they are called says whose they are.
    fn images_of_runs(&self) -> Vec<String> {
        lines(&self.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", "hm-run"]))
    }

    /// The containers and images of a run that has these events.
    pub(super) fn left_by(&self, events: &[BuildEvent]) -> Vec<String> {
        let run = events.iter().find_map(|event| match event {
            BuildEvent::BuildStart { run_id, .. } => Some(*run_id),
            _ => None,
        });
        let run = run.expect("a build that began");
        let ours = format!(".{}-", &run.simple().to_string()[..8]);
        let images = self.images_of_runs().into_iter().filter(|name| name.contains(&ours));
        self.containers(&format!("{RUN}={run}")).into_iter().chain(images).collect()
    }

    /// The containers and images of the `hm` that is or was this process.
    pub(super) fn owned_by(&self, pid: u32) -> Vec<String> {
        let pid = pid.to_string();
        let images = self.images_of_runs().into_iter().filter(|name| name.split('.').nth(3) == Some(&*pid));
        self.containers_of(&pid, &["-a"]).into_iter().chain(images).collect()
    }

    /// The containers of the `hm` that is this process in which something runs.
    pub(super) fn running(&self, pid: u32) -> Vec<String> {
        self.containers_of(&pid.to_string(), &[])
    }

    fn containers_of(&self, pid: &str, args: &[&str]) -> Vec<String> {
        let format = format!("{{{{.Names}}}} {{{{.Label \"{OWNER}\"}}}}");
        let found = self.docker(&[&["ps", "--no-trunc", "--format", &format], args].concat());
        let its = found.lines().filter_map(|line| line.split_once(' '));
        let its = its.filter(|(_, owner)| owner.split('.').nth(3) == Some(pid));
        its.map(|(name, _)| name.to_owned()).collect()
    }

    /// A container of somebody else's, which runs until it is removed.
    #[track_caller]
    pub(super) fn foreign_container(&self, name: &str, labels: &[String]) -> String {
        let mut args = vec!["run", "-d", "--name", name, "--network", "none"];
        args.extend(labels.iter().flat_map(|label| ["--label", label]));
        self.docker(&[&args[..], &[BUSYBOX, "sleep", "1000000"]].concat())
    }
}

/// Label for whoever made a container.
pub(super) const OWNER: &str = "dev.harmont.hm.owner";

/// Label for the run that a container or an image is of.
pub(super) const RUN: &str = "dev.harmont.hm.run";

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// A root step in this image.
pub(super) fn in_image(image: &str, key: &str, cmd: &str) -> Value {
    let mut step = step(key, cmd);
    step["image"] = json!(image);
    step
}

/// A root step in busybox.
pub(crate) fn root(key: &str, cmd: &str) -> Value {
    in_image(BUSYBOX, key, cmd)
}

/// Three steps that build in each other, and all but the last are kept.
pub(super) fn chain() -> Value {
    json!([
        forever(root("root", "echo x > x")),
        forever(child("child", "root", "cat x; echo y > y")),
        child("look", "child", "cat x y"),
    ])
}

/// A step like this that says so much to its runner.
pub(super) fn told(mut step: Value, args: Value) -> Value {
    step["runner_args"] = args;
    step
}

#[test]
fn an_engine_ends_with_whoever_started_it() {
    let Some(engine) = Engine::alone() else { return };
    let folder = engine.folder().expect("started here").to_owned();
    let marker = "88800";
    engine.docker(&["run", "-d", "--network", "none", BUSYBOX, "sleep", marker]);
    crate::support::wait_until("it runs", || crate::support::process_with(&format!("sleep {marker}")));
    drop(engine);
    assert!(!crate::support::process_with(&format!("sleep {marker}")) && !folder.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&*folder.to_string_lossy()));
}
