//! The person's keyring: the system's own where there is one, files of ours where there is none. Whose entries a plugin
//! may use is the sandbox's business, which lies above.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::secret_files::{SecretFileError, SecretFiles};

/// The owner of entries that belong to no plugin, as a file name. No plugin can be called so.
const EVERYBODY: &str = "_everybody";

/// Failure of the keyring. No secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Nothing was set up.
    #[error("there is no keyring")]
    None,
    /// An error of the system's keyring, in its words.
    #[error("the keyring of this system failed: {0}")]
    Service(String),
    /// The entry was made by another program.
    #[error("the entry in the keyring is not text")]
    NotText,
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// Owner of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The plugin of this name, which no other can be mistaken for.
    Plugin(Arc<str>),
    /// Any program of this user.
    Everybody,
}

/// Name of a secret in the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub owner: Owner,
    /// Purpose of the secret.
    pub service: String,
    /// One of the secrets of that service.
    pub account: String,
}

/// The keyring. Which one it is shows at its first use, and stays so. The default has none.
#[derive(Debug, Default)]
pub struct Keyring {
    /// One use at a time. Whoever waits for the system's keyring, which may itself wait for the person, waits without a
    /// thread.
    store: Arc<tokio::sync::Mutex<Store>>,
    notice: Arc<Mutex<Option<PathBuf>>>,
}

#[derive(Debug, Default)]
enum Store {
    #[default]
    None,
    /// The system's if there is one, else files in this directory.
    Undecided(PathBuf),
    System,
    Files(SecretFiles),
}

impl Keyring {
    /// The system's keyring, or files in this directory if there is none.
    #[must_use]
    pub fn of_system(directory: PathBuf) -> Self {
        Self::with(Store::Undecided(directory))
    }

    /// Files in this directory, whatever else there is.
    #[must_use]
    pub fn in_files(directory: PathBuf) -> Self {
        Self::with(Store::Files(SecretFiles::new(directory)))
    }

    fn with(store: Store) -> Self {
        Self { store: Arc::new(tokio::sync::Mutex::new(store)), notice: Arc::default() }
    }

    /// A secret, if there is one.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub async fn get(&self, entry: Entry) -> Result<Option<String>, KeyringError> {
        self.act(move |store| match store {
            Store::Files(files) => Ok(files.get(entry.owner.file(), &entry.service, &entry.account)?),
            _ => missing(system(&entry)?.get_password()),
        })
        .await
    }

    /// Keeps a secret.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub async fn set(&self, entry: Entry, secret: String) -> Result<(), KeyringError> {
        self.act(move |store| match store {
            Store::Files(files) => {
                Ok(files.set(entry.owner.file(), &entry.service, &entry.account, Some(&secret))?)
            }
            _ => system(&entry)?.set_password(&secret).map_err(failed),
        })
        .await
    }

    /// Removes a secret, if it is there.
    ///
    /// # Errors
    /// [`KeyringError`]
    pub async fn delete(&self, entry: Entry) -> Result<(), KeyringError> {
        self.act(move |store| match store {
            Store::Files(files) => Ok(files.set(entry.owner.file(), &entry.service, &entry.account, None)?),
            _ => missing(system(&entry)?.delete_credential()).map(|_| ()),
        })
        .await
    }

    /// Directory of the secret files, if there is no keyring; only once, so that it can be said once.
    pub fn notice(&self) -> Option<PathBuf> {
        self.notice.lock().take()
    }

    /// Does what may block, on a thread where it may. If the system's keyring hangs, it keeps that one thread and no
    /// more.
    async fn act<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Store) -> Result<T, KeyringError> + Send + 'static,
    ) -> Result<T, KeyringError> {
        // The turn is waited for here and not on the thread below, or each call behind one that hangs would keep a
        // thread.
        let (mut store, notice) = (self.store.clone().lock_owned().await, self.notice.clone());
        let done = tokio::task::spawn_blocking(move || {
            if let Store::Undecided(directory) = &*store {
                *store = if keyring::Entry::store_status().is_ok() {
                    Store::System
                } else {
                    *notice.lock() = Some(directory.clone());
                    Store::Files(SecretFiles::new(directory.clone()))
                };
            }
            if matches!(*store, Store::None) { Err(KeyringError::None) } else { action(&store) }
        });
        done.await.unwrap_or_else(|_| Err(KeyringError::Service("it broke off".into())))
    }
}

impl Owner {
    /// The name of its file.
    fn file(&self) -> &str {
        match self {
            Self::Plugin(name) => name,
            Self::Everybody => EVERYBODY,
        }
    }
}

/// An entry of the system's keyring.
fn system(entry: &Entry) -> Result<keyring::Entry, KeyringError> {
    let service = match &entry.owner {
        // No name of a plugin has a slash in it, so that no two of these are the same.
        Owner::Plugin(name) => format!("hm/{name}/{}", entry.service),
        Owner::Everybody => entry.service.clone(),
    };
    keyring::Entry::new(&service, &entry.account).map_err(failed)
}

fn missing<T>(result: keyring::Result<T>) -> Result<Option<T>, KeyringError> {
    match result {
        Err(keyring::Error::NoEntry) => Ok(None),
        other => other.map(Some).map_err(failed),
    }
}

/// Words of the keyring, without the secret that it holds.
fn failed(error: keyring::Error) -> KeyringError {
    match error {
        keyring::Error::BadEncoding(_) | keyring::Error::BadDataFormat(..) => KeyringError::NotText,
        other => KeyringError::Service(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(owner: Owner) -> Entry {
        Entry { owner, service: "s".into(), account: "a".into() }
    }

    #[tokio::test]
    async fn owners_are_kept_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let keyring = Keyring::in_files(dir.path().join("secrets"));
        let owners = [Owner::Plugin("one".into()), Owner::Plugin("two".into()), Owner::Everybody];
        for (number, owner) in owners.iter().enumerate() {
            assert_eq!(keyring.get(entry(owner.clone())).await.expect("readable"), None, "{owner:?}");
            keyring.set(entry(owner.clone()), number.to_string()).await.expect("kept");
        }
        for (number, owner) in owners.iter().enumerate() {
            assert_eq!(keyring.get(entry(owner.clone())).await.expect("readable"), Some(number.to_string()));
        }
        keyring.delete(entry(owners[0].clone())).await.expect("removed");
        keyring.delete(entry(owners[0].clone())).await.expect("removed already");
        assert_eq!(keyring.get(entry(owners[0].clone())).await.expect("readable"), None);
        assert_eq!(keyring.get(entry(owners[1].clone())).await.expect("readable"), Some("1".into()));
        assert_eq!(keyring.notice(), None, "nothing is missing");
    }

    #[tokio::test]
    async fn without_a_place_there_is_no_keyring() {
        let error = Keyring::default().get(entry(Owner::Everybody)).await.expect_err("none");
        assert!(matches!(error, KeyringError::None));
    }

    #[test]
    fn no_secret_is_in_an_error() {
        for error in [
            keyring::Error::BadEncoding(b"hunter2".to_vec()),
            keyring::Error::BadDataFormat(b"hunter2".to_vec(), "hunter2".into()),
        ] {
            assert!(!format!("{:?}", failed(error)).contains("hunter2"));
        }
    }
}
