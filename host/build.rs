//! Builds what is part of the `hm` binary, from source, and writes down where it is: the plugins, and the guests of its
//! attacks on its own sandbox. How wasm32-wasip1 is built on this machine is `xtask/src/wasm.rs`'s affair.

#[allow(dead_code, unreachable_pub, reason = "xtask uses the rest of it")]
#[path = "../xtask/src/wasm.rs"]
mod wasm;

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The plugins that every `hm` has, by the name of their folder.
const EMBEDDED: [&str; 4] = ["docker", "human", "json", "local"];

fn main() {
    if let Err(error) = embed_plugins().and_then(|()| assemble_guests()) {
        // Cargo shows this text below "failed to run custom build command".
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn embed_plugins() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in [
        "plugins/Cargo.toml",
        "plugins/Cargo.lock",
        "plugins/runner-args",
        "protocol",
        "sdk",
        "xtask/src/wasm.rs",
    ] {
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
        "/// Names and modules of the built-in plugins.\npub(crate) const EMBEDDED: &[(&str, &[u8])] = &[\n",
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

/// Assembles `src/attack/guests/*.wat`: names and modules.
fn assemble_guests() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("src/attack/guests");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    files.sort();
    let mut source =
        String::from("/// Names and modules of the guests.\nconst ASSEMBLED: &[(&str, &[u8])] = &[\n");
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "wat")) {
        let name = file.file_stem().and_then(|stem| stem.to_str()).ok_or("a guest without a name")?;
        let module = out.join(format!("guest_{name}.wasm"));
        fs::write(&module, wat::parse_file(file)?)?;
        writeln!(source, "    ({name:?}, include_bytes!({:?})),", module.display().to_string())?;
    }
    source.push_str("];\n");
    fs::write(out.join("guests.rs"), source)?;
    Ok(())
}
