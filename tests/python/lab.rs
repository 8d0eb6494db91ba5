//! Virtual environments with the real harmont in them, made as users make them, and rendering without the command line
//! around it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hm_host::pipeline::{Source, read};
use hm_host::render::{Interpreter, Rendered, render as render_scripts};
use hm_step_sandbox::{Mode, SandboxConfig};
use hm_workspace::Workspace;
use uuid::Uuid;

use crate::local_backend::lab::open;
use crate::support::{Project, installed, or_skipped};

/// The versions that are tested.
pub(super) const OLD: &str = "0.0.1";
pub(super) const NEW: &str = "0.0.9";

/// Directory of an installed version of harmont, with what it needs; nothing, with a word, if it is not or there is no
/// Python.
pub(crate) fn packages(version: &str) -> Option<PathBuf> {
    if !installed(&["python3"]) {
        return None;
    }
    let folder =
        std::env::var_os("HM_TEST_HARMONT").map(|f| PathBuf::from(f).join(format!("harmont=={version}")));
    let found = folder.filter(|f| f.join("harmont").is_dir());
    or_skipped(found.ok_or_else(|| {
        format!("HM_TEST_HARMONT has no harmont {version} (cargo xtask test installs it with pip)")
    }))
}

/// The Python on `PATH`: its program, without shims before it, and its version as in names of directories.
pub(super) fn python() -> (PathBuf, String) {
    asked("python3")
}

/// The system's Python, if there is one, else that on `PATH`.
pub(super) fn system_python() -> (PathBuf, String) {
    let system = "/usr/bin/python3";
    asked(if Path::new(system).exists() { system } else { "python3" })
}

fn asked(python: &str) -> (PathBuf, String) {
    let ask = "import sys; print(sys.executable); print('python%d.%d' % sys.version_info[:2])";
    let output = Command::new(python).args(["-c", ask]).output().expect("python3");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines = text.lines().map(str::to_owned);
    let (program, version) = (lines.next().expect("a program"), lines.next().expect("a version"));
    (program.into(), version)
}

/// Makes a virtual environment, with that version of harmont; answers with its interpreter.
pub(super) fn environment(at: &Path, version: Option<&str>) -> Option<PathBuf> {
    if !installed(&["python3"]) {
        return None;
    }
    environment_of(&python().0, at, version)
}

/// Makes a virtual environment of that interpreter.
pub(super) fn environment_of(python: &Path, at: &Path, version: Option<&str>) -> Option<PathBuf> {
    let packages = match version {
        Some(version) => Some(packages(version)?),
        None => None,
    };
    let made = Command::new(python).args(["-m", "venv", "--without-pip"]).arg(at).output().expect("python3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    if let Some(packages) = packages {
        let lib = fs::read_dir(at.join("lib")).expect("a directory").next().expect("one").expect("readable");
        copy(&packages.join("."), &lib.path().join("site-packages"));
    }
    Some(at.join("bin/python3"))
}

/// Copies a tree; of two directories, `from/.` is copied into `to`.
pub(super) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp");
    assert!(copied.success());
}

/// Renders what is in a project, isolated in that way, with the Python in its `.venv`; nothing, with a word, where that
/// is not to be had.
pub(super) async fn render(project: &Project, mode: Mode) -> Option<Rendered> {
    let path = std::env::var("PATH").expect("PATH");
    let env = BTreeMap::from([("PATH".to_owned(), path)]);
    let workspace = Arc::new(Workspace::new(&project.path(), &project.home().join("cache")));
    let config = SandboxConfig {
        helper: PathBuf::from(env!("CARGO_BIN_EXE_hm")),
        run_id: Uuid::new_v4(),
        host_env: env.clone(),
        home: Some(project.home()),
        network: true,
        mode,
    };
    let backend = open(config, workspace).await?;
    let found = read(&Source::Project(project.path()), std::io::empty()).expect("readable");
    let home = project.home();
    let python = Interpreter::find(&env, Some(&home), &home, &project.path()).expect("an interpreter");
    let rendered = render_scripts(&backend, &python, &found.scripts.expect("files in Python")).await;
    backend.close().await.expect("nothing is left");
    Some(rendered)
}
