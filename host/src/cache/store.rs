//! The store of results: a directory for each key, with what is known of the result, its log and its artifacts. It
//! appears whole under its name, or not at all. Without room or rights nothing is kept; whatever is damaged is not
//! found.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use hm_disk::{
    Boot, apparent_size, cannot, empty_trash, list_names, make_directory, open_below, open_regular,
    read_regular, remove_whole, replace_directory, sync_file_system,
};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::content::{Artifact, Content, HashingWriter};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{CacheError, Key, KeyLock, MissReason, SharedLock};

/// The form of what is written here.
const FORMAT: u32 = 2;
/// Most bytes of an entry: what is larger is not one of ours.
const ENTRY_MAX: usize = 64 << 20;

const ENTRY: &str = "entry.json";
const LOG: &str = "log";
const ARTIFACTS: &str = "artifacts";
/// Names the tag of a result that was on the disk at the end of a build.
const DURABLE: &str = "durable";
const LOCKS: &str = "locks";
const NEW: &str = "tmp-";

/// The results of former builds, of all projects. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    boot: Boot,
}

/// Metadata of a result. `format`, `bytes`, `log` and `boot` are what [`Store::put`] makes of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultMeta {
    /// The form of this file.
    pub format: u32,
    /// Cache key of the result.
    pub key: Key,
    /// Tag of its snapshot.
    pub tag: SnapshotRef,
    /// The result that it was made from. When that is made anew, this one is never found again.
    pub parent: Option<SnapshotRef>,
    /// Directory of the project.
    pub project: PathBuf,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The step's key in it.
    pub step: String,
    /// Runner of the step.
    pub runner: String,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// Seconds for which it may be used, as the step's policy was then.
    pub longest_secs: Option<u64>,
    /// Milliseconds that the step took.
    pub duration_ms: u64,
    /// The size of its log and its artifacts.
    pub bytes: u64,
    /// Digest and size of its log.
    pub log: Content,
    /// Artifacts of the step.
    pub artifacts: Vec<Artifact>,
    /// The start of the machine after which it was made.
    pub boot: String,
}

/// A result, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedResult {
    /// Cache key of the result.
    pub key: Key,
    /// Metadata; nothing if the result is damaged.
    pub entry: Option<ResultMeta>,
    /// When it was last made or used.
    pub used_at: DateTime<Utc>,
    /// The size of its log and its artifacts.
    pub bytes: u64,
}

impl ResultMeta {
    /// When it becomes too old, if it ever does, for a step that takes results up to this age.
    #[must_use]
    pub fn expires(&self, longest: Option<Duration>) -> Option<DateTime<Utc>> {
        self.made_at.checked_add_signed(TimeDelta::from_std(longest?).ok()?)
    }
}

