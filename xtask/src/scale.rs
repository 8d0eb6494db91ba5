//! `cargo xtask bench scale`: how time and memory of `hm plan` and `hm build` grow with the number of steps, in one
//! chain and in one fork, without the cache, filling it, and taking everything from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PLANNED: [u32; 3] = [1_000, 10_000, 100_000];
const RUN: [u32; 3] = [100, 1_000, 10_000];

/// Time between two looks at a running `hm`. The figures that are looked at only ever go up.
const POLL: Duration = Duration::from_millis(2);

/// The unit of times in `/proc`, the same on every common Linux.
const TICK: Duration = Duration::from_millis(10);

/// The shapes of a pipeline, by name.
const SHAPES: [&str; 2] = ["chain", "fork"];

/// Cost of a run of `hm`.
struct Cost {
    time: Duration,
    taken: Taken,
}

/// Resources that a process has taken so far.
#[derive(Default)]
struct Taken {
    /// Processor time, with that of the processes that it started. Unlike the time, it hardly depends on what else
    /// the machine does.
    work: Duration,
    /// Most memory that it had itself at once, in MiB.
    peak: f64,
}

/// Measures this `hm` below this folder, and prints a table for plans and one for runs.
///
/// # Errors
/// When a measured command fails.
pub(crate) fn scale(hm: &Path, folder: &Path) -> Result<()> {
    let bench = Bench { hm, project: folder.join("bench-scale"), places: folder.join("bench-places") };
    fs::create_dir_all(bench.project.join(".hm"))?;
    bench.write(1, "")?;
    // Compiles the plugins.
    bench.measure(&["plan", "chain"])?;

    println!("`hm plan --json`: time, processor time, most memory of hm\n");
    for steps in PLANNED {
        bench.write(steps, FOREVER)?;
        for shape in SHAPES {
            let Cost { time, taken } = bench.measure(&["plan", "--json", shape])?;
            let (time, work) = (seconds(time), seconds(taken.work));
            println!("{steps:>7} {shape:>6} {time} {work} {:5.0} MiB", taken.peak);
        }
    }

    println!("\n`hm build -j2` of steps of `true`: time, processor time of each step, most memory of hm\n");
    println!("{:14} {:>32} {:>32} {:>32}", "", "no policy", "filling the cache", "from the cache");
    for steps in RUN {
        for shape in SHAPES {
            bench.write(steps, "")?;
            // What one row kept is not there for the next.
            bench.measure(&["cache", "clear"])?;
            let without = bench.measure(&["build", "-j2", shape])?;
            bench.write(steps, FOREVER)?;
            let filling = bench.measure(&["build", "-j2", shape])?;
            let full = bench.measure(&["build", "-j2", shape])?;
            let [without, filling, full] = [without, filling, full].map(|cost| cost.of(steps));
            println!("{steps:>7} {shape:>6} {without:>32} {filling:>32} {full:>32}");
        }
    }
    fs::remove_dir_all(&bench.places).context("removing the cache of the benchmark")
}

/// The policy of a step whose result is kept.
const FOREVER: &str = r#","cache":{"policy":"forever"}"#;

struct Bench<'a> {
    hm: &'a Path,
    project: PathBuf,
    /// Directory of this benchmark's own cache and records.
    places: PathBuf,
}

impl Bench<'_> {
    /// Writes a pipeline of each shape. In a fork, all build in the first step.
    fn write(&self, steps: u32, more: &str) -> Result<()> {
        for shape in SHAPES {
            let parent = |n: u32| if shape == "chain" { n - 1 } else { 0 };
            let text = pipeline(steps, more, |n| Some(parent(n)));
            fs::write(self.project.join(format!(".hm/{shape}.json")), text)?;
        }
        Ok(())
    }

    fn measure(&self, args: &[&str]) -> Result<Cost> {
        let mut command = Command::new(self.hm);
        command.args(args).current_dir(&self.project);
        command
            .env("XDG_CACHE_HOME", self.places.join("cache"))
            .env("XDG_STATE_HOME", self.places.join("state"));
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.hm.display()))?;
        let mut taken = Taken::default();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            taken = Taken::by(child.id()).unwrap_or(taken);
            thread::sleep(POLL);
        };
        let time = start.elapsed();
        if !status.success() {
            bail!("hm {} ended with {status}", args.join(" "));
        }
        Ok(Cost { time, taken })
    }
}

impl Cost {
    fn of(&self, steps: u32) -> String {
        let step = (self.taken.work / steps).as_secs_f64() * 1e3;
        format!("{} {step:6.2} ms {:5.0} MiB", seconds(self.time), self.taken.peak)
    }
}

/// A pipeline in JSON, of steps that differ in their commands. `parent` says what each after the first builds in.
pub(crate) fn pipeline(steps: u32, more: &str, parent: impl Fn(u32) -> Option<u32>) -> String {
    let steps: Vec<String> = (0..steps)
        .map(|n| {
            let parent = if n > 0 { parent(n) } else { None };
            let parent = parent.map_or_else(String::new, |parent| format!(r#","builds_in":"s{parent}""#));
            format!(r#"{{"type":"command","key":"s{n}","cmd":"true {n}"{parent}{more}}}"#)
        })
        .collect();
    format!(r#"{{"version":"0","steps":[{}]}}"#, steps.join(","))
}

impl Taken {
    /// Resources that a process has taken so far. None once it is over.
    fn by(process: u32) -> Option<Self> {
        let read = |name| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        let status = read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        // Behind the program's name in brackets: the state, ten numbers, and the times in user and system mode, of
        // the process and of those that it has waited for.
        let stat = read("stat")?;
        let (_, numbers) = stat.rsplit_once(')')?;
        let times = numbers.split_ascii_whitespace().skip(11).take(4);
        let ticks = times.map(|ticks| ticks.parse::<u32>().ok()).sum::<Option<u32>>()?;
        Some(Self { work: TICK * ticks, peak: kib / 1024.0 })
    }
}

fn seconds(time: Duration) -> String {
    format!("{:7.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_but_the_first_have_a_parent() {
        let text = pipeline(3, FOREVER, |n| Some(n - 1));
        assert!(text.contains(r#""key":"s0","cmd":"true 0","cache""#), "{text}");
        assert!(text.contains(r#""key":"s2","cmd":"true 2","builds_in":"s1","cache""#), "{text}");
        assert!(!pipeline(3, "", |_| None).contains("builds_in"));
    }

    #[test]
    fn what_a_process_takes_is_read() {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let Taken { work, peak } = Taken::by(std::process::id()).unwrap();
            assert!(peak > 0.1, "{peak}");
            if work >= TICK * 2 {
                assert!(Taken::by(u32::MAX).is_none());
                return;
            }
        }
        panic!("this has taken no time");
    }
}
