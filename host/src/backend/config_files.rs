//! Files of configuration that a project keeps for plugins, below its `.hm` or `.harmont`. No path, link or race leads
//! out of there. Which plugin may read them is decided above.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use hm_disk::{PathError, cannot, open_below, read_if_regular};
use rustix::fs::OFlags;

/// The directories, the preferred one first.
const FOLDERS: [&str; 2] = [".hm", ".harmont"];

/// Bytes in a file, at the most.
const MAX: usize = 1 << 20;

/// Error of a file that cannot be read, although something is there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigFileError {
    /// A path that leads out of the directories.
    #[error("{0:?} is not below the project's .hm or .harmont")]
    Outside(String),
    /// A file that is too large or not regular, or that the system does not give.
    #[error(transparent)]
    Read(#[from] PathError),
}

/// Reads a regular file below `.hm` or else `.harmont` of a project, by its path below there. None if neither has it.
/// Links are followed as long as they stay below. Blocks, though never for long.
///
/// # Errors
/// [`ConfigFileError`]
pub(crate) fn read(project: &Path, path: &str) -> Result<Option<Vec<u8>>, ConfigFileError> {
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || !Path::new(path).components().all(inside) {
        return Err(ConfigFileError::Outside(path.to_owned()));
    }
    for folder in FOLDERS {
        match read_below(project, folder, path) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // That is how a path that leads out is told from a file that we may not read.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && error.raw_os_error().is_none() => {
                return Err(ConfigFileError::Outside(path.to_owned()));
            }
            Err(error) => return Err(cannot("read", project.join(folder).join(path))(error).into()),
        }
    }
    Ok(None)
}

