//! Builds the guests of `tests/guests`: plug-ins in several languages, each with the tools that its authors would use.
//! The use of them, and the fate of a test whose guest is not there, are `abi/tests/pdk.rs`'s.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::run;
use crate::setup;
use crate::wasm::Toolchain;

const C_PACKAGES: [&str; 4] = ["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"];
const NODE_PACKAGES: [&str; 2] = ["nodejs", "npm"];
/// Names the compiler of AssemblyScript and the digests of all it consists of.
const LOCK: &str = "package-lock.json";
const RUST_PACKAGE: &str = "hm-guest-rust";
/// Plugins on the published SDK 0.0.1.
const PUBLISHED_PACKAGES: [&str; 5] = [
    "hm-published-docker",
    "hm-published-executor",
    "hm-published-formatter",
    "hm-published-hook",
    "hm-published-subcommand",
];

/// Builds all guests for which the tools are there or can be installed; the directory of the modules.
///
/// # Errors
/// When a guest does not compile. Tools that are missing are only told.
pub(crate) fn build(root: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let sources = root.join("tests/guests");
    let modules = root.join("target/guests");
    // A guest that cannot be built any more must not be tested as it was.
    if modules.exists() {
        for entry in fs::read_dir(&modules)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "wasm") {
                fs::remove_file(path)?;
            }
        }
    }
    let scratch = modules.join("assemblyscript");
    fs::create_dir_all(&scratch)?;

    match c_compiler(&modules) {
        Ok(()) => build_c(&sources.join("c"), &modules)?,
        Err(error) => eprintln!("setup: guests in C cannot be tested: {error:#}"),
    }
    let source = sources.join("assemblyscript");
    match assemblyscript_compiler(&source, &scratch) {
        Ok(()) => build_assemblyscript(&source, &scratch, &modules)?,
        Err(error) => eprintln!("setup: guests in AssemblyScript cannot be tested: {error:#}"),
    }
    build_rust(toolchain, &sources.join("rust"), &modules)?;
    build_published(toolchain, &sources.join("published"), &modules)?;
    Ok(modules)
}

/// Makes sure that there is a clang that can link for WASI.
fn c_compiler(modules: &Path) -> Result<()> {
    let probe = || {
        let mut clang = clang("reactor");
        clang.args(["-x", "c", "/dev/null", "-o"]).arg(modules.join("probe"));
        clang.output().is_ok_and(|output| output.status.success())
    };
    if !probe() {
        setup::install_debian(&C_PACKAGES.map(str::to_owned)).with_context(|| C_PACKAGES.join(", "))?;
        anyhow::ensure!(probe(), "clang does not link for wasm32-wasi");
    }
    Ok(())
}

fn clang(execution_model: &str) -> Command {
    let mut clang = Command::new("clang");
    clang.args(["--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-Wall", "-Wextra", "-Werror"]);
    clang.arg(format!("-mexec-model={execution_model}"));
    clang
}

fn build_c(source: &Path, modules: &Path) -> Result<()> {
    for execution_model in ["reactor", "command"] {
        let output = modules.join(format!("c-{execution_model}.wasm"));
        run(clang(execution_model).arg(source.join(format!("{execution_model}.c"))).arg("-o").arg(output))?;
    }
    Ok(())
}

/// Makes sure that the compiler which the lock file names is in the scratch directory.
fn assemblyscript_compiler(source: &Path, scratch: &Path) -> Result<()> {
    let works = |program| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !works("node") || !works("npm") {
        setup::install_debian(&NODE_PACKAGES.map(str::to_owned)).with_context(|| NODE_PACKAGES.join(", "))?;
    }
    let lock = fs::read(source.join(LOCK))?;
    if fs::read(scratch.join(LOCK)).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    fs::copy(source.join("package.json"), scratch.join("package.json"))?;
    // npm wants the lock file to be there; only one that it was done with may stay.
    fs::write(scratch.join(LOCK), lock)?;
    run(Command::new("npm").current_dir(scratch).args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]))
    .inspect_err(|_| drop(fs::remove_file(scratch.join(LOCK))))
}

fn build_assemblyscript(source: &Path, scratch: &Path, modules: &Path) -> Result<()> {
    // The compiler names files as they are given to it, and so does the guest when it aborts.
    fs::copy(source.join("guest.ts"), scratch.join("guest.ts"))?;
    run(Command::new("node")
        .current_dir(scratch)
        .args(["node_modules/assemblyscript/bin/asc.js", "guest.ts", "--outFile"])
        .arg(modules.join("assemblyscript.wasm")))
}

fn build_rust(toolchain: &Toolchain, source: &Path, modules: &Path) -> Result<()> {
    let built = toolchain.build(source, &[RUST_PACKAGE], &modules.join("rust"))?;
    for path in built {
        fs::copy(path, modules.join("rust.wasm"))?;
    }
    Ok(())
}

fn build_published(toolchain: &Toolchain, source: &Path, modules: &Path) -> Result<()> {
    let built = toolchain.build(source, &PUBLISHED_PACKAGES, &modules.join("published"))?;
    for (package, path) in PUBLISHED_PACKAGES.iter().zip(built) {
        fs::copy(path, modules.join(package.trim_start_matches("hm-")).with_extension("wasm"))?;
    }
    Ok(())
}
