//! `cargo xtask setup`: makes this machine able to build for wasm32-wasip1, and says what it did.
//! Finding out whether it already is belongs to `wasm`.

use std::env;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wasm::{self, TARGET, Toolchain, WasmError};

/// Without a network, rustup retries for minutes.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

/// A way to build for wasm32-wasip1, installed if need be.
///
/// # Errors
/// When neither rustup nor Debian's packages give one.
pub(crate) fn run() -> Result<Toolchain> {
    match Toolchain::find() {
        Err(WasmError::NoTarget(_)) => {}
        found => return Ok(found?),
    }
    let choice = env::var(wasm::CHOICE).unwrap_or_default();
    if choice != "debian" {
        match add_rustup_target() {
            Ok(()) => eprintln!("setup: rustup target add {TARGET}: done"),
            Err(error) => eprintln!("setup: rustup target add {TARGET}: {error:#}"),
        }
        if let Ok(toolchain) = Toolchain::find() {
            return Ok(toolchain);
        }
    }
    if choice != "rustup" {
        match install_debian_packages() {
            Ok(packages) => eprintln!("setup: apt-get install {}: done", packages.join(" ")),
            Err(error) => eprintln!("setup: packages of Debian: {error:#}"),
        }
    }
    Ok(Toolchain::find()?)
}

fn add_rustup_target() -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).stdin(Stdio::null());
    succeeded(status_within(&mut rustup, RUSTUP_PATIENCE)?)
}

fn install_debian_packages() -> Result<Vec<String>> {
    update_packages()?;
    let known = Command::new("apt-cache").args(["search", "--names-only", "^lld-[0-9]+$"]).output()?;
    let known = String::from_utf8_lossy(&known.stdout);
    let names = known.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let mut packages: Vec<String> = DEBIAN_PACKAGES.map(str::to_owned).into();
    packages.push(wasm::newest_version("lld-", names).context("no package lld-NN is known to apt")?);
    install(&packages)?;
    Ok(packages)
}

/// Installs packages of Debian, as far as we may.
///
/// # Errors
/// When there is no apt-get, or no right to use it, or it fails.
pub(crate) fn install_debian(packages: &[String]) -> Result<()> {
    update_packages()?;
    install(packages)
}

fn update_packages() -> Result<()> {
    let mut root = privileged("apt-get")?;
    succeeded(root.arg("update").stdout(Stdio::null()).status().context("apt-get update")?)
}

fn install(packages: &[String]) -> Result<()> {
    let mut root = privileged("apt-get")?;
    root.args(["install", "--yes", "--no-install-recommends"]).args(packages).stdout(Stdio::null());
    succeeded(root.status().context("apt-get install")?)
}

/// The program as root: directly, or by a sudo that does not ask.
fn privileged(program: &str) -> Result<Command> {
    let id = Command::new("id").arg("-u").output().context("cannot start id")?;
    let mut command = if id.stdout.trim_ascii() == b"0" {
        Command::new(program)
    } else {
        let sudo = Command::new("sudo").args(["-n", "true"]).output();
        if !sudo.is_ok_and(|output| output.status.success()) {
            bail!("{program} needs root, and sudo asks for a password: run `sudo {program}` by hand");
        }
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", program]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    Ok(command)
}

fn succeeded(status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("ended with {status}") }
}

/// The status of a program that is killed when it takes longer than this.
fn status_within(command: &mut Command, patience: Duration) -> Result<ExitStatus> {
    let mut child = command.spawn().context("cannot be started")?;
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("took longer than {} seconds", patience.as_secs());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut sleep = Command::new("sleep");
        let error = status_within(sleep.arg("600"), Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().starts_with("took longer than"), "{error}");
    }

    #[test]
    fn a_program_that_ends_gives_its_status() {
        let status = status_within(&mut Command::new("false"), Duration::from_secs(60)).unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(succeeded(status).unwrap_err().to_string(), "ended with exit status: 1");
    }
}