fn read_below(project: &Path, folder: &str, path: &str) -> io::Result<Vec<u8>> {
    // A directory that is a link could be git's, with what that keeps secret.
    let folder = open_below(File::open(project)?, Path::new(folder), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let folder = Dir::from_std_file(folder.into());
    // Opening a pipe for reading would wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        folder.open_with(path, OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()))?;
    read_if_regular(file.into_std(), MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A project, with a canary beside it.
    fn project() -> (tempfile::TempDir, PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("canary"), "canary").unwrap();
        let project = scratch.path().join("project");
        for folder in FOLDERS {
            fs::create_dir_all(project.join(folder).join("sub")).unwrap();
        }
        fs::write(project.join("canary"), "canary").unwrap();
        (scratch, project)
    }

    #[test]
    fn the_first_folder_that_has_a_file_gives_it() {
        let (_scratch, project) = project();
        fs::write(project.join(".hm/both"), "new").unwrap();
        fs::write(project.join(".harmont/both"), "old").unwrap();
        fs::write(project.join(".harmont/sub/old"), b"\xff\0").unwrap();
        fs::write(project.join(".hm/large"), vec![0; MAX]).unwrap();
        fs::hard_link(project.join(".hm/both"), project.join(".hm/hard")).unwrap();
        symlink("../.hm/both", project.join(".hm/around")).unwrap();
        symlink("both", project.join(".hm/link")).unwrap();
        symlink("missing", project.join(".hm/dangling")).unwrap();
        let read = |path| read(&project, path).unwrap();
        for path in ["both", "./both", "hard", "link"] {
            assert_eq!(read(path).as_deref(), Some(&b"new"[..]), "{path}");
        }
        assert_eq!(read("sub/old").as_deref(), Some(&b"\xff\0"[..]));
        assert_eq!(read("large").map(|bytes| bytes.len()), Some(MAX));
        for path in ["missing", "no/where", "both/below", "dangling"] {
            assert_eq!(read(path), None, "{path}");
        }
        assert_eq!(super::read(Path::new("/nonexistent"), "both").unwrap(), None);
    }

    #[test]
    fn nothing_leads_out() {
        let (scratch, project) = project();
        symlink("../canary", project.join(".hm/up")).unwrap();
        symlink("../../canary", project.join(".hm/further")).unwrap();
        symlink(scratch.path().join("canary"), project.join(".hm/absolute")).unwrap();
        symlink("/proc/self/environ", project.join(".hm/environ")).unwrap();
        symlink("/proc/self/cwd", project.join(".hm/cwd")).unwrap();
        symlink("..", project.join(".hm/sub/parent")).unwrap();
        symlink("../..", project.join(".hm/sub/grandparent")).unwrap();
        fs::write(project.join(".hm/file"), "fine").unwrap();
        assert_eq!(read(&project, "sub/parent/file").unwrap().as_deref(), Some(&b"fine"[..]));
        let absolute = scratch.path().join("canary").display().to_string();
        for path in [
            "",
            "..",
            "../canary",
            "sub/../../canary",
            "sub/../file",
            "/etc/passwd",
            &absolute,
            "up",
            "further",
        ]
        .into_iter()
        .chain(["absolute", "environ", "cwd/Cargo.toml", "sub/grandparent/canary"])
        {
            let result = read(&project, path);
            assert!(matches!(result, Err(ConfigFileError::Outside(_))), "{path}: {result:?}");
        }
        let other = scratch.path().join("other");
        fs::create_dir(&other).unwrap();
        symlink(&project, other.join(".hm")).unwrap();
        assert!(matches!(read(&other, "canary"), Err(ConfigFileError::Outside(_))), "a folder elsewhere");
        let third = scratch.path().join("third");
        fs::create_dir_all(third.join(".git")).unwrap();
        fs::write(third.join(".git/config"), "a token").unwrap();
        symlink(".git", third.join(".harmont")).unwrap();
        assert!(matches!(read(&third, "config"), Err(ConfigFileError::Outside(_))), "a folder of git's");
    }

    #[test]
    fn only_regular_files_of_that_size_are_read() {
        let (_scratch, project) = project();
        fs::write(project.join(".hm/larger"), vec![0; MAX + 1]).unwrap();
        symlink("loop", project.join(".hm/loop")).unwrap();
        let pipe = project.join(".hm/pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(project.join(".hm/socket")).unwrap();
        for path in ["larger", "loop", "pipe", "socket", "sub", ".", "both\0"] {
            let result = read(&project, path);
            assert!(matches!(result, Err(ConfigFileError::Read(_))), "{path}: {result:?}");
        }
    }

    #[test]
    fn who_swaps_links_while_we_read_gets_nothing_out() {
        let (scratch, project) = project();
        let (here, there) = (project.join(".hm/swapped"), project.join(".hm/next"));
        fs::write(project.join(".hm/fine"), "fine").unwrap();
        fs::write(&here, "fine").unwrap();
        let done = AtomicBool::new(false);
        let swap = || {
            for round in 0..100_000_u32 {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                match round % 4 {
                    0 => symlink(scratch.path().join("canary"), &there).unwrap(),
                    1 => symlink("../canary", &there).unwrap(),
                    2 => symlink("fine", &there).unwrap(),
                    _ => fs::hard_link(project.join(".hm/fine"), &there).unwrap(),
                }
                fs::rename(&there, &here).unwrap();
                // Of two names of one file, renaming leaves both.
                let _ = fs::remove_file(&there);
            }
            done.store(true, Ordering::Relaxed);
        };
        let mut seen = [0_u32; 2];
        std::thread::scope(|scope| {
            scope.spawn(swap);
            while !done.load(Ordering::Relaxed) && seen.iter().any(|count| *count < 1000) {
                match read(&project, "swapped") {
                    Ok(Some(bytes)) => {
                        assert_eq!(bytes, b"fine");
                        seen[0] += 1;
                    }
                    Ok(None) => panic!("it is there at every moment"),
                    Err(_) => seen[1] += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(seen.iter().all(|count| *count > 100), "both kinds were met: {seen:?}");
    }
}
