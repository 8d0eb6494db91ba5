//! `cargo xtask plugins`: builds the plugins of this repository for wasm32-wasip1.
//! Their workspace says how; the host's own build embeds them by itself.

use std::path::{Path, PathBuf};
use std::{env, fs, path};

use anyhow::{Context, Result};

use crate::setup;

/// Builds every plugin of `plugins/`; the paths of the modules.
///
/// # Errors
/// When nothing here builds for wasm, or a plugin does not compile.
pub(crate) fn run(root: &Path) -> Result<Vec<PathBuf>> {
    let workspace = root.join("plugins");
    let packages = packages(&workspace)?;
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let target_dir = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let target_dir = path::absolute(target_dir)?;
    Ok(setup::run()?.build(&workspace, &packages, &target_dir)?)
}

/// The plugin in the directory `x` is called `hm-plugin-x`. What is no `cdylib` is a part of several of them.
fn packages(workspace: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(workspace).with_context(|| format!("reading {}", workspace.display()))?;
    let mut packages = Vec::new();
    for entry in entries {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("Cargo.toml")).is_ok_and(|text| text.contains("\"cdylib\"")) {
            packages.push(format!("hm-plugin-{}", entry.file_name().to_string_lossy()));
        }
    }
    packages.sort();
    Ok(packages)
}
