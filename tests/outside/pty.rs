//! A terminal with somebody at it: a pseudo-terminal whose other end the test holds.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::{run_by, wait_until};

/// Terminal that somebody sees, and can type at.
pub(crate) struct Pty {
    person: OwnedFd,
    /// Held open, so that the terminal stays when a program leaves it.
    _program: OwnedFd,
    device: PathBuf,
    shown: Vec<u8>,
}

impl Pty {
    pub(crate) fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&person).expect("a pty");
        unlockpt(&person).expect("a pty");
        rustix::fs::fcntl_setfl(&person, OFlags::NONBLOCK).expect("a pty");
        let device =
            PathBuf::from(ptsname(&person, Vec::new()).expect("a name").into_string().expect("a path"));
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program = rustix::fs::open(&device, flags, Mode::empty()).expect("a pty");
        Self { person, _program: program, device, shown: Vec::new() }
    }

    pub(crate) fn device(&self) -> &Path {
        &self.device
    }

    /// Makes a command's process the first of a session that belongs to this terminal.
    pub(crate) fn own(&self, command: &Command) -> Command {
        let mut with = Command::new("setsid");
        // The terminal that setsid takes is its standard input; the program gets another.
        with.args(["--ctty", "--wait", "sh", "-c", r#"exec "$@" < /dev/null"#, "sh"]);
        let mut with = run_by(with, command);
        with.stdin(std::fs::File::open(&self.device).expect("a pty"));
        with
    }

    /// Reads what has come, or waits a little if nothing has.
    pub(crate) fn read(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.person, &mut buffer) {
            Ok(count) if count > 0 => self.shown.extend_from_slice(&buffer[..count]),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }

    /// All that was shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        wait_until(&format!("{text:?} is shown"), || {
            for _ in 0..10 {
                self.read();
            }
            self.shown().contains(text)
        });
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let written = rustix::io::write(&self.person, text.as_bytes()).expect("a pty");
        assert_eq!(written, text.len());
    }

    /// True if what is typed is shown.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.person).expect("a pty").local_modes.contains(LocalModes::ECHO)
    }
}
