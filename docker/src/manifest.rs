//! Manifests of trees of files, and their differences. Of a file, a manifest has its content and its mode, of a
//! directory its mode, of a link where it leads; times and owners are nothing. What steps have changed on top is the
//! affair of `changes`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hm_disk::{cannot, open_regular};
use hm_workspace::WorkspaceError;
use hm_workspace::content::Content;

/// First bytes of a written manifest.
const FIRST: &[u8] = b"hm tree 2\n";

/// Beginning of a name that says in a layer of an image that something below it is gone.
pub(crate) const MARK: &[u8] = b".wh.";

/// Bits of a mode that say who may do what.
const MODE: u32 = 0o777;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// Thing at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory { mode: u32 },
    File { mode: u32, sha256: String },
    Link { to: Vec<u8> },
}

/// Content of a tree, by path. Paths are relative, in bytes, and without a `/` at their end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest(BTreeMap<Vec<u8>, Kind>);

/// Steps from one tree to another: removals first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Paths that are not there any more, or are a directory on one side only; with whether they were one.
    pub(crate) gone: BTreeMap<Vec<u8>, bool>,
    /// Paths that are new or have changed. New directories are among them, what is in them as well.
    pub(crate) put: BTreeSet<Vec<u8>>,
    /// Those of them that were not there in any form.
    pub(crate) new: BTreeSet<Vec<u8>>,
}

impl Manifest {
    /// Reads a tree that nobody changes meanwhile: directories, regular files, and links, which are not followed.
    /// Blocks.
    ///
    /// # Errors
    /// Something cannot be read.
    pub(crate) fn of(tree: &Path) -> Result<Self, WorkspaceError> {
        let mut all = BTreeMap::new();
        // No recursion: how deep a tree is, is not ours to say.
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            let full = tree.join(&directory);
            for entry in fs::read_dir(&full).map_err(unreadable(&full))? {
                let name = entry.map_err(unreadable(&full))?.file_name();
                let (path, at) = (directory.join(&name), full.join(&name));
                let about = fs::symlink_metadata(&at).map_err(unreadable(&at))?;
                let mode = about.permissions().mode() & MODE;
                let kind = if about.is_dir() {
                    open.push(path.clone());
                    Kind::Directory { mode }
                } else if about.is_symlink() {
                    let to = fs::read_link(&at).map_err(unreadable(&at))?;
                    Kind::Link { to: to.into_os_string().as_bytes().to_vec() }
                } else if about.is_file() {
                    let content = open_regular(&at).and_then(Content::of).map_err(unreadable(&at))?;
                    Kind::File { mode, sha256: content.sha256 }
                } else {
                    continue;
                };
                all.insert(path.as_os_str().as_bytes().to_vec(), kind);
            }
        }
        Ok(Self(all))
    }

    /// True if it has a directory there. Its top is one.
    pub(crate) fn has_directory(&self, path: &[u8]) -> bool {
        path.is_empty() || self.0.get(path).is_some_and(Kind::is_directory)
    }

    /// Difference between this and `now`.
    pub(crate) fn difference(&self, now: &Self) -> Difference {
        let mut difference = Difference::default();
        for (path, was) in &self.0 {
            let was_directory = was.is_directory();
            let stays = now.0.get(path).is_some_and(|is| is.is_directory() == was_directory);
            if !stays {
                difference.gone.insert(path.clone(), was_directory);
            }
        }
        let changed = now.0.iter().filter(|(path, is)| self.0.get(*path) != Some(is));
        difference.put.extend(changed.map(|(path, _)| path.clone()));
        difference.new.extend(difference.put.iter().filter(|path| !self.0.contains_key(*path)).cloned());
        difference
    }

    /// Writes it so that [`read`](Self::read) knows it again.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn write(&self, to: impl Write) -> io::Result<()> {
        let mut bytes = FIRST.to_vec();
        for (path, kind) in &self.0 {
            match kind {
                Kind::Directory { mode } => write!(bytes, "d{mode:03o}")?,
                Kind::File { mode, sha256 } => write!(bytes, "f{mode:03o}{sha256}")?,
                Kind::Link { to } => {
                    bytes.push(b'l');
                    bytes.extend(to);
                    bytes.push(0);
                }
            }
            bytes.extend(path);
            bytes.push(0);
        }
        seal(bytes, to)
    }

    /// None if these are not the bytes that were written, all of them.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut all = BTreeMap::new();
        let mut parts = unseal(bytes, FIRST)?;
        while let Some(part) = parts.next() {
            let (&letter, rest) = part.split_first()?;
            let (kind, path) = match letter {
                b'd' => {
                    let (mode, path) = mode(rest)?;
                    (Kind::Directory { mode }, path)
                }
                b'f' => {
                    let (mode, rest) = mode(rest)?;
                    let (digest, path) = rest.split_at_checked(DIGITS)?;
                    let sha256 = String::from_utf8(digest.to_vec()).ok()?;
                    (Kind::File { mode, sha256 }, path)
                }
                b'l' => (Kind::Link { to: rest.to_vec() }, parts.next()?),
                _ => return None,
            };
            all.insert(path.to_vec(), kind);
        }
        Some(Self(all))
    }
}

