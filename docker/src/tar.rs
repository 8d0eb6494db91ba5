//! Trees of files on their way into a container: the same entries as in a source archive, made as they are sent, but
//! with modes, and the times at which files were changed, which tools such as `make` go by. What is to be sent, and
//! where to, is decided elsewhere.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use hm_workspace::archive::{self, Form, Look};

/// Bytes in a piece, at the most.
const PIECE: usize = 128 * 1024;

/// Pieces that wait to be sent.
const WAITING: usize = 2;

/// The tar of what is in a tree, or of these paths alone and not of what is below them, in pieces; names begin with
/// `below`, and `now` is the engine's time since 1970. What is sent alone comes on top of something older, whatever its
/// own time is, so its time is now. It is made on a thread that waits for whoever takes them, and stops when nobody
/// does any more. The last piece is an error if the tar is not whole.
pub(crate) fn stream(
    tree: PathBuf,
    only: Option<BTreeSet<Vec<u8>>>,
    below: PathBuf,
    now: Duration,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let source = Source::new(tree, only, below, now);
    stream::unfold(source, |mut source| async move { Some((source.next().await?, source)) })
}

/// A tar that is being made.
struct Source {
    pieces: mpsc::Receiver<Bytes>,
    packing: Option<JoinHandle<io::Result<()>>>,
}

impl Source {
    fn new(tree: PathBuf, only: Option<BTreeSet<Vec<u8>>>, below: PathBuf, now: Duration) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING);
        let packing = spawn_blocking(move || {
            let to = BufWriter::with_capacity(PIECE, Pieces(sender));
            let time = |about: &Metadata| time(about, now);
            let look = if only.is_some() { Look::At(now) } else { Look::Each(&time) };
            let form = Form { below: &below, look };
            let mut to = archive::write(&tree, only.as_ref(), &form, to, &tree).map_err(io::Error::other)?;
            to.flush()
        });
        Self { pieces, packing: Some(packing) }
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(piece) = self.pieces.recv().await {
            return Some(Ok(piece));
        }
        // How it went, once.
        match self.packing.take()?.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error)),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    }
}

/// When something was changed, in seconds since 1970, and a second earlier: engines know what steps have changed by its
/// size and by that, to a second, and a step may come soon after an edit.
fn time(about: &Metadata, now: Duration) -> u64 {
    u64::try_from(about.mtime()).unwrap_or_default().min(now.as_secs()).saturating_sub(1)
}

