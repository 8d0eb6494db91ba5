//! Secrets in files, for machines without a keyring: a TOML file for each owner, that only the user can read. When
//! files are used is `keyring`'s affair.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hm_disk::{LockFile, PathError, cannot, read_regular, replace_file};
use serde::{Deserialize, Serialize};

/// Most bytes of one owner's file.
const MAX_FILE: usize = 1 << 20;

/// Whoever changes a file holds this one's lock. It cannot be an owner's: their names do not begin so.
const LOCK: &str = "_lock";

/// Error of a secret that cannot be read or kept. No secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// An error of the system.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Somebody else could have put it there.
    #[error("{} is not a directory of this user's alone", .0.display())]
    Foreign(PathBuf),
    /// The file is not ours, or broken; it is left as it is.
    #[error("{} is not what hm keeps secrets in; repair or remove it", .0.display())]
    Broken(PathBuf),
    /// The file would be larger than it may be.
    #[error("{} would be larger than {MAX_FILE} bytes", .0.display())]
    Full(PathBuf),
}

/// A directory with a file for each owner.
#[derive(Debug, Clone)]
pub(super) struct SecretFiles {
    directory: PathBuf,
}

/// Content of a file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    /// By service and account.
    #[serde(default)]
    entries: BTreeMap<String, BTreeMap<String, String>>,
}

impl SecretFiles {
    /// Files in this directory, which is made when something is kept.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// A secret of this owner, if there is one.
    pub(super) fn get(
        &self,
        owner: &str,
        service: &str,
        account: &str,
    ) -> Result<Option<String>, SecretFileError> {
        let mut secrets = read(&self.file(owner))?;
        Ok(secrets.entries.get_mut(service).and_then(|accounts| accounts.remove(account)))
    }

    /// Keeps a secret; none removes it. It is on the disk when this is over.
    pub(super) fn set(
        &self,
        owner: &str,
        service: &str,
        account: &str,
        secret: Option<&str>,
    ) -> Result<(), SecretFileError> {
        let path = self.file(owner);
        if secret.is_none() && !path.exists() {
            return Ok(());
        }
        self.prepare()?;
        let lock = LockFile::new(self.directory.join(LOCK));
        let _lock = lock.exclusive().map_err(|error| error.during("lock"))?;
        // Read under the lock, or what another process has kept since would be lost.
        let mut secrets = read(&path)?;
        let accounts = secrets.entries.entry(service.to_owned()).or_default();
        let before = match secret {
            Some(secret) => accounts.insert(account.to_owned(), secret.to_owned()),
            None => accounts.remove(account),
        };
        if before.as_deref() == secret {
            return Ok(());
        }
        secrets.entries.retain(|_, accounts| !accounts.is_empty());
        self.write(&path, &secrets)
    }

    fn file(&self, owner: &str) -> PathBuf {
        self.directory.join(format!("{owner}.toml"))
    }

    /// Makes the directory, for this user alone.
    fn prepare(&self) -> Result<(), SecretFileError> {
        let path = &self.directory;
        let failed = |error| cannot("make the directory", path)(error);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        // With its mode from the start: between making and changing it somebody could enter.
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e).into()),
            _ => {}
        }
        // It may have been there before, as anybody's link to anywhere.
        let there = path.symlink_metadata().map_err(failed)?;
        if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() {
            return Err(SecretFileError::Foreign(path.clone()));
        }
        if there.mode() & 0o077 != 0 {
            std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        }
        Ok(())
    }

    /// Replaces a file, whole or not at all.
    fn write(&self, path: &Path, secrets: &Secrets) -> Result<(), SecretFileError> {
        // Its errors could quote a secret.
        let text =
            toml::to_string(secrets).map_err(|_| cannot("write", path)(io::ErrorKind::InvalidData.into()))?;
        if text.len() > MAX_FILE {
            return Err(SecretFileError::Full(path.to_owned()));
        }
        Ok(replace_file(path, text.as_bytes())?)
    }
}