/// A mode, as it is written, and what follows.
fn mode(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(3)?;
    let mode = u32::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()?;
    Some((mode, rest))
}

impl Kind {
    fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

impl Difference {
    /// True if nothing has to happen.
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.put.is_empty()
    }
}

/// Something in a tree that no layer of an image can have, since its name would mark something else as gone; relative
/// to the tree. Blocks.
///
/// # Errors
/// Something cannot be read.
pub(crate) fn marked(tree: &Path) -> Result<Option<PathBuf>, WorkspaceError> {
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let full = tree.join(&directory);
        for entry in fs::read_dir(&full).map_err(unreadable(&full))? {
            let entry = entry.map_err(unreadable(&full))?;
            let path = directory.join(entry.file_name());
            if entry.file_name().as_bytes().starts_with(MARK) {
                return Ok(Some(path));
            }
            if entry.file_type().map_err(unreadable(&full))?.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(None)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError {
    let path = path.to_owned();
    |error| cannot("read", path)(error).into()
}

/// Writes parts, each of which ends with a NUL, and behind them their digest, which damage cannot have.
pub(crate) fn seal(mut parts: Vec<u8>, mut to: impl Write) -> io::Result<()> {
    let digest = Content::of(parts.as_slice())?.sha256;
    parts.extend(digest.as_bytes());
    to.write_all(&parts)
}

/// The parts, if they are whole and begin with `first`.
pub(crate) fn unseal<'a>(bytes: &'a [u8], first: &[u8]) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
    let (parts, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGITS)?)?;
    let parts = (Content::of(parts).ok()?.sha256.as_bytes() == digest).then_some(parts)?;
    let parts = parts.strip_prefix(first)?;
    Some(parts.split_inclusive(|&byte| byte == 0).map(|part| part.strip_suffix(b"\0").unwrap_or(part)))
}

