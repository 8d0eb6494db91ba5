//! A place to make host calls in, and what a case of a host function is. The cases themselves are in the files beside
//! this one, by subject.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hm_docker::{DockerBackend, DockerConfig, EngineEnv, Limits};
use hm_host::backend::browser::Browser;
use hm_host::backend::keyring::Keyring;
use hm_host::backend::kv::StoredValues;
use hm_host::backend::terminal::Terminal;
use hm_host::backend::{Backends, LocalSandbox};
use hm_host::host_functions::{
    BackendKind, Diagnostic, Diagnostics, Grants, Handles, HostContext, HostFn, Output, PluginState, Policy,
    Role, StepContext, StepScope, Stream,
};
use hm_host::record::EventWriter;
use hm_plugin_protocol::{ArchiveId, BuildEvent, CacheDecision, Level, PluginManifest};
use hm_step_sandbox::{Mode, SandboxConfig};
use hm_workspace::Workspace;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{docker, outside, project, steps, words};
use crate::docker::lab::Engine;
use crate::support::installed;

/// One call of one function.
pub(super) struct Case {
    /// Role of the instance that makes it.
    pub(super) role: Role,
    /// Its arguments, each as bytes.
    pub(super) args: Vec<Vec<u8>>,
    /// Check that the function has done what it is for. It gets no answer where the call was denied.
    pub(super) done: Done,
}

/// Check that a function has done what it is for.
pub(super) type Done = Box<dyn FnMut(&Happened<'_>) -> bool + Send>;

/// Everything that can be looked at after a call.
pub(super) struct Happened<'a> {
    /// Answer that the guest got.
    pub(super) answer: &'a [u8],
    /// Diagnostics for whoever runs `hm`.
    pub(super) said: Vec<Diagnostic>,
    /// State of the instance, after the call.
    pub(super) state: &'a mut PluginState,
}

/// A machine in a directory.
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) context: Arc<HostContext>,
    pub(super) cancellation: CancellationToken,
    pub(super) backends: Backends,
    pub(super) archive: ArchiveId,
    pub(super) step_id: Uuid,
    /// Handles that the instance of the case holds from the beginning.
    pub(super) handles: Mutex<Handles>,
}

/// True if there is on this machine what the function is for. What there is not is said.
pub(super) fn is_possible(function: &HostFn) -> bool {
    let engine = function.rules.backend != BackendKind::Docker || Engine::get().is_some();
    engine && (function.name != "hm_docker_pull" || installed(&["docker-registry"]))
}

/// The case of this function; a function without one has to get it in the file of its back end.
pub(super) async fn of(function: &HostFn, bench: &Bench) -> Case {
    let name = function.name;
    match function.rules.backend {
        BackendKind::None => words::case(name, bench),
        BackendKind::Sandbox => steps::case(name, bench).await,
        BackendKind::Docker => docker::case(name, bench).await,
        BackendKind::Project | BackendKind::Values => project::case(name, bench).await,
        BackendKind::Sockets | BackendKind::Keyring | BackendKind::Terminal | BackendKind::Browser => {
            outside::case(name, bench).await
        }
    }
}

/// An argument that travels as JSON.
pub(super) fn json(value: impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&value).expect("JSON")
}

/// Back ends for steps; they live in the directory, but for the engine.
pub(super) fn backends(directory: &Path) -> Backends {
    let at = |name: &str| directory.join(name);
    for name in ["project", "home"] {
        std::fs::create_dir(at(name)).expect("a directory");
    }
    let config = SandboxConfig {
        helper: PathBuf::from(env!("CARGO_BIN_EXE_hm")),
        run_id: Uuid::new_v4(),
        host_env: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
        home: Some(at("home")),
        network: false,
        mode: Mode::Auto,
    };
    std::fs::write(at("project/of-the-project"), "").expect("a file");
    let engine = Engine::get().map_or("unix:///nowhere", |engine| &engine.host);
    let docker = DockerConfig {
        engine: EngineEnv { env: [("DOCKER_HOST".to_owned(), engine.to_owned())].into(), home: None },
        cache: at("cache"),
        run_id: config.run_id,
        network: false,
        limits: Limits::default(),
    };
    let workspace = Arc::new(Workspace::new(&at("project"), &at("cache")));
    Backends {
        local: Arc::new(LocalSandbox::new(config, workspace.clone(), |_| {})),
        docker: Arc::new(DockerBackend::new(docker, workspace.clone())),
        workspace,
    }
}

