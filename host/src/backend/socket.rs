//! Connections to unix sockets on this machine, to exactly the path that is named. Which paths a plugin may name is the
//! policy's business, which lies above.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use tokio::net::UnixStream;

/// Pause before a server whose queue is full is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// Error of a connection that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// A symbolic link in the path: whoever can change it decides about the end of the path.
    #[error("a part of the path {} is a symbolic link; name the path that it leads to", .0.display())]
    Link(PathBuf),
    /// Something else than a socket at the end of the path.
    #[error("{} is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// An error of the system.
    #[error("cannot connect to {}", path.display())]
    Connect { path: PathBuf, source: io::Error },
}

/// Connects to the socket at this absolute path. No part of the path may be a symbolic link, so that a path which was
/// granted means one socket, whoever can write in the directories on the way. Waits as long as the server's queue is
/// full.
///
/// # Errors
/// [`SocketError`]
pub(crate) async fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let failed = |source: io::Error| SocketError::Connect { path: path.into(), source };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    // The file is held before it is looked at, and connected to as it is held: nobody can put another in its place.
    let held = match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::LOOP) => return Err(SocketError::Link(path.into())),
        other => other.map_err(|e| failed(e.into()))?,
    };
    let mode = fstat(&held).map_err(|e| failed(e.into()))?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::Socket {
        return Err(SocketError::NotASocket(path.into()));
    }
    let door = format!("/proc/self/fd/{}", held.as_raw_fd());
    loop {
        match UnixStream::connect(&door).await {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(RETRY).await,
            other => return other.map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// A server whose socket is in a folder `real`, and whether anybody has connected to it.
    fn server(dir: &Path) -> (PathBuf, UnixListener) {
        std::fs::create_dir(dir.join("real")).expect("a directory");
        let path = dir.join("real/socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        (path, listener)
    }

    async fn untouched(listener: &UnixListener) -> bool {
        tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err()
    }

    #[tokio::test]
    async fn what_is_named_is_reached() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, listener) = server(dir.path());
        let mut stream = connect(&path).await.expect("a connection");
        let (mut other, _) = listener.accept().await.expect("a connection");
        other.write_all(b"hello").await.expect("written");
        drop(other);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("readable");
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn links_lead_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, listener) = server(dir.path());
        let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
        symlink(&path, &file).expect("a link");
        symlink(dir.path().join("real"), &folder).expect("a link");
        for path in [file, folder.join("socket")] {
            let error = connect(&path).await.expect_err("a link");
            assert!(matches!(error, SocketError::Link(_)), "{error}");
        }
        assert!(untouched(&listener).await);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_connected_to() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), "").expect("a file");
        for path in [dir.path().join("file"), dir.path().to_owned(), "/dev/null".into()] {
            assert!(matches!(connect(&path).await.expect_err("no socket"), SocketError::NotASocket(_)));
        }
        let error = connect(&dir.path().join("none")).await.expect_err("nothing there");
        assert!(matches!(error, SocketError::Connect { .. }));
        let odd = Path::new("/tmp/a\0b");
        assert!(matches!(connect(odd).await.expect_err("no path"), SocketError::Connect { .. }));
    }

    #[tokio::test]
    async fn a_link_that_comes_and_goes_is_never_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (granted, own) = server(dir.path());
        let canary_dir = tempfile::tempdir().expect("a directory");
        let (canary, listener) = server(canary_dir.path());
        let (swapped, spare) = (granted.clone(), dir.path().join("spare"));
        symlink(&canary, &spare).expect("a link");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let swapper = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &swapped, CWD, &spare, exchange).expect("exchanged");
            }
        });
        let accept = tokio::spawn(async move { while own.accept().await.is_ok() {} });
        let mut reached = 0;
        for _ in 0..20_000 {
            match connect(&granted).await {
                Ok(_) => reached += 1,
                Err(SocketError::Link(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapper.join().expect("no panic");
        accept.abort();
        assert!(reached > 0, "the socket was there some of the time");
        assert!(untouched(&listener).await, "the canary was reached");
    }
}
