//! The lock file: which plugins the user has let in, each by the digest of its bytes, and what it was granted. A
//! project has one of the same form, which pins its plugins. When it is written, and what follows from it, is not
//! decided here.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use hm_disk::{PathError, cannot, read_regular, read_regular_below, replace_file};
use hm_plugin_protocol::PluginManifest;
use serde::{Deserialize, Serialize};

use super::manifest::is_name;
use crate::host_functions::Grants;

/// The name of the file.
pub(super) const LOCK_FILE: &str = "plugins.lock";

/// A lock file larger than this is none.
const MAX_BYTES: usize = 4 << 20;

/// Comment at the beginning of the user's file.
const HEADER: &str = "# Written by `hm plugin install` and `hm plugin trust`: what each plugin was granted, by the digest of its bytes.\n";

/// The entries of a lock file, sorted by name and digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginLock {
    /// One for each digest.
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    entries: Vec<LockEntry>,
}

/// One plugin, in one version, byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockEntry {
    /// Name in its manifest.
    pub name: String,
    /// Version in its manifest.
    #[serde(default)]
    pub version: String,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Place that it came from: a path, or a URL without its query.
    #[serde(default)]
    pub origin: String,
    /// True if it was put into the user's plugin directory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub installed: bool,
    /// True if it may run as a plugin of a project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trusted: bool,
    /// Things that it provides, such as `runner x`.
    #[serde(default)]
    pub provides: BTreeSet<String>,
    /// The host functions that were granted.
    #[serde(default)]
    pub functions: BTreeSet<String>,
    /// The entries of its `allowed_hosts` that were granted.
    #[serde(default)]
    pub reach: BTreeSet<String>,
    /// Grants by name, for things that it did not ask for.
    #[serde(default)]
    pub by_name: BTreeSet<String>,
}

/// Error of a lock file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// It, or what belongs to it, cannot be read or written.
    #[error(transparent)]
    Io(#[from] PathError),
    /// It is not of the form of a lock file.
    #[error("{} is not a lock file of plugins", path.display())]
    Form { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// Another `hm` has changed it since the user agreed to something.
    #[error("plugin {name} was changed by another hm in the meantime; nothing was done")]
    Changed { name: String },
}

impl PluginLock {
    /// Reads a lock file; one that is not there has no entries.
    ///
    /// # Errors
    /// [`LockError`], which names the file.
    pub(crate) fn read(path: &Path) -> Result<Self, LockError> {
        Self::parse(path, read_regular(path, MAX_BYTES))
    }

    /// Reads the one of a project, in a directory of it.
    ///
    /// # Errors
    /// [`LockError`], which names the file.
    pub(crate) fn read_in(project: &Path, folder: &str) -> Result<(PathBuf, Self), LockError> {
        let below = Path::new(folder).join(LOCK_FILE);
        let path = project.join(&below);
        let lock = Self::parse(&path, read_regular_below(project, &below, MAX_BYTES))?;
        Ok((path, lock))
    }

    fn parse(path: &Path, read: io::Result<Vec<u8>>) -> Result<Self, LockError> {
        let text = match read {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(cannot("read", path)(error).into()),
        };
        let form = |source| LockError::Form { path: path.into(), source };
        let mut lock: Self = toml::from_slice(&text).map_err(|error| form(error.into()))?;
        lock.sort();
        lock.check().map_err(|reason| form(reason.into()))?;
        Ok(lock)
    }

    /// Writes it: sorted, and so that a reader sees the old file or the new one.
    pub(super) fn write(&mut self, path: &Path) -> Result<(), LockError> {
        self.sort();
        let form = |error: toml::ser::Error| LockError::Form { path: path.into(), source: error.into() };
        let text = format!("{HEADER}{}", toml::to_string(self).map_err(form)?);
        Ok(replace_file(path, text.as_bytes())?)
    }

    /// The entry of these bytes.
    #[must_use]
    pub(crate) fn of(&self, digest: &str) -> Option<&LockEntry> {
        self.entries.iter().find(|entry| entry.sha256 == digest)
    }

    /// The entries of this name.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a LockEntry> {
        self.entries.iter().filter(move |entry| entry.name == name)
    }

    /// The entry of the plugin of this name in the user's directory. Where the program died while it replaced one there
    /// are two; then the first.
    #[must_use]
    pub(crate) fn installed(&self, name: &str) -> Option<&LockEntry> {
        self.entries.iter().find(|entry| entry.installed && entry.name == name)
    }

    /// Puts an entry in the place of that with the same digest.
    pub(super) fn put(&mut self, new: LockEntry) {
        self.entries.retain(|entry| entry.sha256 != new.sha256);
        self.entries.push(new);
    }

    /// Changes all entries; those for which `keep` answers false are removed.
    pub(super) fn retain(&mut self, keep: impl FnMut(&mut LockEntry) -> bool) {
        self.entries.retain_mut(keep);
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| (&a.name, &a.sha256).cmp(&(&b.name, &b.sha256)));
    }

    fn check(&self) -> Result<(), String> {
        let mut digests = BTreeSet::new();
        for LockEntry { name, sha256, .. } in &self.entries {
            if !is_name(name) {
                return Err(format!("{name:?} is not the name of a plugin"));
            }
            if !is_digest(sha256) {
                return Err(format!("plugin {name}: {sha256:?} is not a SHA-256 in lower-case hexadecimal"));
            }
            if !digests.insert(sha256) {
                return Err(format!("plugin {name}: there are two entries with the digest {sha256}"));
            }
        }
        Ok(())
    }
}

