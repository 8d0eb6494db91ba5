//! Manifest of a snapshot: for each path, the `stat` fields that tell whether the file is still the same. Kept beside
//! the snapshot, in a format of our own that any file name fits into.

use std::{
    ffi::OsStr,
    fs::Metadata,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Kind of thing at a path. Of other things there is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
}

/// One path of a snapshot. Equal entries are the same file, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// Below the project's directory. The first field, so that entries sort with a directory before its contents.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Mode, size, device, inode, and seconds and nanoseconds of the modification and of the last change of any
    /// kind: the latter cannot be put back by whoever puts back the former. Of a directory, only the mode counts.
    fields: [i128; 8],
}

/// A snapshot's entries, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StatManifest {
    pub(crate) entries: Vec<Entry>,
}

impl Entry {
    /// None for devices, sockets and pipes.
    pub(crate) fn new(path: &Path, about: &Metadata) -> Option<Self> {
        let kind = if about.is_dir() {
            Kind::Directory
        } else if about.is_file() {
            Kind::File
        } else if about.is_symlink() {
            Kind::Link
        } else {
            return None;
        };
        let mut fields = [0; 8];
        fields[0] = i128::from(about.mode());
        if kind != Kind::Directory {
            fields[1..].copy_from_slice(&[
                i128::from(about.size()),
                i128::from(about.dev()),
                i128::from(about.ino()),
                i128::from(about.mtime()),
                i128::from(about.mtime_nsec()),
                i128::from(about.ctime()),
                i128::from(about.ctime_nsec()),
            ]);
        }
        Some(Self { path: path.to_owned(), kind, fields })
    }

    /// Makes it equal to no file there is.
    pub(crate) fn distrust(&mut self) {
        self.fields[3] = -1;
    }

    /// True if both were the same file, changed or not.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.fields[2..4] == other.fields[2..4]
    }

    /// True if the file was changed, in whatever way, after a point in time.
    pub(crate) fn changed_after(&self, time: SystemTime) -> bool {
        let Ok(limit) = time.duration_since(SystemTime::UNIX_EPOCH) else { return true };
        let limit = (i128::from(limit.as_secs()), i128::from(limit.subsec_nanos()));
        let [.., modified, modified_nanos, changed, changed_nanos] = self.fields;
        (modified, modified_nanos) > limit || (changed, changed_nanos) > limit
    }
}

impl StatManifest {
    /// One record per entry: a letter and numbers, separated by blanks, the path, a NUL.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.push(match entry.kind {
                Kind::Directory => b'd',
                Kind::File => b'f',
                Kind::Link => b'l',
            });
            for field in entry.fields {
                bytes.extend(format!(" {field}").bytes());
            }
            bytes.push(b' ');
            bytes.extend(entry.path.as_os_str().as_bytes());
            bytes.push(0);
        }
        // What a write that was cut short cannot have.
        bytes.extend(b"end");
        bytes
    }

    /// None if it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let records = bytes
            .strip_suffix(b"\0end")
            .map_or_else(|| (bytes == b"end").then_some(None), |rest| Some(Some(rest)))?;
        let entries: Option<Vec<_>> =
            records.into_iter().flat_map(|all| all.split(|&byte| byte == 0)).map(record).collect();
        entries.filter(|entries| entries.is_sorted()).map(|entries| Self { entries })
    }
}

fn record(bytes: &[u8]) -> Option<Entry> {
    let mut parts = bytes.splitn(10, |&byte| byte == b' ');
    let kind = match parts.next()? {
        b"d" => Kind::Directory,
        b"f" => Kind::File,
        b"l" => Kind::Link,
        _ => return None,
    };
    let mut fields = [0; 8];
    for field in &mut fields {
        *field = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    }
    Some(Entry { kind, fields, path: PathBuf::from(OsStr::from_bytes(parts.next()?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_encoding_and_shows_damage() {
        let entry = |path: &[u8], kind| Entry {
            path: PathBuf::from(OsStr::from_bytes(path)),
            kind,
            fields: [0o100_644, 1, 2, i128::from(u64::MAX), -4, 5, 6, 7],
        };
        let manifest = StatManifest {
            entries: vec![
                entry(b"a", Kind::Directory),
                entry(b"a/ b\n\xff", Kind::File),
                entry(b"c", Kind::Link),
            ],
        };
        let bytes = manifest.encode();
        assert_eq!(StatManifest::decode(&bytes).as_ref(), Some(&manifest));
        for end in 0..bytes.len() {
            assert_eq!(StatManifest::decode(&bytes[..end]), None, "cut at {end}");
        }
        let empty = StatManifest { entries: Vec::new() };
        assert_eq!(StatManifest::decode(&empty.encode()), Some(empty));
    }
}
