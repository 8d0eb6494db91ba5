//! The cache, as one build uses it: its locks, the files that policies name, keeping new results, and the report at the
//! end. The decision about a step is in `decide`, the store and the keys in `cache`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use hm_disk::one_line;
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::WORKSPACE;
use hm_workspace::content::{Artifact, Content};
use parking_lot::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;

use crate::backend::Backends;
use crate::cache::{
    InputFiles, Key, KeyInputs, KeyLock, PathWarning, ResultMeta, SharedLock, Store, Uncacheable, find_inputs,
};

/// Time after which the user is told that a build waits for another one.
const SILENCE: Duration = Duration::from_secs(1);

/// Cache of a build.
pub(crate) struct StepCache {
    config: StepCacheConfig,
    notes: Mutex<Notes>,
    /// Files that policies name, by the policies' paths, so that their digests are computed once.
    files: tokio::sync::Mutex<BTreeMap<BTreeSet<String>, Arc<InputFiles>>>,
}

/// Settings of a build's cache.
pub(crate) struct StepCacheConfig {
    /// Results of former builds.
    pub(crate) store: Store,
    /// Back ends, which have the project's files and the snapshots.
    pub(crate) backends: Backends,
    /// Directory of the project.
    pub(crate) project: PathBuf,
    /// Name of the pipeline.
    pub(crate) pipeline: String,
    /// Digest of what steps find on this machine apart from the project.
    pub(crate) machine: String,
    /// Set if former results are not to be used.
    pub(crate) bypass: bool,
    /// Sink for what the user is told while the build waits.
    pub(crate) tell: fn(&str),
}

/// Things to tell at the end.
#[derive(Default)]
struct Notes {
    /// First thing that went wrong.
    trouble: Option<String>,
    /// Keys of the results that were kept.
    made: Vec<Key>,
    warnings: BTreeSet<PathWarning>,
}

/// Lock against the removal of a result while it is read.
pub(super) enum ReadLock {
    /// The result stays as long as this is held.
    Held { _lock: SharedLock },
    /// Somebody else is making the result anew, or removing it.
    Contended,
    /// The cache cannot be written to, so nobody can lock or remove anything.
    Unlockable,
}

/// Result that is to be kept, before it has a place in the store.
pub(super) struct NewResult {
    pub(super) inputs: KeyInputs,
    pub(super) tag: SnapshotRef,
    pub(super) step: String,
    pub(super) max_age: Option<Duration>,
    pub(super) duration_ms: u64,
    pub(super) artifacts: Vec<Artifact>,
}

/// Report on the cache at the end of a build.
#[derive(Debug, Default)]
pub(crate) struct CacheReport {
    /// First reason why something that should have been kept was not.
    pub(crate) trouble: Option<String>,
    /// Warnings about policies that may not say what was meant.
    pub(crate) warnings: BTreeSet<PathWarning>,
    /// Number of results that were kept.
    pub(crate) results: usize,
}

impl StepCache {
    /// Cache for one build.
    #[must_use]
    pub(crate) fn new(config: StepCacheConfig) -> Self {
        Self { config, notes: Mutex::default(), files: tokio::sync::Mutex::default() }
    }

    pub(super) fn config(&self) -> &StepCacheConfig {
        &self.config
    }

    pub(super) fn store(&self) -> &Store {
        &self.config.store
    }

    /// Files that a policy names. Steps that ask for the same files at the same time share the work.
    pub(super) async fn files(&self, paths: &BTreeSet<String>) -> Result<Arc<InputFiles>, String> {
        if paths.is_empty() {
            return Ok(Arc::default());
        }
        let mut known = self.files.lock().await;
        if let Some(files) = known.get(paths) {
            return Ok(files.clone());
        }
        let found = self.find_files(paths).await.inspect_err(|error| self.trouble(error.clone()))?;
        self.notes().warnings.extend(found.warnings.iter().cloned());
        let found = Arc::new(found);
        known.insert(paths.clone(), found.clone());
        Ok(found)
    }