fn read(path: &Path) -> Result<Secrets, SecretFileError> {
    let bytes = match read_regular(path, MAX_FILE) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Secrets::default()),
        other => other.map_err(cannot("read", path))?,
    };
    // The parser's error would quote the line that it stumbled over.
    toml::from_slice(&bytes).map_err(|_| SecretFileError::Broken(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, SecretFiles) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = SecretFiles::new(dir.path().join("config/secrets"));
        (dir, files)
    }

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().expect("there").mode() & 0o7777
    }

    #[test]
    fn secrets_are_kept_by_owner_service_and_account_for_the_user_alone() {
        let (_dir, files) = files();
        assert_eq!(files.get("a", "s", "x").expect("readable"), None);
        files.set("a", "s", "x", None).expect("nothing to remove");
        assert!(!files.directory.exists(), "nothing is made for nothing");

        let odd = "line\n\"'[x]\u{1F600}\0\u{7f}";
        files.set("a", "s", "x", Some(odd)).expect("kept");
        files.set("a", "s", "y", Some("two")).expect("kept");
        files.set("b", "s", "x", Some("of another")).expect("kept");
        assert_eq!(files.get("a", "s", "x").expect("readable").as_deref(), Some(odd));
        assert_eq!(files.get("b", "s", "x").expect("readable").as_deref(), Some("of another"));
        assert_eq!(mode(&files.directory), 0o700);
        for name in ["a.toml", "b.toml", LOCK] {
            assert_eq!(mode(&files.directory.join(name)), 0o600, "{name}");
        }

        files.set("a", "s", "x", None).expect("removed");
        assert_eq!(files.get("a", "s", "x").expect("readable"), None);
        assert_eq!(files.get("a", "s", "y").expect("readable").as_deref(), Some("two"));
    }

    #[test]
    fn a_directory_that_others_can_read_is_closed_and_a_link_is_not_used() {
        let (dir, files) = files();
        std::fs::create_dir_all(&files.directory).expect("a directory");
        std::fs::set_permissions(&files.directory, Permissions::from_mode(0o755)).expect("changed");
        files.set("a", "s", "x", Some("secret")).expect("kept");
        assert_eq!(mode(&files.directory), 0o700);

        std::os::unix::fs::symlink(&files.directory, dir.path().join("link")).expect("a link");
        let linked = SecretFiles::new(dir.path().join("link"));
        assert!(matches!(linked.set("a", "s", "x", Some("y")), Err(SecretFileError::Foreign(_))));
    }

    #[test]
    fn a_broken_file_is_left_as_it_is_and_not_quoted() {
        let (_dir, files) = files();
        std::fs::create_dir_all(&files.directory).expect("a directory");
        let path = files.directory.join("a.toml");
        for text in ["[entries.s]\nx = hunter2", "entries = \"hunter2\"", "hunter2 = 1"] {
            std::fs::write(&path, text).expect("a file");
            for result in [files.get("a", "s", "x").map(drop), files.set("a", "s", "x", Some("y"))] {
                let error = result.expect_err("broken");
                assert!(matches!(error, SecretFileError::Broken(_)));
                assert!(!format!("{error} {error:?}").contains("hunter2"));
            }
            assert_eq!(std::fs::read_to_string(&path).expect("readable"), text);
        }
    }

    #[test]
    fn an_owner_can_fill_its_own_file_alone_and_only_so_far() {
        let (_dir, files) = files();
        let secret = "x".repeat(64 * 1024);
        let full = (0..100).map(|n| files.set("a", "s", &n.to_string(), Some(&secret))).find_map(Result::err);
        assert!(matches!(full, Some(SecretFileError::Full(_))), "{full:?}");
        assert_eq!(files.get("a", "s", "0").expect("readable").as_deref(), Some(&*secret));
        files.set("b", "s", "x", Some("y")).expect("there is room for another");
    }

    #[test]
    fn no_write_is_lost_when_many_write() {
        let (_dir, files) = files();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let files = &files;
                scope.spawn(move || {
                    for n in 0..10 {
                        files.set("a", "s", &format!("{thread}-{n}"), Some("x")).expect("kept");
                    }
                });
            }
        });
        let secrets = read(&files.file("a")).expect("readable");
        assert_eq!(secrets.entries["s"].len(), 80);
    }
}
