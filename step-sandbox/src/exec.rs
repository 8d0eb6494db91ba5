//! hm's side of one command: starts the supervisor, passes on what the command prints, and ends it all when nobody
//! waits for it any more. How the command is isolated is in the [`Spec`].

use std::{io, os::fd::OwnedFd, path::Path, process::Stdio};

use hm_disk::TaskError;
use hm_plugin_protocol::StdStream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::pipe},
    process::{Child, Command},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    error::SandboxError,
    wire::{self, Spec, Status},
};

/// Bytes passed on at a time, at the most. A pipe holds four of these.
const CHUNK: usize = 16 << 10;

/// No status is longer, in bytes.
const STATUS_MAX: u64 = 64 << 10;

/// Receiver of a command's output.
pub(crate) type Output = mpsc::Sender<(StdStream, Vec<u8>)>;

/// Runs the command. When this ends, however it ends, all that the command started is dead or about to be; `guard` is
/// dropped when it is dead.
///
/// # Errors
/// The command could not be run.
pub(crate) async fn run(
    helper: &Path,
    spec: &Spec,
    output: Output,
    guard: impl Send + 'static,
) -> Result<i32, SandboxError> {
    let line = wire::encode(spec).map_err(|error| SandboxError::Setup(error.to_string()))?;
    let (mut child, socket) = start(helper).map_err(SandboxError::io("start", helper))?;
    let (stdout, stderr) = pipes(&mut child).map_err(SandboxError::io("read the output of", helper))?;
    // Both ends tell the other side by going away.
    let (_waiting, abandoned) = oneshot::channel::<()>();
    let (running, ended) = watch::channel(());
    // On its own, since dropping this future must not keep the supervisor from being reaped.
    let attendant = tokio::spawn(async move {
        let status = tokio::select! {
            status = converse(socket, &line) => status,
            // The socket goes with the other branch, which is how the supervisor hears of it.
            _ = abandoned => None,
        };
        let reaped = child.wait().await;
        drop((guard, running));
        reaped.map(|_| status)
    });
    let (status, (), ()) = tokio::join!(
        attendant,
        pass_on(stdout, StdStream::Stdout, output.clone(), ended.clone()),
        pass_on(stderr, StdStream::Stderr, output.clone(), ended.clone()),
    );
    match status.map_err(TaskError::from)?.map_err(SandboxError::io("wait for", helper))? {
        Some(Status::Exit(code)) => Ok(code),
        Some(Status::Setup(reason)) => Err(SandboxError::Setup(reason)),
        Some(Status::Command(reason)) => Err(SandboxError::Command(reason)),
        None => Err(SandboxError::SupervisorDied),
    }
}

/// Starts a supervisor. The other end of its socket must stay with us alone.
fn start(helper: &Path) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(helper)
        .arg(wire::SUPERVISOR)
        .env_clear()
        // Away from the terminal's Ctrl-C, which is for us to act upon.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

fn pipes(child: &mut Child) -> io::Result<(pipe::Receiver, pipe::Receiver)> {
    let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
    let stdout = child.stdout.take().ok_or_else(missing)?.into_owned_fd()?;
    let stderr = child.stderr.take().ok_or_else(missing)?.into_owned_fd()?;
    Ok((pipe::Receiver::from_owned_fd(stdout)?, pipe::Receiver::from_owned_fd(stderr)?))
}

/// Says what to run and hears how it went; none if the supervisor dies before.
async fn converse(mut socket: UnixStream, line: &[u8]) -> Option<Status> {
    socket.write_all(line).await.ok()?;
    let mut answer = Vec::new();
    socket.take(STATUS_MAX).read_to_end(&mut answer).await.ok()?;
    serde_json::from_slice(&answer).ok()
}

/// Passes on what comes through the pipe, no faster than it is taken. Ends with the pipe, or when all that a dead
/// command left in it is read: somebody outside may have got hold of its other end.
async fn pass_on(pipe: pipe::Receiver, stream: StdStream, output: Output, mut ended: watch::Receiver<()>) {
    let mut over = false;
    let mut buffer = vec![0; CHUNK];
    loop {
        if !over {
            tokio::select! {
                ready = pipe.readable() => if ready.is_err() { return },
                // Its sender never sends.
                _ = ended.changed() => over = true,
            }
        }
        // Once it is over the system has to be asked; the runtime may not know yet what came last.
        let read = if over {
            rustix::io::read(&pipe, &mut buffer).map_err(io::Error::from)
        } else {
            pipe.try_read(&mut buffer)
        };
        match read {
            Ok(0) => return,
            // With nobody to take it, it is thrown away: the command goes on.
            Ok(length) => drop(output.send((stream, buffer[..length].to_vec())).await),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !over => {}
            Err(_) => return,
        }
    }
}