    async fn find_files(&self, paths: &BTreeSet<String>) -> Result<InputFiles, String> {
        let tree = self.config.backends.workspace.tree().await.map_err(|error| one_line(&error))?.to_owned();
        let patterns = paths.clone();
        let found = spawn_blocking(move || find_inputs(&tree, Path::new(WORKSPACE), &patterns)).await;
        found.map_err(|error| error.to_string())?.map_err(|error| one_line(&error))
    }

    /// Notes that a result was used. If that fails, the build goes on and reports it.
    pub(super) fn used(&self, key: &Key) {
        if let Err(error) = self.store().touch(key) {
            self.trouble(one_line(&error));
        }
    }

    /// Keeps others from removing the result of a key. Does not wait.
    pub(super) fn read_lock(&self, key: &Key) -> ReadLock {
        match self.store().hold(key) {
            Ok(Some(lock)) => ReadLock::Held { _lock: lock },
            Ok(None) => ReadLock::Contended,
            Err(_) => ReadLock::Unlockable,
        }
    }

    /// Keeps others from making the result of a key. Waits as long as somebody else is making it.
    pub(super) async fn write_lock(&self, step: &str, key: &Key) -> Result<KeyLock, Uncacheable> {
        let lock = self.store().lock(key);
        tokio::pin!(lock);
        let locked = match tokio::time::timeout(SILENCE, &mut lock).await {
            Ok(locked) => locked,
            Err(_) => {
                let what = format!("another build is running step `{step}`; waiting for its result");
                (self.config.tell)(&what);
                lock.await
            }
        };
        locked.map_err(|error| {
            let why = one_line(&error);
            self.trouble(why.clone());
            Uncacheable::CannotKeep { why }
        })
    }

    /// Keeps a result, with its log and what is in `artifacts`. True if it is kept.
    pub(super) async fn keep(
        &self,
        lock: KeyLock,
        result: NewResult,
        log: Option<PathBuf>,
        artifacts: Option<PathBuf>,
    ) -> bool {
        // The report on the record says why there is none.
        let Some(log) = log else { return false };
        let NewResult { inputs, tag, step, max_age, duration_ms, artifacts: produced } = result;
        let key = inputs.key();
        let meta = ResultMeta {
            format: 0,
            key: key.clone(),
            tag,
            parent: inputs.parent.map(|parent| parent.result),
            project: self.config.project.clone(),
            pipeline: self.config.pipeline.clone(),
            step,
            runner: inputs.runner,
            made_at: Utc::now(),
            longest_secs: max_age.map(|age| age.as_secs()),
            duration_ms,
            bytes: 0,
            log: Content::default(),
            artifacts: produced,
            boot: String::new(),
        };
        let store = self.store().clone();
        let put = spawn_blocking(move || store.put(&lock, meta, &log, artifacts.as_deref())).await;
        let put = put.map_err(|error| error.to_string()).and_then(|put| put.map_err(|e| one_line(&e)));
        if let Err(error) = put {
            self.trouble(error);
            return false;
        }
        self.notes().made.push(key);
        true
    }

    /// Warnings about policies that may not say what was meant, for the steps that were asked about so far.
    #[must_use]
    pub(crate) fn warnings(&self) -> BTreeSet<PathWarning> {
        self.notes().warnings.clone()
    }

    /// Makes the new results durable, and reports.
    pub(super) async fn close(self: Arc<Self>) -> CacheReport {
        let closed = spawn_blocking(move || {
            let Notes { mut trouble, made, warnings } = std::mem::take(&mut *self.notes());
            let Backends { local, docker, .. } = &self.config.backends;
            let local = local.opened().and_then(|local| local.not_kept());
            for why in [local, docker.not_kept()].into_iter().flatten() {
                trouble.get_or_insert_with(|| why.to_owned());
            }
            if !made.is_empty()
                && let Err(error) = self.store().make_durable(&made)
            {
                trouble.get_or_insert(one_line(&error));
            }
            CacheReport { trouble, warnings, results: made.len() }
        });
        let failed = |error: tokio::task::JoinError| CacheReport {
            trouble: Some(error.to_string()),
            ..CacheReport::default()
        };
        closed.await.unwrap_or_else(failed)
    }

    fn trouble(&self, what: String) {
        self.notes().trouble.get_or_insert(what);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock()
    }
}
