//! Files that git tracks, from its index: those are part of a project even where an ignore file names them. The index
//! is read as gitformat-index(5) has it, versions 2 to 4; of anything else, and of a damaged one, nothing is taken.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use hm_disk::read_regular;

/// Bytes in an index, at the most: about a million files.
const INDEX_MAX: usize = 128 << 20;

/// Bytes before the flags of an entry: times, device, inode, mode, owner, size and a SHA-1.
const BEFORE_FLAGS: usize = 60;
/// Offset of the mode in there.
const MODE: usize = 24;
/// The mode of another repository's commit, which is a directory here.
const SUBMODULE: u32 = 0o160_000;
/// The flag that says that two more bytes of flags follow.
const EXTENDED: u16 = 0x4000;

/// The tracked files of the repository whose top is `top`, relative to it.
pub(crate) fn tracked(top: &Path) -> Vec<PathBuf> {
    let index = read_regular(&top.join(".git/index"), INDEX_MAX).unwrap_or_default();
    parse(&index).unwrap_or_default()
}

fn parse(index: &[u8]) -> Option<Vec<PathBuf>> {
    let mut rest = index.strip_prefix(b"DIRC")?;
    let version = number(&mut rest)?;
    let count = number(&mut rest)?;
    if !(2..=4).contains(&version) {
        return None;
    }
    let mut paths = Vec::new();
    let mut previous = Vec::new();
    for _ in 0..count {
        let entry = rest;
        let mode = u32::from_be_bytes(*entry.get(MODE..)?.first_chunk()?);
        rest = entry.get(BEFORE_FLAGS..)?;
        let (flags, after) = rest.split_first_chunk::<2>()?;
        rest = after;
        if version >= 3 && u16::from_be_bytes(*flags) & EXTENDED != 0 {
            rest = rest.get(2..)?;
        }
        if version == 4 {
            // The end of the previous path is cut off, and this one's is added.
            let cut = offset(&mut rest)?;
            previous.truncate(previous.len().checked_sub(cut)?);
        } else {
            previous.clear();
        }
        let end = rest.iter().position(|&byte| byte == 0)?;
        previous.extend_from_slice(&rest[..end]);
        rest = if version == 4 {
            &rest[end + 1..]
        } else {
            // Entries are a multiple of eight bytes long, and end with one NUL at least.
            let length = entry.len() - rest.len() + end;
            entry.get((length / 8 + 1) * 8..)?
        };
        let path = Path::new(OsStr::from_bytes(&previous));
        let is_plain =
            path.components().all(|part| matches!(part, Component::Normal(name) if name != ".git"));
        if mode != SUBMODULE && is_plain {
            paths.push(path.to_owned());
        }
    }
    Some(paths)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

/// A number of seven bits a byte, the highest first, as in git's packs.
fn offset(bytes: &mut &[u8]) -> Option<usize> {
    let mut value: usize = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        value = value.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn every_version_that_git_writes_is_understood() {
        let scratch = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let ran = Command::new("git").args(arguments).current_dir(scratch.path()).output();
            ran.is_ok_and(|ran| ran.status.success())
        };
        if !hm_test_lab::installed(&["git"]) {
            return;
        }
        assert!(git(&["init", "--quiet"]));
        fs::write(scratch.path().join(".gitignore"), "*.log\n").unwrap();
        fs::create_dir_all(scratch.path().join("deep/er")).unwrap();
        let long = "x".repeat(200);
        let names = [".gitignore", "a", "a b\nc", "deep/er/file", "deep/er/file2", "kept.log", long.as_str()];
        for name in names {
            fs::write(scratch.path().join(name), "").unwrap();
            assert!(git(&["add", "--force", "--", name]));
        }
        for version in ["2", "3", "4"] {
            assert!(git(&["update-index", "--index-version", version]));
            let intends_more = version != "2";
            if intends_more {
                // Sets an extended flag, which version 2 does not have.
                assert!(git(&["update-index", "--skip-worktree", "a"]));
            }
            let expected: Vec<PathBuf> = names.map(PathBuf::from).into();
            assert_eq!(tracked(scratch.path()), expected, "version {version}");
        }
    }

    #[test]
    fn what_is_no_index_gives_nothing() {
        let mut index = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
        index.extend([0; 60]);
        index.extend(b"\0\x09../../etc");
        index.extend([0; 8]);
        assert_eq!(parse(&index), Some(Vec::new()), "nothing outside");
        for length in 0..index.len() {
            assert!(parse(&index[..length]).unwrap_or_default().is_empty());
        }
        assert_eq!(parse(b"DIRC\0\0\0\x05\0\0\0\x00"), None);
        let endless = [b"DIRC\0\0\0\x04\0\0\0\x01".as_slice(), &[0; 62], &[0xff; 100]].concat();
        assert_eq!(parse(&endless), None);
        assert!(tracked(Path::new("/nowhere")).is_empty());
    }
}
