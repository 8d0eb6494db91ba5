//! A developer's machine for tests of the local sandbox, and ways to run commands on it and find what they leave.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use hm_step_sandbox::{ExecSpec, Mode, SandboxConfig, SandboxError, SandboxRun};
use hm_workspace::Workspace;

use crate::support::skipped;
use hm_plugin_protocol::{SnapshotRef, StdStream};
pub(super) use hm_test_lab::processes_with as processes;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Nothing here takes this long unless it hangs.
pub(super) const HANG: Duration = Duration::from_secs(60);

/// A developer's machine in a directory: a project, a cache and a home directory.
pub(super) struct Lab {
    pub(super) directory: tempfile::TempDir,
}

/// End of a command, with its output.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) code: i32,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
}

impl Outcome {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim().to_owned()
    }
}

impl Lab {
    pub(super) fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        for directory in [lab.project().join("src"), lab.home()] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(lab.project().join("src/main.txt"), "original").unwrap();
        fs::write(lab.project().join("gone.txt"), "delete me").unwrap();
        fs::write(lab.home().join("canary"), "secret").unwrap();
        lab
    }

    pub(super) fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    pub(super) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    pub(super) fn workspace(&self) -> Arc<Workspace> {
        Arc::new(Workspace::new(&self.project(), &self.cache()))
    }

    pub(super) fn config(&self) -> SandboxConfig {
        SandboxConfig {
            helper: PathBuf::from(env!("CARGO_BIN_EXE_hm")),
            run_id: Uuid::new_v4(),
            host_env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
            home: Some(self.home()),
            network: true,
            mode: Mode::Namespaces,
        }
    }

    /// None, with a word, on a machine without namespaces.
    pub(super) async fn open(&self) -> Option<SandboxRun> {
        open(self.config(), self.workspace()).await
    }
}

pub(crate) async fn open(config: SandboxConfig, workspace: Arc<Workspace>) -> Option<SandboxRun> {
    match SandboxRun::open(config, workspace).await {
        Ok(backend) => Some(backend),
        Err(SandboxError::Setup(reason)) => {
            skipped(&format!("no sandbox on this machine: {reason}"));
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

pub(super) fn shell(script: &str) -> ExecSpec {
    ExecSpec {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        workdir: "/workspace".to_owned(),
        network: false,
    }
}

pub(super) async fn exec(backend: &SandboxRun, id: &str, command: ExecSpec) -> Result<Outcome, SandboxError> {
    let (sender, mut output) = mpsc::channel(4);
    let collect = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some((stream, bytes)) = output.recv().await {
            if stream == StdStream::Stdout { out.extend(bytes) } else { err.extend(bytes) }
        }
        (out, err)
    };
    let both = async { tokio::join!(backend.exec(id, command, sender), collect) };
    let (code, (out, err)) = tokio::time::timeout(HANG, both).await.expect("the command hangs");
    Ok(Outcome { code: code?, out, err })
}

pub(super) async fn run(backend: &SandboxRun, id: &str, script: &str) -> Outcome {
    exec(backend, id, shell(script)).await.unwrap()
}

/// Runs a step on a parent, which has to succeed, and commits it.
pub(super) async fn step(
    backend: &SandboxRun,
    parent: Option<&SnapshotRef>,
    script: &str,
) -> (SnapshotRef, String) {
    let id = backend.start(parent).await.unwrap();
    let outcome = run(backend, &id, script).await;
    assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
    (backend.commit(&id, None).await.unwrap(), outcome.text())
}

/// An argument for `sleep` that no other process has.
pub(super) fn marker() -> String {
    format!("9{:011}.5", Uuid::new_v4().as_u128() % 100_000_000_000)
}

pub(super) async fn until_gone(marker: &str) {
    let start = Instant::now();
    while !processes(marker).is_empty() {
        assert!(start.elapsed() < HANG, "still there: {:?}", processes(marker));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn until_there(marker: &str, count: usize) {
    let start = Instant::now();
    while processes(marker).len() < count {
        assert!(start.elapsed() < HANG, "only {:?}", processes(marker));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