/// The path that these bytes are.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Every kind, with names as nobody wants them.
    fn fill(tree: &Path) {
        fs::create_dir_all(tree.join("sub/empty")).unwrap();
        let long = "l".repeat(250);
        fs::create_dir_all(tree.join(&long).join(&long)).unwrap();
        for name in [&b"file"[..], b"sub/run", b"sub.txt", b" \n\t'\"\\", b"\xff\xfe", "ä".as_bytes()] {
            fs::write(tree.join(as_path(name)), name).unwrap();
        }
        fs::set_permissions(tree.join("sub/run"), Permissions::from_mode(0o755)).unwrap();
        symlink(OsStr::from_bytes(b"../\xff\n"), tree.join("sub/link")).unwrap();
        symlink("sub", tree.join("round")).unwrap();
    }

    fn written(manifest: &Manifest) -> Vec<u8> {
        let mut bytes = Vec::new();
        manifest.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_manifest_survives_writing_and_shows_any_damage() {
        let tree = tempfile::tempdir().unwrap();
        fill(tree.path());
        let manifest = Manifest::of(tree.path()).unwrap();
        assert_eq!(manifest.0.len(), 12, "{manifest:?}");
        let mut bytes = written(&manifest);
        assert_eq!(Manifest::read(&bytes).as_ref(), Some(&manifest));
        for end in 0..bytes.len() {
            assert_eq!(Manifest::read(&bytes[..end]), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(Manifest::read(&bytes), None, "damaged at {at}");
            bytes[at] ^= 1;
        }
        let empty = Manifest::default();
        assert_eq!(Manifest::read(&written(&empty)), Some(empty));
        assert!(manifest.has_directory(b"") && manifest.has_directory(b"sub/empty"));
        assert!(!manifest.has_directory(b"round") && !manifest.has_directory(b"file"));
    }

    #[test]
    fn times_are_nothing_and_contents_and_modes_are() {
        let tree = tempfile::tempdir().unwrap();
        fill(tree.path());
        let before = Manifest::of(tree.path()).unwrap();
        fs::write(tree.path().join("sub.txt"), "sub.txt").unwrap();
        assert!(before.difference(&Manifest::of(tree.path()).unwrap()).is_empty());
        // Of the same length, so that no look at it from outside would do.
        fs::write(tree.path().join("sub.txt"), "SUB.txt").unwrap();
        fs::set_permissions(tree.path().join("file"), Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(tree.path().join("sub"), Permissions::from_mode(0o700)).unwrap();
        let difference = before.difference(&Manifest::of(tree.path()).unwrap());
        assert_eq!(difference.put, BTreeSet::from([&b"file"[..], b"sub.txt", b"sub"].map(<[u8]>::to_vec)));
        assert!(difference.gone.is_empty());
    }

    #[test]
    fn names_that_mark_what_is_gone_are_found_wherever_they_are() {
        let tree = tempfile::tempdir().unwrap();
        fill(tree.path());
        for name in [".wh", ".who", "a.wh.b", "sub/.whatever"] {
            fs::write(tree.path().join(name), "").unwrap();
        }
        assert_eq!(marked(tree.path()).unwrap(), None);
        for name in ["sub/empty/.wh.x", "sub/.wh..wh..opq", ".wh."] {
            let at = tree.path().join(name);
            fs::create_dir(&at).unwrap();
            assert_eq!(marked(tree.path()).unwrap().as_deref(), Some(Path::new(name)));
            fs::remove_dir(&at).unwrap();
            symlink("x", &at).unwrap();
            assert_eq!(marked(tree.path()).unwrap().as_deref(), Some(Path::new(name)));
            fs::remove_file(at).unwrap();
        }
    }

    #[test]
    fn a_difference_says_what_goes_and_what_comes() {
        let tree = tempfile::tempdir().unwrap();
        fill(tree.path());
        let at = |path: &str| tree.path().join(path);
        let before = Manifest::of(tree.path()).unwrap();
        fs::remove_dir_all(at("sub")).unwrap();
        fs::write(at("sub"), "now a file").unwrap();
        fs::remove_file(at("file")).unwrap();
        fs::create_dir_all(at("file/new")).unwrap();
        fs::remove_file(at("round")).unwrap();
        symlink("file", at("round")).unwrap();
        let now = Manifest::of(tree.path()).unwrap();
        let difference = before.difference(&now);
        let gone: Vec<_> = difference.gone.iter().map(|(path, was)| (path.as_slice(), *was)).collect();
        let expected: [(&[u8], bool); 5] = [
            (b"file", false),
            (b"sub", true),
            (b"sub/empty", true),
            (b"sub/link", false),
            (b"sub/run", false),
        ];
        assert_eq!(gone, expected);
        let put: Vec<_> = difference.put.iter().map(Vec::as_slice).collect();
        assert_eq!(put, [&b"file"[..], b"file/new", b"round", b"sub"]);
        assert_eq!(difference.new, BTreeSet::from([b"file/new".to_vec()]));
        assert!(now.difference(&now).is_empty());
    }
}
