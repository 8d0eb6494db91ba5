//! Programs of the machine that tests run: whether they are there, what becomes of a test if not, and an end for each
//! that is started.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Bound on every wait, there only so that a test does not hang.
const BOUND: Duration = Duration::from_secs(60);

/// Directories with programs of the system, besides those on `PATH`.
const OF_SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Tells that a test cannot run here, and why. Where `CI` is set, everything has to be there, and the test fails.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "nothing may be skipped here: {why}");
    println!("SKIPPED: {why}");
}

/// The value, or [`skipped`] with the reason why there is none.
#[track_caller]
pub fn or_skipped<T>(result: Result<T, impl AsRef<str>>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(why) => {
            skipped(why.as_ref());
            None
        }
    }
}

/// The first of these programs that this machine does not have. One is named, or a path.
#[must_use]
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    programs.iter().copied().find(|program| find(program).is_none())
}

/// True if this machine has all of these programs. Otherwise the test is [`skipped`], for want of the one that is
/// named.
///
/// A test asks before it starts anything, so that it neither waits for a program that never comes nor fails for want of
/// it.
#[track_caller]
#[must_use]
pub fn installed(programs: &[&str]) -> bool {
    let missing = missing(programs);
    if let Some(program) = missing {
        skipped(&format!("`{program}` is not installed"));
    }
    missing.is_none()
}

/// Path of a program. A name is looked for on `PATH` and among the system's own.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(OF_SYSTEM.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Waits until something is so, and fails the test after a minute.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "waited for a minute, but not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True while there is a process whose command line contains this.
#[must_use]
pub fn process_with(marker: &str) -> bool {
    !processes_with(marker).is_empty()
}

/// The command lines that contain this, one for each process.
#[must_use]
pub fn processes_with(marker: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let processes = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let lines = processes.map(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    });
    lines.filter(|line| line.contains(marker)).collect()
}

/// A port of the loopback that nobody listens at.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// A program in the background that ends when this is dropped, or its test is killed.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a program, which has to be [`installed`].
    #[must_use]
    pub fn start(command: &Command) -> Self {
        let program = command.get_program().to_string_lossy();
        let program = find(&program).unwrap_or_else(|| Path::new(&*program).to_owned());
        // The kernel ends it also when the thread of the test is gone without having dropped anything.
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "TERM", "--"]).arg(program).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self(wrapped.spawn().expect("a program that is there"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + BOUND;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_is_missing_is_named() {
        assert_eq!(missing(&["sh", "/bin/sh"]), None);
        assert_eq!(missing(&["sh", "no-such-program", "nor-this"]), Some("no-such-program"));
        assert_eq!(missing(&["/bin/no-such-program"]), Some("/bin/no-such-program"));
    }

    #[test]
    fn a_program_ends_with_its_value() {
        let marker = format!("sleep {}.5", 77_000_000 + std::process::id());
        let running = Running::start(Command::new("sh").args(["-c", &format!("exec {marker}")]));
        wait_until("it runs", || process_with(&marker));
        drop(running);
        assert!(!process_with(&marker));
    }
}
