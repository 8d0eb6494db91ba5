//! `cargo xtask differential`: runs well-behaved guests in our host and in the reference implementation, and
//! compares. The program that does it is in `fuzz/differential`, a workspace of its own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::fuzz::{forget_this_cargo, require_nightly};
use crate::guests;
use crate::run::run;
use crate::setup;

/// Builds the guests and the program, and runs it. Arguments are the program's: how many scripts, and their seed.
///
/// # Errors
/// When something cannot be built, or the two differ.
pub(crate) fn differential(root: &Path, args: &[String]) -> Result<()> {
    // The reference implementation needs a newer compiler than the rest.
    require_nightly()?;
    let guest = guests::build(root, &setup::run()?)?.join("rust.wasm");
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "run", "--locked", "--quiet", "--manifest-path"])
        .arg(root.join("fuzz/differential/Cargo.toml"));
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        command.arg("--target-dir").arg(Path::new(&folder).join("differential"));
    }
    command.arg("--").arg(guest).args(args);
    forget_this_cargo(&mut command);
    run(&mut command)
}