impl Store {
    /// Opens the store in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        make_directory(&root.join(LOCKS))?;
        Ok(Self { root: root.to_owned(), boot: Boot::current() })
    }

    /// Result that is kept under a key, for a step that takes results up to this age. Waits for nobody.
    ///
    /// # Errors
    /// There is none that may be used, and this is why.
    pub fn lookup(
        &self,
        key: &Key,
        longest: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Result<ResultMeta, MissReason> {
        let meta = match self.read(key) {
            Ok(Some(meta)) => meta,
            Ok(None) => return Err(MissReason::NoEntry),
            Err(Damaged) => return Err(MissReason::Damaged),
        };
        if meta.made_at > now {
            return Err(MissReason::MadeInFuture);
        }
        match meta.expires(longest) {
            Some(since) if since <= now => Err(MissReason::Expired { since }),
            _ => Ok(meta),
        }
    }

    /// Takes the lock of a key, for running its step and keeping the result. Waits until nobody else has it; dropping
    /// the future ends the waiting.
    ///
    /// # Errors
    /// The lock's file cannot be made.
    pub async fn lock(&self, key: &Key) -> Result<KeyLock, CacheError> {
        KeyLock::take(&self.root.join(LOCKS), key).await
    }

    /// Takes the lock of a key if nobody has it.
    ///
    /// # Errors
    /// As [`Store::lock`].
    pub fn try_lock(&self, key: &Key) -> Result<Option<KeyLock>, CacheError> {
        KeyLock::try_take(&self.root.join(LOCKS), key)
    }

    /// Keeps others from removing or replacing what is kept under a key while it is read, if nobody is about that.
    ///
    /// # Errors
    /// As [`Store::lock`].
    pub fn hold(&self, key: &Key) -> Result<Option<SharedLock>, CacheError> {
        SharedLock::try_take(&self.root.join(LOCKS), key)
    }

    /// Keeps a result in the place of what was there: its log, and of the directory of artifacts those that the entry
    /// names. Outliving a crash of the machine is up to [`Store::make_durable`].
    ///
    /// # Errors
    /// Something cannot be read or written, or has changed; then what was there is there, or nothing.
    pub fn put(
        &self,
        lock: &KeyLock,
        entry: ResultMeta,
        log: &Path,
        artifacts: Option<&Path>,
    ) -> Result<(), CacheError> {
        if entry.key != *lock.key() {
            return Err(CacheError::OtherKey { found: entry.key, locked: lock.key().clone() });
        }
        let new = self.new_folder(&entry.key);
        // Of an hm that died.
        remove_whole(&new)?;
        let kept = self
            .fill(&new, &entry, log, artifacts)
            .and_then(|()| Ok(replace_directory(&new, &self.folder(&entry.key))?));
        if kept.is_err() {
            // What was wrong above says more.
            let _ = remove_whole(&new);
        }
        kept
    }

    /// Notes that a result was used.
    ///
    /// # Errors
    /// The system says no.
    pub fn touch(&self, key: &Key) -> Result<(), CacheError> {
        let path = self.entry_path(key);
        let file = File::open(&path).map_err(cannot("open", &path))?;
        let now = FileTimes::new().set_modified(SystemTime::now());
        Ok(file.set_times(now).map_err(cannot("set the time of", &path))?)
    }

    /// Removes what is kept under a key, and the lock itself.
    ///
    /// # Errors
    /// The system says no.
    pub fn forget(&self, lock: KeyLock) -> Result<(), CacheError> {
        remove_whole(&self.folder(lock.key()))?;
        remove_whole(&self.new_folder(lock.key()))?;
        lock.remove()
    }

    /// Makes results outlive a crash of the machine: one wait for the disk, for all of them and the layers beside them.
    ///
    /// # Errors
    /// The system says no.
    pub fn make_durable(&self, keys: &[Key]) -> Result<(), CacheError> {
        // What somebody else puts in their place from here on is not meant.
        let open: Vec<ResultMeta> = keys
            .iter()
            .filter_map(|key| self.parse(key).ok().flatten())
            .filter(|entry| self.is_of_this_boot(entry) && !self.is_durable(entry))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        // The marks only after everything that they vouch for.
        sync_file_system(&self.root)?;
        for entry in open {
            let path = self.folder(&entry.key).join(DURABLE);
            match write_new(&path, entry.tag.0.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                written => written.map_err(cannot("write", &path))?,
            }
        }
        Ok(())
    }

    /// All results, those first that were not used for the longest time.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn entries(&self) -> Result<Vec<ListedResult>, CacheError> {
        let mut entries: Vec<ListedResult> = list_names(&self.root)?
            .into_iter()
            .filter_map(|name| Key::try_from(name).ok())
            .filter_map(|key| self.listed(key))
            .collect();
        entries.sort_by(|a, b| (a.used_at, &a.key).cmp(&(b.used_at, &b.key)));
        Ok(entries)
    }

    /// Removes what `hm` that died have left here, and locks of nothing.
    ///
    /// # Errors
    /// The store cannot be read or changed.
    pub fn tidy(&self) -> Result<(), CacheError> {
        empty_trash([&self.root])?;
        for name in list_names(&self.root)? {
            if let Some(Ok(key)) = name.strip_prefix(NEW).map(|key| Key::try_from(key.to_owned()))
                && let Some(_lock) = self.try_lock(&key)?
            {
                remove_whole(&self.new_folder(&key))?;
            }
        }
        for name in list_names(&self.root.join(LOCKS))? {
            if let Ok(key) = Key::try_from(name)
                && !self.folder(&key).exists()
                && let Some(lock) = self.try_lock(&key)?
                && !self.folder(&key).exists()
            {
                lock.remove()?;
            }
        }
        Ok(())
    }

    /// Path of the log of a result, if it holds what was kept. Reads all of it.
    #[must_use]
    pub fn log(&self, key: &Key, kept: &Content) -> Option<PathBuf> {
        let path = self.folder(key).join(LOG);
        let file = open_regular(&path).ok()?;
        // Only as far as it may be the same.
        let whole = file.metadata().ok()?.len() == kept.size_bytes && Content::of(file).ok()? == *kept;
        whole.then_some(path)
    }

    /// Path of the artifacts of a result; nothing is there if it has none.
    #[must_use]
    pub fn artifacts_path(&self, key: &Key) -> PathBuf {
        self.folder(key).join(ARTIFACTS)
    }

    fn folder(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn entry_path(&self, key: &Key) -> PathBuf {
        self.folder(key).join(ENTRY)
    }

    /// Directory in which a result is made; only who has the lock works there.
    fn new_folder(&self, key: &Key) -> PathBuf {
        self.root.join(format!("{NEW}{key}"))
    }

    /// An entry that may be used.
    fn read(&self, key: &Key) -> Result<Option<ResultMeta>, Damaged> {
        let entry = self.parse(key)?;
        match &entry {
            Some(entry) if !self.is_of_this_boot(entry) && !self.is_durable(entry) => Err(Damaged),
            _ => Ok(entry),
        }
    }

    /// An entry, whether or not it may be used.
    fn parse(&self, key: &Key) -> Result<Option<ResultMeta>, Damaged> {
        let bytes = match read_regular(&self.entry_path(key), ENTRY_MAX) {
            Ok(bytes) => bytes,
            // It may have been put there in between, which looks like damage, and is a miss either way.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.folder(key).exists() => {
                return Ok(None);
            }
            Err(_) => return Err(Damaged),
        };
        let entry: ResultMeta = serde_json::from_slice(&bytes).map_err(|_| Damaged)?;
        if entry.format == FORMAT && entry.key == *key { Ok(Some(entry)) } else { Err(Damaged) }
    }

    /// True of what was written since the machine was started: it is there, on the disk or on its way.
    fn is_of_this_boot(&self, entry: &ResultMeta) -> bool {
        self.boot.is(&entry.boot)
    }

    fn is_durable(&self, entry: &ResultMeta) -> bool {
        let tag = read_regular(&self.folder(&entry.key).join(DURABLE), ENTRY_MAX);
        tag.is_ok_and(|tag| tag == entry.tag.0.as_bytes())
    }

    /// Nothing, if it has gone in the meantime.
    fn listed(&self, key: Key) -> Option<ListedResult> {
        let folder = self.folder(&key);
        let about = fs::metadata(self.entry_path(&key)).or_else(|_| fs::metadata(&folder)).ok()?;
        let used_at = about.modified().map(DateTime::from).unwrap_or_default();
        let entry = self.read(&key).ok().flatten();
        let bytes = entry.as_ref().map_or_else(|| apparent_size(&folder), |entry| entry.bytes);
        Some(ListedResult { key, entry, used_at, bytes })
    }

    /// Fills a directory with a result. It is not made to survive a crash of the machine yet: one wait for the disk for
    /// each step would take longer than many a step.
    fn fill(
        &self,
        new: &Path,
        entry: &ResultMeta,
        log: &Path,
        artifacts: Option<&Path>,
    ) -> Result<(), CacheError> {
        make_directory(new)?;
        let from = File::open(log).map_err(cannot("read", log))?;
        let log = copy(from, log, &new.join(LOG), 0o600)?;
        let mut bytes = log.size_bytes;
        if let Some(folder) = artifacts.filter(|_| !entry.artifacts.is_empty()) {
            let from = File::open(folder).map_err(cannot("open", folder))?;
            for artifact in &entry.artifacts {
                bytes += keep_artifact(&from, folder, &new.join(ARTIFACTS), artifact)?;
            }
        }
        let entry =
            ResultMeta { format: FORMAT, bytes, log, boot: self.boot.as_str().to_owned(), ..entry.clone() };
        let path = new.join(ENTRY);
        let written =
            serde_json::to_vec(&entry).map_err(io::Error::from).and_then(|text| write_new(&path, &text));
        Ok(written.map_err(cannot("write", &path))?)
    }
}

