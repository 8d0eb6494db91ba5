//! Asks the person at the terminal, and nobody else: standard input may be a pipe. What may be asked, and how a
//! question looks, is the sandbox's business, which lies above.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcgetpgrp, tcsetattr,
};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, MutexGuard};

/// Most bytes of an answer.
const MAX_ANSWER: usize = 4096;

/// Control character that disables a key.
const NO_KEY: u8 = 0;

/// Reason that there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Nobody can be asked: there is no terminal, or another program has it.
    #[error("there is no terminal to ask at")]
    None,
    /// The person has left, or has ended their input.
    #[error("the terminal gave no answer")]
    Closed,
    /// The program was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The answer is no text.
    #[error("the answer is not UTF-8")]
    NotUtf8,
    /// The answer is longer than a line can be.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// An error of the system.
    #[error("cannot use the terminal")]
    Io(#[from] io::Error),
}

/// The terminal. The default has none.
#[derive(Debug, Default)]
pub struct Terminal {
    device: Option<PathBuf>,
    /// One question at a time.
    turn: Mutex<()>,
}

impl Terminal {
    /// The one that the process belongs to, if any.
    #[must_use]
    pub fn of_process() -> Self {
        Self::at("/dev/tty".into())
    }

    /// The one of this device.
    #[must_use]
    pub fn at(device: PathBuf) -> Self {
        Self { device: Some(device), turn: Mutex::default() }
    }

    /// Asks a question of one line, and waits for a line. What is typed is not shown if it is `hidden`. The terminal is
    /// as it was before once this ends, also if it is dropped.
    ///
    /// # Errors
    /// [`TerminalError`]
    pub async fn ask(&self, question: &str, hidden: bool) -> Result<String, TerminalError> {
        let mut talk = Talk::begin(self, hidden).await?;
        talk.ask(&format!("{question} ")).await
    }

    /// Asks a question of one line until the answer is yes or no; an empty line is the default.
    ///
    /// # Errors
    /// [`TerminalError`]
    pub async fn confirm(&self, question: &str, default: bool) -> Result<bool, TerminalError> {
        let mut talk = Talk::begin(self, false).await?;
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        loop {
            let answer = talk.ask(&format!("{question} {choice} ")).await?;
            match answer.trim().to_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
    }
}

/// The terminal while it is ours. Gives it back as it was.
struct Talk<'a> {
    device: AsyncFd<OwnedFd>,
    before: Termios,
    signals: [Signal; 3],
    /// True while the cursor stands behind a question.
    open: bool,
    _turn: MutexGuard<'a, ()>,
}

impl<'a> Talk<'a> {
    async fn begin(terminal: &'a Terminal, hidden: bool) -> Result<Self, TerminalError> {
        let path = terminal.device.as_ref().ok_or(TerminalError::None)?;
        let turn = terminal.turn.lock().await;
        // Without NOCTTY a device that is nobody's could become our controlling terminal; NONBLOCK is for waiting
        // without a thread.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // A terminal that cannot be opened is none.
        let device = rustix::fs::open(path, flags, Mode::empty()).map_err(|_| TerminalError::None)?;
        // In the background, asking would stop the whole program.
        if tcgetpgrp(&device).is_ok_and(|foreground| foreground != getpgrp()) {
            return Err(TerminalError::None);
        }
        let before = tcgetattr(&device).map_err(|_| TerminalError::None)?;
        // Caught before the terminal is changed: a signal in between would leave it without echo.
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let talk = Self {
            device: watched(device)?,
            before,
            signals: [interrupt?, terminate?, hangup?],
            open: false,
            _turn: turn,
        };
        talk.set(hidden)?;
        Ok(talk)
    }

    fn set(&self, hidden: bool) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.input_modes |= InputModes::ICRNL;
        modes.local_modes |= LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO | LocalModes::ECHOE;
        if hidden {
            modes.local_modes -= LocalModes::ECHO;
            modes.local_modes |= LocalModes::ECHONL;
            // These would stop or end us with the terminal as it is now.
            modes.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
            modes.special_codes[SpecialCodeIndex::VQUIT] = NO_KEY;
        }
        // What was typed before the question was seen does not answer it.
        tcflush(&self.device, QueueSelector::IFlush)?;
        Ok(tcsetattr(&self.device, OptionalActions::Now, &modes)?)
    }

    /// Shows a question at the start of a line, and reads a line.
    async fn ask(&mut self, question: &str) -> Result<String, TerminalError> {
        self.open = true;
        let Self { device, signals: [interrupt, terminate, hangup], .. } = self;
        let answer = async {
            write(device, format!("\n{question}").as_bytes()).await?;
            read_line(device).await
        };
        let answer = tokio::select! {
            answer = answer => answer,
            _ = interrupt.recv() => Err(TerminalError::Interrupted),
            _ = terminate.recv() => Err(TerminalError::Interrupted),
            _ = hangup.recv() => Err(TerminalError::Interrupted),
        };
        self.open = answer.is_err();
        answer
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing. The rest of an answer must not become a command of the shell.
        if self.open {
            let _ = tcflush(&self.device, QueueSelector::IFlush);
            let _ = rustix::io::write(&self.device, b"\n");
        }
        let _ = tcsetattr(&self.device, OptionalActions::Now, &self.before);
    }
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe, for descriptors that may change; an owned one cannot"
)]
fn watched(device: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(device)
}

async fn write(device: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> Result<(), TerminalError> {
    while !bytes.is_empty() {
        let mut ready = device.writable().await?;
        match ready.try_io(|device| Ok(rustix::io::write(device, bytes)?)) {
            Ok(written) => bytes = &bytes[written?..],
            Err(_) => continue,
        }
    }
    Ok(())
}

async fn read_line(device: &AsyncFd<OwnedFd>) -> Result<String, TerminalError> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut buffer = [0; 1024];
        let mut ready = device.readable().await?;
        let Ok(count) = ready.try_io(|device| Ok(rustix::io::read(device, &mut buffer)?)) else { continue };
        match count? {
            0 => return Err(TerminalError::Closed),
            count => line.extend_from_slice(&buffer[..count]),
        }
        if line.len() > MAX_ANSWER {
            return Err(TerminalError::TooLong);
        }
    }
    line.pop();
    String::from_utf8(line).map_err(|_| TerminalError::NotUtf8)
}
