//! `cargo xtask demo`: everything that is needed to see a real pipeline run, and the run.

use std::path::Path;

use anyhow::Result;

use crate::run::{cargo, run};
use crate::setup;

/// Sets the machine up, builds `hm`, and runs `hm build` on `examples/hello`.
///
/// # Errors
/// When the set-up, the build of `hm` or the pipeline does not succeed.
pub(crate) fn demo(root: &Path) -> Result<()> {
    eprintln!("setup: {}", setup::run()?);
    run(cargo().current_dir(root).args([
        "run",
        "--locked",
        "--package",
        "hm",
        "--",
        "build",
        "--dir",
        "examples/hello",
    ]))
}
