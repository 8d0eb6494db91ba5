//! `cargo xtask fuzz`: runs the fuzz targets one after the other. What they check is in `fuzz/`; their corpora also
//! run as ordinary tests.

mod corpus;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use self::corpus::Corpus;
use crate::run::{cargo, run};

/// Seconds that one target runs unless told otherwise.
const SECONDS: u64 = 60;

/// An input that takes longer is a finding. Compiling a guest takes its time, and a machine may be busy.
const HANG_SECONDS: u64 = 60;

const MEMORY_MIB: u64 = 4096;

/// Arguments of the fuzzer that has each input kept which reaches something that no other one does, and of those the
/// fewest. How often something is reached does not count: with it, nearly every input would be one of its own.
const FEWEST: [&str; 2] = ["-set_cover_merge=1", "-use_counters=0"];

/// The command line, parsed.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    seconds: u64,
    minimize: bool,
    targets: Vec<String>,
}

/// Runs the targets that are named, or all; or has their corpora minimized.
///
/// # Errors
/// When there is no nightly toolchain, something cannot be built, or a target has found something.
pub(crate) fn fuzz(root: &Path, args: &[String]) -> Result<()> {
    let request = Request::read(args, &targets(root)?)?;
    require_nightly()?;
    let cargo_fuzz = cargo_fuzz(root)?;
    let build = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("fuzz/target"), |folder| Path::new(&folder).join("fuzz"));
    for target in &request.targets {
        let corpus = Corpus::of(root, &build, target);
        let fuzzer = |folders: &[&Path], options: &[String]| {
            let mut command = Command::new("rustup");
            command
                .args(["run", "nightly"])
                .arg(&cargo_fuzz)
                // No sanitizer: all unsafe code is in libraries with fuzzers of their own, and what is looked for
                // panics.
                .args(["run", "--sanitizer", "none", "--codegen-units", "16", "--target-dir"])
                .arg(&build)
                .arg(target)
                .args(folders)
                .arg("--")
                .args(options)
                .arg(format!("-timeout={HANG_SECONDS}"))
                .arg(format!("-rss_limit_mb={MEMORY_MIB}"));
            forget_this_cargo(&mut command);
            run(command.current_dir(root.join("fuzz")))
        };
        corpus.unpack()?;
        if request.minimize {
            corpus.minimize(|folders| fuzzer(folders, &FEWEST.map(str::to_owned)))?;
        } else {
            let folders = [&*corpus.found, &corpus.unpacked, &corpus.seeds];
            fuzzer(&folders, &[format!("-max_total_time={}", request.seconds)])?;
        }
    }
    Ok(())
}

impl Request {
    fn read(args: &[String], known: &[String]) -> Result<Self> {
        let mut request = Self { seconds: SECONDS, minimize: false, targets: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--seconds" {
                let number = args.next().context("`--seconds` needs a number")?;
                request.seconds = number.parse().with_context(|| format!("`--seconds {number}`"))?;
            } else if arg == "--minimize" {
                request.minimize = true;
            } else if known.contains(arg) {
                request.targets.push(arg.clone());
            } else {
                bail!("there is no fuzz target `{arg}`; there are {}", known.join(", "));
            }
        }
        if request.targets.is_empty() {
            request.targets = known.to_vec();
        }
        Ok(request)
    }
}

/// The names of all targets, sorted.
fn targets(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("fuzz/fuzz_targets")).context("fuzz/fuzz_targets")? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Makes sure that there is a nightly toolchain, which instrumented code needs.
///
/// # Errors
/// When there is none.
pub(crate) fn require_nightly() -> Result<()> {
    let found = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        bail!("this needs a nightly toolchain: `rustup toolchain install nightly`");
    }
    Ok(())
}

/// The cargo that runs us is another one than the command's.
pub(crate) fn forget_this_cargo(command: &mut Command) {
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
}

/// cargo-fuzz: the machine's, else ours, installed if need be.
fn cargo_fuzz(root: &Path) -> Result<PathBuf> {
    let machines = PathBuf::from("cargo-fuzz");
    if Command::new(&machines).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(machines);
    }
    let tools = root.join("target/tools");
    let ours = tools.join("bin/cargo-fuzz");
    if !ours.exists() {
        run(cargo().args(["install", "--locked", "cargo-fuzz", "--root"]).arg(&tools))?;
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Request> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Request::read(&words(args), &words(&["guest", "pipeline"]))
    }

    #[test]
    fn arguments() {
        let all = read(&[]).unwrap();
        assert_eq!((all.seconds, all.targets), (SECONDS, vec!["guest".to_owned(), "pipeline".to_owned()]));
        let one = read(&["--seconds", "5", "pipeline"]).unwrap();
        assert_eq!((one.seconds, one.minimize, one.targets), (5, false, vec!["pipeline".to_owned()]));
        assert!(read(&["--minimize", "guest"]).unwrap().minimize);
        let error = |args: &[&str]| read(args).unwrap_err().to_string();
        assert_eq!(error(&["nonsense"]), "there is no fuzz target `nonsense`; there are guest, pipeline");
        assert_eq!(error(&["--seconds"]), "`--seconds` needs a number");
        assert_eq!(error(&["--seconds", "x"]), "`--seconds x`");
    }

    #[test]
    fn the_targets_are_those_of_the_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(targets(root).unwrap().contains(&"pipeline".to_owned()));
    }
}
