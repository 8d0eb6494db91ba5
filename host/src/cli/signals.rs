//! Ctrl-C and its like, as a token. What that leads to is up to the command that heeds it.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::CliError;
use crate::orchestrator::exit;

/// Wish of the user to stop. Once this is dropped, nobody heeds it any more, and the next signal ends the process.
pub(super) struct Interrupts {
    token: CancellationToken,
    _heeded: DropGuard,
}

impl Interrupts {
    /// Token that the first signal cancels.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// The first asks the command to stop, the second does not ask.
pub(super) fn interrupts() -> Result<Interrupts, CliError> {
    let (token, unheeded) = (CancellationToken::new(), CancellationToken::new());
    let interrupts = Interrupts { token: token.clone(), _heeded: unheeded.clone().drop_guard() };
    let listen = |kind| signal(kind).map_err(CliError::Runtime);
    let (mut int, mut term, mut hup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    // They are caught from here on, not from the task's first turn: the command begins right after this.
    tokio::spawn(async move {
        for times in 0.. {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            if times > 0 || unheeded.is_cancelled() {
                // Steps die with us: their supervisors watch a socket that closes now.
                std::process::exit(exit::INTERRUPTED);
            }
            token.cancel();
        }
    });
    Ok(interrupts)
}