impl LockEntry {
    /// An entry that grants a plugin all that its manifest asks for.
    #[must_use]
    pub(crate) fn new(manifest: &PluginManifest, sha256: String, origin: String) -> Self {
        let Grants { functions, reach, by_name } = Grants::all_of(manifest);
        Self {
            name: manifest.name.clone(),
            version: manifest.version.to_string(),
            sha256,
            origin,
            provides: manifest.capabilities.iter().map(super::provided).collect(),
            functions,
            reach,
            by_name,
            ..Self::default()
        }
    }

    /// The grants of this entry.
    #[must_use]
    pub(crate) fn grants(&self) -> Grants {
        let Self { functions, reach, by_name, .. } = self;
        Grants { functions: functions.clone(), reach: reach.clone(), by_name: by_name.clone() }
    }

    /// The grants of this entry, as far as `other` grants them too.
    #[must_use]
    pub(crate) fn grants_within(&self, other: &Self) -> Grants {
        let both = |a: &BTreeSet<String>, b: &BTreeSet<String>| a & b;
        Grants {
            functions: both(&self.functions, &other.functions),
            reach: both(&self.reach, &other.reach),
            by_name: both(&self.by_name, &other.by_name),
        }
    }
}

/// True if a text is a SHA-256 as this program writes it.
#[must_use]
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, digit: char) -> LockEntry {
        LockEntry { name: name.into(), sha256: String::from(digit).repeat(64), ..LockEntry::default() }
    }

    fn read(text: &str) -> Result<PluginLock, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(LOCK_FILE);
        std::fs::write(&path, text).expect("a file");
        PluginLock::read(&path)
            .map_err(|error| hm_disk::one_line(&error).replace(path.to_str().expect("UTF-8"), "F"))
    }

    #[test]
    fn what_is_written_is_read_sorted_and_one_for_each_digest() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(LOCK_FILE);
        assert_eq!(PluginLock::read(&path).expect("none"), PluginLock::default());
        let mut lock = PluginLock::default();
        let first = LockEntry {
            installed: true,
            functions: ["hm_log".to_owned()].into(),
            reach: ["a.example".to_owned()].into(),
            by_name: ["keyring:x".to_owned()].into(),
            ..entry("b", '1')
        };
        for new in [entry("b", '2'), first.clone(), entry("a", '3'), entry("b", '2')] {
            lock.put(new);
        }
        lock.write(&path).expect("written");
        let read = PluginLock::read(&path).expect("readable");
        assert_eq!(read, lock);
        let order: Vec<&str> = read.entries.iter().map(|e| &e.sha256[..1]).collect();
        assert_eq!(order, ["3", "1", "2"]);
        assert_eq!(read.installed("b"), Some(&first));
        assert_eq!(read.installed("a"), None);
        assert_eq!(read.of(&"2".repeat(64)).map(|e| e.name.as_str()), Some("b"));
    }

    #[test]
    fn files_that_are_no_lock_files_are_refused() {
        let digest = "a".repeat(64);
        assert!(read(&format!("[[plugin]]\nname = \"x\"\nsha256 = \"{digest}\"\n")).is_ok());
        for (text, expected) in [
            ("]".to_owned(), "F is not a lock file of plugins: "),
            ("grants = 1\n".to_owned(), "unknown field `grants`"),
            ("[[plugin]]\nname = \"x\"\n".to_owned(), "missing field `sha256`"),
            (
                format!("[[plugin]]\nname = \"../x\"\nsha256 = \"{digest}\"\n"),
                "\"../x\" is not the name of a plugin",
            ),
            ("[[plugin]]\nname = \"x\"\nsha256 = \"AB\"\n".to_owned(), "plugin x: \"AB\" is not a SHA-256"),
            (
                format!("[[plugin]]\nname = \"x\"\nsha256 = \"{digest}\"\n").repeat(2),
                "two entries with the digest",
            ),
        ] {
            let error = read(&text).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }
}
