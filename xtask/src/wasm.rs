//! Finds out how this machine can build for wasm32-wasip1, and builds packages that way.
//! Std only, since the host's build script includes this file too. Making the target available is `setup`'s.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::{env, fmt, fs, io};

pub(crate) const TARGET: &str = "wasm32-wasip1";
/// Forces one of the ways: `rustup` or `debian`.
pub(crate) const CHOICE: &str = "HM_WASM_TOOLCHAIN";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const DEBIAN_LIBC: &str = "/usr/lib/wasm32-wasi";
/// The first minor version that knows edition 2024.
const OLDEST_MINOR: u32 = 85;

/// A way to build for wasm32-wasip1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The compiler in use has the target, as rustup installs it.
    Installed { rustc: PathBuf },
    /// Debian's compiler builds the standard library along, against Debian's wasi-libc.
    Debian { linker: PathBuf },
}

/// Reason for which wasm32-wasip1 cannot be built, or was not.
#[derive(Debug)]
pub(crate) enum WasmError {
    /// [`CHOICE`] has another value.
    Choice(OsString),
    /// Neither way is there; for each that was looked at, what is missing.
    NoTarget(Vec<String>),
    /// A program did not start.
    Start { program: PathBuf, source: io::Error },
    /// The compiler refused the plugin.
    Build(ExitStatus),
    /// The build went well, but this file is not there.
    NoOutput(PathBuf),
}

impl fmt::Display for WasmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(value) => write!(f, "{CHOICE} is {value:?}, neither `rustup` nor `debian`"),
            Self::NoTarget(missing) => {
                writeln!(f, "nothing here builds for {TARGET}:")?;
                for what in missing {
                    writeln!(f, "  - {what}")?;
                }
                writeln!(f, "`cargo xtask setup` does what it can of this:")?;
                writeln!(f, "  with rustup: rustup target add {TARGET}")?;
                write!(
                    f,
                    "  on Debian:   apt-get install rustc-web rust-web-src wasi-libc and the newest lld-NN"
                )
            }
            Self::Start { program, source } => write!(f, "cannot start {}: {source}", program.display()),
            Self::Build(status) => write!(f, "building for {TARGET} ended with {status}"),
            Self::NoOutput(path) => write!(f, "the build made no {}", path.display()),
        }
    }
}

impl std::error::Error for WasmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { rustc } => write!(f, "{TARGET} of {}", rustc.display()),
            Self::Debian { linker } => {
                write!(f, "{TARGET} with {DEBIAN_RUSTC}, its std from source, and {}", linker.display())
            }
        }
    }
}

impl Toolchain {
    /// The first way that works here, or the one that [`CHOICE`] forces.
    ///
    /// # Errors
    /// [`WasmError::NoTarget`] says what is missing for either way.
    pub(crate) fn find() -> Result<Self, WasmError> {
        let choice = env::var_os(CHOICE).unwrap_or_default();
        let ways: &[fn() -> Result<Self, String>] = match choice.to_str() {
            Some("") => &[installed, debian],
            Some("rustup") => &[installed],
            Some("debian") => &[debian],
            _ => return Err(WasmError::Choice(choice)),
        };
        let mut missing = Vec::new();
        for way in ways {
            match way() {
                Ok(toolchain) => return Ok(toolchain),
                Err(what) => missing.push(what),
            }
        }
        Err(WasmError::NoTarget(missing))
    }

    /// A release build of a workspace, as its lock file has it; what of it to build is for the caller to add.
    pub(crate) fn cargo(&self, workspace: &Path, target_dir: &Path) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The cargo that runs us has told us everything about *its* build; this one is another.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_outer_build)) {
            cargo.env_remove(name);
        }
        cargo.current_dir(workspace).args(["build", "--release", "--locked", "--target", TARGET]);
        cargo.arg("--target-dir").arg(target_dir);
        match self {
            Self::Installed { rustc } => {
                cargo.env("RUSTC", rustc);
            }
            Self::Debian { linker } => {
                let flags = format!("-C link-self-contained=no -L native={DEBIAN_LIBC}");
                cargo
                    .arg("-Zbuild-std=std,panic_abort")
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_WASIP1_LINKER", linker)
                    .env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags);
            }
        }
        cargo
    }

    /// Builds these packages of a workspace in release mode, as its lock file has them; the paths of their
    /// modules, in the same order.
    ///
    /// # Errors
    /// When cargo cannot be started or refuses, or a package makes no module.
    pub(crate) fn build(
        &self,
        workspace: &Path,
        packages: &[&str],
        target_dir: &Path,
    ) -> Result<Vec<PathBuf>, WasmError> {
        let mut cargo = self.cargo(workspace, target_dir);
        cargo.args(packages.iter().flat_map(|package| ["--package", package]));
        let status = cargo.status().map_err(|source| {
            let program = cargo.get_program().into();
            WasmError::Start { program, source }
        })?;
        if !status.success() {
            return Err(WasmError::Build(status));
        }
        let directory = target_dir.join(TARGET).join("release");
        let modules = packages.iter().map(|package| directory.join(package.replace('-', "_") + ".wasm"));
        modules.map(|path| if path.is_file() { Ok(path) } else { Err(WasmError::NoOutput(path)) }).collect()
    }
}