impl Bench {
    /// A machine of its own, but for the sandboxes of steps: opening what they run in takes longest.
    pub(super) fn new(backends: &Backends) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["project/.hm", "config"] {
            std::fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        let at = |name: &str| directory.path().join(name);
        let environment = [("BROWSER".to_owned(), at("browser").display().to_string())];
        let context = HostContext {
            project: Some(at("project")),
            kept_values: Some(StoredValues::new(at("state"))),
            keyring: Keyring::in_files(at("secrets")),
            terminal: Terminal::at(at("terminal")),
            browser: Browser::of_system(&environment.into()),
            ..HostContext::default()
        };
        Self {
            context: Arc::new(context),
            cancellation: CancellationToken::new(),
            backends: backends.clone(),
            archive: ArchiveId(Uuid::new_v4()),
            step_id: Uuid::new_v4(),
            handles: Mutex::default(),
            directory,
        }
    }

    /// A step, and its events.
    pub(super) fn step(&self) -> (StepContext, mpsc::Receiver<BuildEvent>) {
        let (sender, events) = mpsc::channel(100);
        let scope = StepScope {
            step_id: self.step_id,
            archive: self.archive,
            parent: None,
            cache: CacheDecision::MissNoCommit,
            is_built_in: true,
            artifacts: None,
        };
        let output = EventWriter::new(None, sender).of_step(self.step_id, 0, "k");
        (StepContext::new(scope, self.backends.clone(), output, self.context.secrets.clone()), events)
    }

    /// Streams into the files `stdout` and `stderr` of the directory.
    pub(super) fn output(&self) -> Output {
        let stream = |name: &str| -> Stream {
            let file = std::fs::File::create(self.directory.path().join(name)).expect("a file");
            Box::pin(tokio::fs::File::from_std(file))
        };
        Output::new((stream("stdout"), false), (stream("stderr"), false))
    }

    /// One instance of every kind.
    pub(super) fn roles(&self) -> Vec<Role> {
        vec![
            Role::Manifest,
            Role::Executor(Box::new(self.step().0)),
            Role::Formatter(self.output()),
            Role::Hook,
            Role::Subcommand(self.output()),
            Role::Call(self.output()),
        ]
    }

    /// The state of an instance that may do this.
    pub(super) fn state(&self, policy: Policy, role: Role) -> (PluginState, mpsc::Receiver<Diagnostic>) {
        let (diagnostics, said) = Diagnostics::new(Level::Trace);
        let state = PluginState::new("p".into(), Arc::new(policy), role, self.context.clone(), diagnostics);
        let handles = std::mem::take(&mut *self.handles.lock().expect("no panic"));
        let state = PluginState { cancellation: self.cancellation.clone(), handles, ..state };
        (state, said)
    }

    /// Rights of a plugin whose manifest asks for these functions, and to which this is granted. What the cases reach
    /// beyond their function (paths, sockets) is asked for and granted always.
    pub(super) fn policy(&self, asks: &[&str], mut grants: Grants) -> Policy {
        let reach: Vec<String> = self.reach();
        let value = serde_json::json!({
            "api_version": 1, "name": "p", "version": "1.0.0", "description": "", "capabilities": [],
            "required_host_fns": asks, "allowed_hosts": reach, "config_schema": null,
        });
        grants.reach.extend(reach);
        let manifest: PluginManifest = serde_json::from_value(value).expect("a manifest");
        Policy::new(&manifest, grants, &BTreeSet::new())
    }

    /// Entries of `allowed_hosts` that cases need.
    fn reach(&self) -> Vec<String> {
        vec![format!("unix:{}", self.socket().display())]
    }
}
