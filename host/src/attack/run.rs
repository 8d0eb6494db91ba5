//! Has an attack carried out by a process of its own, and ends that process when the time is over: whatever an attack
//! breaks, it breaks there.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{Attack, AttackOutcome, Observation};

/// Most bytes that such a process has to say.
const MAX_ANSWER: u64 = 1 << 20;

/// Runs an attack as `program arguments… NAME`, which writes its [`Observation`] to standard output as JSON. The
/// process ends with this future, at the latest.
pub(crate) async fn run(attack: &Attack, program: &Path, arguments: &[&str]) -> AttackOutcome {
    let start = Instant::now();
    let seen = match tokio::time::timeout(attack.time, answer(attack, program, arguments)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it was not over after {:?}, and was killed", attack.time)),
    };
    AttackOutcome { seen, time: start.elapsed() }
}

async fn answer(attack: &Attack, program: &Path, arguments: &[&str]) -> Result<Observation, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .arg(&attack.name)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Whoever presses Ctrl-C means us: a process that it ended as well would look like a sandbox that broke.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("its process does not start: {error}"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("a pipe is missing".to_owned());
    };
    let (mut answer, mut said) = (String::new(), Vec::new());
    let (mut stdout, mut stderr) = (stdout.take(MAX_ANSWER), stderr.take(MAX_ANSWER));
    let (read, _, status) =
        tokio::join!(stdout.read_to_string(&mut answer), stderr.read_to_end(&mut said), child.wait());
    let status = status.map_err(|error| format!("its process is lost: {error}"))?;
    if !status.success() {
        return Err(format!("its process ended with {status}: {}", String::from_utf8_lossy(&said).trim()));
    }
    read.map_err(|error| format!("what its process says cannot be read: {error}"))?;
    serde_json::from_str(&answer).map_err(|error| format!("what its process says cannot be read: {error}"))
}
