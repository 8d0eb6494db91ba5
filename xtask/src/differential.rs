//! `cargo xtask differential`: plays scripts of well-behaved guests in our host and in the reference implementation, and
//! compares. The program that does it is in `fuzz/differential`, a workspace of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::fuzz::{forget_this_cargo, require_nightly};
use crate::plugins;
use crate::run::run;

/// Builds the program and the guests, and runs it. Arguments are the program's: how many scripts, and the seed.
///
/// # Errors
/// When something cannot be built, or the two differ.
pub(crate) fn differential(root: &Path, args: &[String]) -> Result<()> {
    // The reference implementation needs a newer compiler than the rest.
    require_nightly()?;
    let guests = plugins::run(root)?;
    let json = guests.iter().find(|path| path.ends_with("json.wasm")).context("the plugin `json`")?;
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "run", "--release", "--locked", "--quiet", "--"])
        .arg(json)
        .args(args);
    forget_this_cargo(&mut command);
    run(command.current_dir(root.join("fuzz/differential")))
}
