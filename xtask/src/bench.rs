//! `cargo xtask bench`: what a step costs. `hm build` on 1, 10 and 100 steps of `true` beside a plain shell loop, in
//! one run. Its growth with thousands of steps is `scale`'s; steps in containers are `docker`'s.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::docker::docker;
use crate::measure::{median, millis, time};
use crate::run::{cargo, run};
use crate::scale::{pipeline, scale};
use crate::setup;

/// Measured runs of each command; the median is what is shown.
const RUNS: usize = 15;

/// Builds `hm` optimised and measures what a step costs, with `scale` how that grows, or with `docker` what one in a
/// container costs.
///
/// # Errors
/// When something cannot be built, or a measured command fails.
pub(crate) fn bench(root: &Path, args: &[String]) -> Result<()> {
    let measured = match args {
        [] => steps,
        [only] if only == "scale" => scale,
        [only] if only == "docker" => docker,
        _ => bail!("`bench` takes `scale`, `docker` or nothing"),
    };
    eprintln!("setup: {}", setup::run()?);
    run(cargo().current_dir(root).args(["build", "--release", "--locked", "--package", "hm"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    measured(&target.join("release/hm"), &target)
}

/// Runs this `hm` and the loop in turn, and prints a table.
fn steps(hm: &Path, folder: &Path) -> Result<()> {
    let project = folder.join("bench-project");
    fs::create_dir_all(project.join(".hm"))?;

    println!("`hm build` of N steps of `true`, medians of {RUNS} runs in turn, -j1\n");
    println!(
        "{:>5} {:>12} {:>12} {:>14} {:>14} {:>14}",
        "N", "hm chain", "hm forks", "shell loop", "chain a step", "forks a step"
    );
    let mut one = None;
    for steps in [1, 10, 100] {
        for (name, parent) in [("chain", true), ("forks", false)] {
            let text = pipeline(steps, "", |n| parent.then(|| n - 1));
            fs::write(project.join(format!(".hm/{name}.json")), text)?;
        }
        let build = |pipeline: &str| {
            let mut command = Command::new(hm);
            command.args(["build", "-j1", "--dir"]).arg(&project).arg(pipeline);
            command
        };
        let shell = || {
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("i=0; while [ $i -lt {steps} ]; do sh -c true || exit 1; i=$((i+1)); done"));
            command
        };
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for measured in 0..=RUNS {
            for (times, command) in times.iter_mut().zip([build("chain"), build("forks"), shell()]) {
                let time = time(command)?;
                // The first round fills caches.
                if measured > 0 {
                    times.push(time);
                }
            }
        }
        let [chain, forks, shell] = times.map(median);
        let base = *one.get_or_insert(chain.min(forks));
        let further = |time: Duration| match steps {
            1 => "-".to_owned(),
            _ => millis(time.saturating_sub(base) / (steps - 1)),
        };
        println!(
            "{steps:>5} {:>12} {:>12} {:>14} {:>14} {:>14}",
            millis(chain),
            millis(forks),
            millis(shell),
            further(chain),
            further(forks)
        );
    }
    println!("\n\"a step\" is the cost of each step after the first.");
    Ok(())
}