/// An entry that is there and cannot be used.
struct Damaged;

/// Copies an artifact, unless it is no longer what the entry says.
fn keep_artifact(from: &File, folder: &Path, to: &Path, artifact: &Artifact) -> Result<u64, CacheError> {
    let below = Path::new(&artifact.key);
    let (source, target) = (folder.join(below), to.join(below));
    let changed = || CacheError::Changed { path: source.clone() };
    if !below.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(changed());
    }
    let file = open_below(from, below, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
    let file = File::from(file.map_err(cannot("read", &source))?);
    make_directory(target.parent().unwrap_or(to))?;
    let copied = copy(file, &source, &target, if artifact.executable { 0o700 } else { 0o600 })?;
    if copied == artifact.content { Ok(copied.size_bytes) } else { Err(changed()) }
}

/// Copies a regular file to where nothing is.
fn copy(mut from: File, source: &Path, to: &Path, mode: u32) -> Result<Content, CacheError> {
    let about = from.metadata().map_err(cannot("read", source))?;
    if !about.is_file() {
        return Err(cannot("read", source)(io::Error::other("it is not a regular file")).into());
    }
    let new = File::options().create_new(true).write(true).mode(mode).open(to);
    let mut new = HashingWriter::new(new.map_err(cannot("create", to))?);
    io::copy(&mut from, &mut new).map_err(cannot("write", to))?;
    Ok(new.content())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests;
