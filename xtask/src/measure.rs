//! Timing of commands, and the figures that the tables of `bench` show.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a command to its end, without its output: the time it took.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn time(mut command: Command) -> Result<Duration> {
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot start a measured command")?;
    let time = start.elapsed();
    if !status.success() {
        bail!("a measured command ended with {status}");
    }
    Ok(time)
}

/// The median, the upper one of an even number.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Milliseconds with one digit behind the point, and their unit.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
