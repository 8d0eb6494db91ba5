//! Builds the plugins that are part of the `hm` binary, from source, and writes down where they are.
//! How wasm32-wasip1 is built on this machine is `xtask/src/wasm.rs`'s affair.

#[allow(dead_code, unreachable_pub, reason = "xtask uses the rest of it")]
#[path = "../xtask/src/wasm.rs"]
mod wasm;

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The plugins that every `hm` has, by the name of their folder.
const EMBEDDED: [&str; 3] = ["human", "json", "local"];

fn main() {
    if let Err(error) = embed() {
        // Cargo shows this text below "failed to run custom build command".
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn embed() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in ["plugins/Cargo.toml", "plugins/Cargo.lock", "protocol", "sdk", "xtask/src/wasm.rs"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    for plugin in EMBEDDED {
        println!("cargo::rerun-if-changed={}", root.join("plugins").join(plugin).display());
    }
    println!("cargo::rerun-if-env-changed={}", wasm::CHOICE);

    // Not below OUT_DIR, so that a changed build of `hm` does not build the plugins' dependencies again.
    let target = out.ancestors().nth(4).map_or_else(|| out.clone(), Path::to_owned).join("plugins");
    let packages = EMBEDDED.map(|name| format!("hm-plugin-{name}"));
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let modules = wasm::Toolchain::find()?.build(&root.join("plugins"), &packages, &target)?;

    let mut source = String::from(
        "/// Names and modules of the built-in plugins.\npub const EMBEDDED: &[(&str, &[u8])] = &[\n",
    );
    for (name, module) in EMBEDDED.iter().zip(modules) {
        let copy = out.join(format!("{name}.wasm"));
        fs::copy(&module, &copy)?;
        writeln!(source, "    ({name:?}, include_bytes!({:?})),", copy.display().to_string())?;
    }
    source.push_str("];\n");
    fs::write(out.join("embedded.rs"), source)?;
    Ok(())
}