/// Writer that sends the tar in pieces.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let sent = self.0.blocking_send(Bytes::copy_from_slice(piece));
        sent.map(|()| piece.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use futures_util::StreamExt;

    use super::*;

    async fn all(tree: &Path, only: Option<&[&[u8]]>) -> Vec<u8> {
        let only = only.map(|paths| paths.iter().map(|path| path.to_vec()).collect());
        let pieces: Vec<_> = stream(tree.to_owned(), only, PathBuf::new(), since_1970()).collect().await;
        assert!(pieces.iter().all(|piece| (1..=PIECE).contains(&piece.as_ref().unwrap().len())));
        pieces.into_iter().flat_map(Result::unwrap).collect()
    }

    fn since_1970() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    }

    /// Lines of the real tar about it, one per entry.
    fn unpack(bytes: &[u8], to: &Path) -> String {
        fs::create_dir(to).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-xv", "--quoting-style=escape", "-C"])
            .arg(to)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut running = tar.stderr(Stdio::piped()).spawn().unwrap();
        running.stdin.take().unwrap().write_all(bytes).unwrap();
        let ended = running.wait_with_output().unwrap();
        assert!(
            ended.status.success() && ended.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        String::from_utf8(ended.stdout).unwrap()
    }

    #[tokio::test]
    async fn tar_unpacks_what_is_streamed() {
        let scratch = tempfile::tempdir().unwrap();
        let (tree, long) = (scratch.path().join("tree"), "l".repeat(250));
        fs::create_dir_all(tree.join("sub/empty")).unwrap();
        fs::create_dir_all(tree.join(&long).join(&long)).unwrap();
        fs::write(tree.join("large"), vec![7; 1_000_000]).unwrap();
        fs::write(tree.join("sub/run"), "#!").unwrap();
        fs::set_permissions(tree.join("sub/run"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(tree.join(" \n\t'\"\\"), "odd").unwrap();
        fs::write(tree.join(super::super::manifest::as_path(b"\xff\xfe")), "no text").unwrap();
        fs::write(tree.join(&long).join(&long).join("deep"), "deep").unwrap();
        fs::set_permissions(tree.join("large"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(tree.join("sub"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("/etc/passwd", tree.join("sub/link")).unwrap();
        symlink("t/".repeat(200), tree.join("far")).unwrap();
        let edited = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        File::open(tree.join("sub/run")).unwrap().set_modified(edited).unwrap();
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        File::open(tree.join("large")).unwrap().set_modified(tomorrow).unwrap();
        let bytes = all(&tree, None).await;
        let unpacked = scratch.path().join("unpacked");
        let listed = unpack(&bytes, &unpacked);
        assert!(!listed.contains("./") && listed.lines().all(|name| !name.is_empty()), "{listed}");
        let same = Command::new("diff").args(["-r", "--no-dereference"]).args([&tree, &unpacked]).output();
        let same = same.unwrap();
        assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
        let mode = |path: &str| fs::metadata(unpacked.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("sub/run"), mode("large"), mode("sub")), (0o711, 0o640, 0o750));
        let time = |path: &str| fs::metadata(unpacked.join(path)).unwrap().modified().unwrap();
        assert_eq!(time("sub/run"), edited - Duration::from_secs(1));
        // What a step does now is later in any case, also when seconds are all that is known.
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(seconds(time("large")) < seconds(SystemTime::now()));
        File::open(tree.join("large")).unwrap().set_modified(edited).unwrap();
        assert!(all(&tree, None).await == all(&tree, None).await, "the same files make the same bytes");
        // Only what is asked for, whatever is below it.
        let only: [&[u8]; 4] = [b"\xff\xfe", b"large", b"sub", b"sub/link"];
        let listed = unpack(&all(&tree, Some(&only)).await, &scratch.path().join("some"));
        assert_eq!(listed, "large\nsub/\nsub/link\n\\377\\376\n");
        assert_eq!(all(&tree, Some(&[])).await, [0; 1024], "an empty tar is a tar");
        let only = Some(BTreeSet::from([b"sub".to_vec(), b"sub/run".to_vec()]));
        let pieces: Vec<_> = stream(tree, only, PathBuf::from("top/of"), since_1970()).collect().await;
        let bytes: Vec<_> = pieces.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(unpack(&bytes, &scratch.path().join("below")), "top/of/sub/\ntop/of/sub/run\n");
    }

    #[tokio::test]
    async fn what_is_not_whole_ends_with_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let only = Some(BTreeSet::from([b"missing".to_vec()]));
        let pieces: Vec<_> =
            stream(scratch.path().to_owned(), only, PathBuf::new(), since_1970()).collect().await;
        let error = pieces.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");

        let file = File::create(scratch.path().join("file")).unwrap();
        file.set_len(10 << 20).unwrap();
        let mut pieces = Box::pin(stream(scratch.path().to_owned(), None, PathBuf::new(), since_1970()));
        pieces.next().await.unwrap().unwrap();
        file.set_len(1 << 20).unwrap();
        let rest: Vec<_> = pieces.collect().await;
        let error = rest.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.ends_with("file changed while it was packed"), "{error}");
    }

    /// Tests that of more than memory would hold only little is read ahead.
    #[tokio::test]
    async fn nothing_is_read_long_before_it_is_taken() {
        let scratch = tempfile::tempdir().unwrap();
        let file = File::create(scratch.path().join("file")).unwrap();
        file.set_len(1 << 40).unwrap();
        let mut source = Source::new(scratch.path().to_owned(), None, PathBuf::new(), since_1970());
        for _ in 0..100 {
            assert!(source.next().await.unwrap().unwrap().len() <= PIECE);
            assert!(source.pieces.len() <= WAITING);
        }
        // And it does not go on when nobody takes it.
        drop(source.pieces);
        let packed = tokio::time::timeout(Duration::from_secs(30), source.packing.unwrap()).await;
        assert!(packed.unwrap().unwrap().is_err());
    }

    #[tokio::test]
    async fn what_comes_on_top_of_something_is_newer_than_that() {
        let scratch = tempfile::tempdir().unwrap();
        let (tree, to) = (scratch.path().join("tree"), scratch.path().join("to"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&to).unwrap();
        let file = tree.join("file");
        File::create(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let before = SystemTime::now();
        for (only, is_new) in [(None, false), (Some(&[&b"file"[..]][..]), true)] {
            let tar = scratch.path().join("tar");
            fs::write(&tar, all(&tree, only).await).unwrap();
            let ran = Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&to).status().unwrap();
            assert!(ran.success());
            let modified = fs::metadata(to.join("file")).unwrap().modified().unwrap();
            assert_eq!(modified >= before && modified <= SystemTime::now(), is_new, "{modified:?}");
        }
    }
}
