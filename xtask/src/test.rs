//! `cargo xtask test`: sets the machine up and runs every test of the repository.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{cargo, run};
use crate::{guests, setup};

/// The emitters whose pipelines must run: the last with `steps`, and one with a `graph`.
const HARMONT: [&str; 2] = ["harmont==0.0.1", "harmont==0.0.9"];

/// Places where a step finds Python whatever `PATH` says.
const SYSTEM_PYTHON: [&str; 2] = ["/usr/bin/python3", "/usr/local/bin/python3"];

/// Runs the tests of all workspaces. A test that cannot run for want of something says SKIPPED; with `CI=true` it
/// fails instead.
///
/// # Errors
/// When the set-up or a test fails.
pub(crate) fn test(root: &Path) -> Result<()> {
    let toolchain = setup::run()?;
    eprintln!("setup: {toolchain}");
    // Some tests of the sandbox are programs in Python, which a step has to find in the system.
    if !SYSTEM_PYTHON.iter().any(|path| Path::new(path).exists())
        && let Err(error) = setup::install_debian(&["python3".to_owned()])
    {
        eprintln!("setup: no python3 for tests of the sandbox: {error:#}");
    }
    let harmont = root.join("target/test-python");
    for package in HARMONT {
        if let Err(error) = install_python(package, &harmont.join(package)) {
            eprintln!("setup: pipelines of {package} cannot be tested: {error:#}");
        }
    }
    let guests = guests::build(root, &toolchain)?;
    run(cargo()
        .current_dir(root)
        .args(["test", "--workspace", "--locked"])
        .env("HM_TEST_GUESTS", guests)
        .env("HM_TEST_HARMONT", &harmont))?;
    // The plugins' own unit tests run natively, through the SDK's mock host.
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("plugins-native");
    run(cargo()
        .current_dir(root.join("plugins"))
        .args(["test", "--workspace", "--locked", "--target-dir"])
        .arg(target))
}

/// Installs an emitter from the Python package index, once.
fn install_python(package: &str, target: &Path) -> Result<()> {
    if target.join("harmont").is_dir() {
        return Ok(());
    }
    if Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|o| !o.status.success()) {
        setup::install_debian(&["python3".to_owned(), "python3-pip".to_owned()])
            .context("python3 with pip")?;
    }
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(target)
        .arg(package))
}
