//! One file of stored values: reading it, and replacing it so that a crash at any moment leaves the old or the new one.
//! What may be in it is decided above.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::values::{KvError, Values};
use hm_disk::{cannot, make_directory_synced, read_regular, replace_file};

/// Bytes in a file, at the most: more than the limits of values come to, since older hm had none.
const FILE_MAX: usize = 64 << 20;

/// Reads all values; none if there is no file. Needs no lock, since files are replaced whole.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub(super) fn read(path: &Path) -> Result<Values, KvError> {
    let bytes = match read_regular(path, FILE_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Values::default()),
        Err(error) => return Err(cannot("read", path)(error).into()),
    };
    let values = serde_json::from_slice(&bytes);
    values.map(Values).map_err(|source| KvError::Damaged { path: path.to_owned(), source })
}

/// Replaces the file. The caller has its lock.
///
/// # Errors
/// The system says no; then the old file is there, or all of the new one.
pub(super) fn write(path: &Path, values: &Values) -> Result<(), KvError> {
    let bytes = serde_json::to_vec(&values.0).map_err(|error| cannot("write", path)(error.into()))?;
    Ok(replace_file(path, &bytes)?)
}

/// Makes a directory, with all above it, so that it survives a crash too. Nobody else may look into it.
///
/// # Errors
/// The system says no.
pub(super) fn make_directory(path: &Path) -> Result<(), KvError> {
    match fs::metadata(path) {
        // An older hm made it for everybody.
        Ok(about) if about.is_dir() && about.permissions().mode() & 0o077 != 0 => {
            Ok(fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(cannot("create", path))?)
        }
        Ok(_) => Ok(()),
        Err(_) => Ok(make_directory_synced(path)?),
    }
}

#[cfg(test)]
mod tests {
    use hm_disk::{LockFile, PathError};

    use super::*;
    use crate::backend::kv::StoredValues;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn what_hm_0_0_1_wrote_is_read_and_kept_private_from_then_on() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("state");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let path = directory.join("cloud.kv");
        fs::write(&path, r#"{"active_org":[97,99,109,101],"empty":[]}"#).unwrap();
        let kept = StoredValues::new(directory.clone());
        assert_eq!(kept.get("cloud", "active_org").await.unwrap().as_deref(), Some(&b"acme"[..]));
        assert_eq!(kept.get("cloud", "empty").await.unwrap().as_deref(), Some(&b""[..]));
        kept.set("cloud", "b", vec![0, 255]).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"active_org":[97,99,109,101],"b":[0,255],"empty":[]}"#);
        assert_eq!(
            (mode(&directory), mode(&path), mode(&directory.join("cloud.lock"))),
            (0o700, 0o600, 0o600)
        );
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "nothing else is left");
    }

    #[tokio::test]
    async fn a_damaged_file_is_named_and_stays_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = StoredValues::new(scratch.path().to_owned());
        let path = scratch.path().join("p.kv");
        for damage in ["", "{\"a\":[1", "[]", "{\"a\":[256]}", "{\"a\":\"text\"}", "{}{}"] {
            fs::write(&path, damage).unwrap();
            for result in [kept.get("p", "a").await.map(drop), kept.set("p", "a", vec![2]).await] {
                let error = result.unwrap_err();
                assert!(matches!(error, KvError::Damaged { .. }), "{damage}: {error}");
                assert!(error.to_string().contains("p.kv"), "{error}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), damage);
        }
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        assert!(matches!(kept.get("p", "a").await, Err(KvError::Io(PathError { what: "read", .. }))));
    }

    #[tokio::test]
    async fn who_waits_for_a_lock_can_be_called_off() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = StoredValues::new(scratch.path().to_owned());
        let lock = LockFile::new(scratch.path().join("p.lock")).exclusive().unwrap();
        let waiting = kept.set("p", "k", vec![1]);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(100), waiting).await.is_err());
        assert_eq!(kept.get("p", "k").await.unwrap(), None, "reading does not wait");
        kept.set("q", "k", vec![1]).await.unwrap();
        drop(lock);
        kept.set("p", "k", vec![2]).await.unwrap();
        assert_eq!(kept.get("p", "k").await.unwrap(), Some(vec![2]));
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_an_error_and_a_crash_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        let kept = StoredValues::new(scratch.path().join("file/state"));
        let error = kept.set("p", "k", vec![1]).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot create "), "{error}");
        let kept = StoredValues::new(scratch.path().join("state"));
        kept.set("p", "k", vec![1]).await.unwrap();
        fs::write(scratch.path().join("state/p.kv.new"), "{\"half").unwrap();
        kept.set("p", "k", vec![2]).await.unwrap();
        assert_eq!(kept.get("p", "k").await.unwrap(), Some(vec![2]));
    }
}
