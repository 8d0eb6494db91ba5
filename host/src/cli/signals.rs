//! Ctrl-C and its like, as messages. What they lead to is up to the command that listens.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::error::CliError;
use crate::orchestrator::{Interrupt, exit};

/// The first asks the command to stop, the second does not ask.
pub(super) fn interrupts() -> Result<mpsc::Receiver<Interrupt>, CliError> {
    let (sender, receiver) = mpsc::channel(1);
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
            if times > 0 || sender.send(Interrupt).await.is_err() {
                // Steps die with us: their supervisors watch a socket that closes now.
                std::process::exit(exit::INTERRUPTED);
            }
        }
    });
    Ok(receiver)
}