/// True if cargo or rustup set this variable for the build that we are part of. The user's own settings of
/// directories, network and registries stay.
fn is_of_outer_build(name: &str) -> bool {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_"];
    const DROPPED: [&str; 8] = [
        "MAKEFLAGS",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    let of_cargo = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
    of_cargo || DROPPED.contains(&name)
}

/// The compiler in use, if it has the target's standard library.
fn installed() -> Result<Toolchain, String> {
    let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let mut command = Command::new(&rustc);
    let libraries = output(command.args(["--print", "target-libdir", "--target", TARGET]))?;
    let has_std = fs::read_dir(libraries.trim()).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with("libstd") && name.ends_with(".rlib"))
        })
    });
    let missing = || format!("{} has no standard library for {TARGET}", rustc.display());
    if has_std { Ok(Toolchain::Installed { rustc: rustc.clone() }) } else { Err(missing()) }
}

/// Debian's packages, if all are there.
fn debian() -> Result<Toolchain, String> {
    let version = output(Command::new(DEBIAN_RUSTC).arg("--version"))?;
    if minor_version(&version).is_none_or(|minor| minor < OLDEST_MINOR) {
        return Err(format!("{DEBIAN_RUSTC} is {}, too old (package rustc-web)", version.trim()));
    }
    let libc = format!("{DEBIAN_LIBC}/libc.a");
    for (path, package) in [(DEBIAN_STD, "rust-web-src"), (&libc, "wasi-libc")] {
        if !Path::new(path).is_file() {
            return Err(format!("{path} is missing (package {package})"));
        }
    }
    let names = fs::read_dir("/usr/bin").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let newest = newest_version("wasm-ld-", names.filter_map(|name| name.into_string().ok()));
    let linker = newest.ok_or("/usr/bin/wasm-ld-NN is missing (package lld-NN)")?;
    Ok(Toolchain::Debian { linker: Path::new("/usr/bin").join(linker) })
}

/// The 96 of `rustc 1.96.0 (…)`.
fn minor_version(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

/// Of the names that are the prefix and a number, the one with the highest number.
pub(crate) fn newest_version(prefix: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names
        .filter_map(|name| Some((name.strip_prefix(prefix)?.parse::<u32>().ok()?, name)))
        .max_by_key(|(number, _)| *number)
        .map(|(_, name)| name)
}

/// Output of a program, or the reason for which there is none, in a sentence.
fn output(command: &mut Command) -> Result<String, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|error| format!("cannot start {program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{program} ended with {}: {}",
            output.status,
            said.lines().next().unwrap_or_default()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_linker_is_the_highest_number() {
        let names = ["wasm-ld-9", "wasm-ld-22", "wasm-ld-19", "wasm-ld-next", "wasm-ld", "ld.lld-30"];
        let newest = newest_version("wasm-ld-", names.into_iter().map(str::to_owned));
        assert_eq!(newest.as_deref(), Some("wasm-ld-22"));
        assert_eq!(newest_version("wasm-ld-", std::iter::empty()), None);
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(minor_version("rustc 1.96.0 (ac68faa20 2026-05-25)\n"), Some(96));
        assert_eq!(minor_version("something else"), None);
    }

    #[test]
    fn a_build_within_a_build_starts_afresh() {
        let dropped = [
            "RUSTC",
            "RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_MAKEFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_WASM32_WASIP1_LINKER",
        ];
        for name in dropped {
            assert!(is_of_outer_build(name), "{name}");
        }
        let kept = [
            "CARGO",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_X_INDEX",
            "RUSTC_WRAPPER",
            "RUSTUP_HOME",
            "RUSTUP_TOOLCHAIN",
            "PATH",
        ];
        for name in kept {
            assert!(!is_of_outer_build(name), "{name}");
        }
    }

    #[test]
    fn without_a_target_both_ways_are_told() {
        let text = WasmError::NoTarget(vec!["this".into(), "that".into()]).to_string();
        for part in
            ["  - this\n  - that\n", "cargo xtask setup", "rustup target add wasm32-wasip1", "rustc-web"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
