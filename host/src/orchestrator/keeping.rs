//! What a build takes from the cache and keeps in it: what a step's result depends on, whether there is one already, and
//! keeping a new one. The store, the keys and the words for a miss are the cache's affair.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::SnapshotProblem;
use hm_workspace::WORKSPACE;
use hm_workspace::content::{Artifact, Content};
use tokio::task::spawn_blocking;

use crate::backend::Backends;
use crate::cache::{self, Doubt, Entry, Found, Inputs, Key, KeyLock, Missing, Never, Parts, Reading, Store};
use crate::pipeline::{Caching, PlannedStep};
use crate::plugin::{Plugin, digest, one_line};

/// Host functions with this prefix run commands on this machine, so that results depend on it.
pub const RUNS_HERE: &str = "hm_sandbox_";

/// Host functions with this prefix run commands on an engine, which has what is kept of them.
pub const ON_ENGINE: &str = "hm_docker_";

/// How long nobody is told that a build waits for another one.
const SILENCE: Duration = Duration::from_secs(1);

/// The cache, as one build uses it.
pub struct Keeping {
    terms: Terms,
    state: Mutex<State>,
    /// What policies name, and its digests, which are computed once.
    inputs: tokio::sync::Mutex<BTreeMap<BTreeSet<String>, Arc<Inputs>>>,
}

/// What a build needs to use the cache.
pub struct Terms {
    /// The results of former builds.
    pub store: Store,
    /// What has the project's files, and the layers.
    pub backends: Backends,
    /// The project.
    pub project: PathBuf,
    /// The pipeline's name.
    pub pipeline: String,
    /// Stands for what steps find on this machine apart from the project.
    pub machine: String,
    /// Whether former results may be used.
    pub ask: bool,
    /// Tells the user what the build waits for.
    pub tell: fn(&str),
}

#[derive(Default)]
struct State {
    /// What went wrong first.
    trouble: Option<String>,
    /// What was kept.
    made: Vec<Key>,
    /// Where cache policies may not say what was meant.
    doubts: BTreeSet<Doubt>,
}

/// The step that a step builds in.
pub(super) struct Parent {
    pub(super) key: String,
    /// What its result is called in the cache, if it is there.
    pub(super) kept: Option<SnapshotRef>,
}

/// Whether what is kept under a key stays.
pub(super) enum Hold {
    /// As long as this is held.
    Reading { _lock: Reading },
    /// Somebody makes it anew, or removes it.
    Busy,
    /// As nobody can lock it.
    Nobody,
}

/// A result to keep.
pub(super) struct Made {
    pub(super) parts: Parts,
    pub(super) tag: SnapshotRef,
    pub(super) step: String,
    pub(super) longest: Option<Duration>,
    pub(super) duration_ms: u64,
    pub(super) artifacts: Vec<Artifact>,
}

/// What is to be told of the cache at the end of a build.
#[derive(Debug, Default)]
pub struct Kept {
    /// Why not everything was kept that should have been.
    pub trouble: Option<String>,
    /// Where cache policies may not say what was meant.
    pub doubts: BTreeSet<Doubt>,
    /// How much was kept.
    pub results: usize,
}

impl Keeping {
    /// The cache for one build.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, state: Mutex::default(), inputs: tokio::sync::Mutex::default() }
    }

    /// Why the pipeline does not want a step to be kept, if it does not.
    pub(super) fn never(planned: &PlannedStep) -> Option<Never> {
        matches!(planned.caching, Caching::Never).then(|| no_policy(planned))
    }

    /// Where results are.
    pub(super) fn store(&self) -> &Store {
        &self.terms.store
    }

    /// What the result of a step depends on, or why it cannot be kept.
    pub(super) async fn parts(
        &self,
        planned: &PlannedStep,
        env: &BTreeMap<String, String>,
        plugin: Option<&Plugin>,
        parent: Option<Parent>,
    ) -> Result<Parts, Never> {
        let Caching::Keep { paths, .. } = &planned.caching else { return Err(no_policy(planned)) };
        let parent = match parent {
            None => None,
            Some(Parent { key, kept: Some(result) }) => Some(cache::Parent { step: key, result }),
            Some(Parent { key, kept: None }) => return Err(Never::ParentNotKept { parent: key }),
        };
        let cannot = |why: &str| Err(Never::CannotKeep { why: why.to_owned() });
        let Some(plugin) = plugin else { return cannot("no plugin provides its runner") };
        let here = plugin.asks_for(RUNS_HERE);
        if here {
            match self.terms.backends.local.open().await {
                Ok(local) if local.keeps() => {}
                Ok(_) => {
                    return cannot("without namespaces, what a step leaves does not outlive the build");
                }
                Err(error) => return cannot(&one_line(&error)),
            }
        }
        let inputs = match self.inputs(paths).await {
            Ok(inputs) => inputs,
            Err(error) => {
                self.trouble(error.clone());
                return cannot(&error);
            }
        };
        let step = &planned.step;
        Ok(Parts {
            // Escaped, so that no two paths look the same.
            project: format!("{:?}", self.terms.project),
            cmd: step.cmd.clone(),
            env: env.iter().map(|(name, value)| (name.clone(), digest(value.as_bytes()))).collect(),
            image: planned.image.clone(),
            runner: planned.runner.clone(),
            plugin: format!("{} {}", plugin.name, plugin.manifest.version),
            runner_args: step.runner_args.clone(),
            fields: step.extra.clone(),
            emitter_key: step.cache.as_ref().and_then(|cache| cache.key.clone()),
            parent,
            inputs: inputs.files.clone(),
            paths: paths.clone(),
            machine: here.then(|| self.terms.machine.clone()),
        })
    }

    /// The files that a policy names. Steps that ask for the same at the same time share the work.
    async fn inputs(&self, paths: &BTreeSet<String>) -> Result<Arc<Inputs>, String> {
        if paths.is_empty() {
            return Ok(Arc::default());
        }
        let mut known = self.inputs.lock().await;
        if let Some(inputs) = known.get(paths) {
            return Ok(inputs.clone());
        }
        let tree = self.terms.backends.workspace.tree().await.map_err(|error| one_line(&error))?.to_owned();
        let patterns = paths.clone();
        let found = spawn_blocking(move || cache::inputs(&tree, Path::new(WORKSPACE), &patterns)).await;
        let found = found.map_err(|error| error.to_string())?.map_err(|error| one_line(&error))?;
        self.state().doubts.extend(found.doubts.iter().cloned());
        let found = Arc::new(found);
        known.insert(paths.clone(), found.clone());
        Ok(found)
    }

    /// What is kept under a key, for a step that takes results up to this age.
    pub(super) fn look(&self, key: &Key, longest: Option<Duration>) -> Result<Entry, Missing> {
        if !self.terms.ask {
            return Err(Missing::NotAsked);
        }
        match self.store().lookup(key, longest, Utc::now()) {
            Found::Kept(entry) => Ok(*entry),
            Found::Nothing => Err(Missing::NoEntry),
            Found::Expired { since } => Err(Missing::Expired { since }),
            Found::MadeInFuture => Err(Missing::MadeInFuture),
            Found::Damaged => Err(Missing::Damaged),
        }
    }

    /// Where the log of a result is, if it is as it was kept.
    pub(super) async fn log(&self, entry: &Entry) -> Result<PathBuf, Missing> {
        let (store, key, log) = (self.store().clone(), entry.key.clone(), entry.log.clone());
        let found = spawn_blocking(move || store.log(&key, &log)).await;
        found.ok().flatten().ok_or(Missing::Damaged)
    }

    /// Whether steps can start from a result, as far as that can be told without its runner; why not, if they cannot.
    pub(super) async fn check(&self, plugin: Option<&Plugin>, tag: &SnapshotRef) -> Result<(), Missing> {
        let Backends { local, docker, .. } = &self.terms.backends;
        let asks = |prefix| plugin.is_some_and(|plugin| plugin.asks_for(prefix));
        let here = asks(RUNS_HERE);
        let mut unfit = match here.then(|| local.open()) {
            Some(opening) => match opening.await {
                Ok(local) => local.unfit(tag).await,
                Err(error) => Some(SnapshotProblem::Other(one_line(&error))),
            },
            None => None,
        };
        // Of a runner that can do both, it is in one of the two places.
        if asks(ON_ENGINE) && (!here || unfit.is_some()) {
            unfit = docker.unfit(tag).await;
        }
        unfit.map_or(Ok(()), |unfit| Err(missing(unfit)))
    }

    /// Notes that a result was used; it is the least that can go wrong.
    pub(super) fn used(&self, key: &Key) {
        if let Err(error) = self.store().touch(key) {
            self.trouble(one_line(&error));
        }
    }

    /// Keeps others from removing what is kept under a key.
    pub(super) fn hold(&self, key: &Key) -> Hold {
        match self.store().hold(key) {
            Ok(Some(lock)) => Hold::Reading { _lock: lock },
            Ok(None) => Hold::Busy,
            // A cache that cannot be written to cannot be locked either, and nobody removes anything from it.
            Err(_) => Hold::Nobody,
        }
    }

    /// Keeps others from making what is to be made. Waits for as long as somebody else does it.
    pub(super) async fn lock(&self, step: &str, key: &Key) -> Result<KeyLock, Never> {
        let lock = self.store().lock(key);
        tokio::pin!(lock);
        let locked = match tokio::time::timeout(SILENCE, &mut lock).await {
            Ok(locked) => locked,
            Err(_) => {
                (self.terms.tell)(&format!("another build is running step `{step}`; waiting for its result"));
                lock.await
            }
        };
        locked.map_err(|error| {
            let why = one_line(&error);
            self.trouble(why.clone());
            Never::CannotKeep { why }
        })
    }

    /// Keeps a result, with its log and what is in `artifacts`. Whether it is kept.
    pub(super) async fn keep(
        &self,
        lock: KeyLock,
        made: Made,
        log: Option<PathBuf>,
        artifacts: PathBuf,
    ) -> bool {
        // Why there is none is told with the record.
        let Some(log) = log else { return false };
        let Made { parts, tag, step, longest, duration_ms, artifacts: produced } = made;
        let key = parts.key();
        let entry = Entry {
            format: 0,
            key: key.clone(),
            tag,
            parent: parts.parent.map(|parent| parent.result),
            project: self.terms.project.clone(),
            pipeline: self.terms.pipeline.clone(),
            step,
            runner: parts.runner,
            made_at: Utc::now(),
            longest_secs: longest.map(|longest| longest.as_secs()),
            duration_ms,
            bytes: 0,
            log: Content::default(),
            artifacts: produced,
            boot: String::new(),
        };
        let store = self.store().clone();
        let put = spawn_blocking(move || store.put(&lock, entry, &log, Some(&artifacts))).await;
        let put = put.map_err(|error| error.to_string()).and_then(|put| put.map_err(|e| one_line(&e)));
        if let Err(error) = put {
            self.trouble(error);
            return false;
        }
        self.state().made.push(key);
        true
    }

    /// Where cache policies may not say what was meant, as far as steps were asked about.
    #[must_use]
    pub fn doubts(&self) -> BTreeSet<Doubt> {
        self.state().doubts.clone()
    }

    /// Makes what was kept outlive a crash of the machine, and says what there is to tell.
    pub(super) async fn close(self: Arc<Self>) -> Kept {
        let settled = spawn_blocking(move || {
            let State { mut trouble, made, doubts } = std::mem::take(&mut *self.state());
            let Backends { local, docker, .. } = &self.terms.backends;
            for why in
                [local.opened().and_then(|local| local.not_kept()), docker.not_kept()].into_iter().flatten()
            {
                trouble.get_or_insert_with(|| why.to_owned());
            }
            if !made.is_empty()
                && let Err(error) = self.store().settle(&made)
            {
                trouble.get_or_insert(one_line(&error));
            }
            Kept { trouble, doubts, results: made.len() }
        });
        settled.await.unwrap_or_else(|error| Kept { trouble: Some(error.to_string()), ..Kept::default() })
    }

    fn trouble(&self, what: String) {
        self.state().trouble.get_or_insert(what);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(unfit: SnapshotProblem) -> Missing {
    match unfit {
        SnapshotProblem::Gone => Missing::Removed,
        SnapshotProblem::Damaged => Missing::Damaged,
        SnapshotProblem::OtherImage(name) => Missing::OtherImage { name },
        SnapshotProblem::Covered(path) => Missing::Covered { path },
        SnapshotProblem::Other(why) => Missing::CannotUse { why },
    }
}

fn no_policy(planned: &PlannedStep) -> Never {
    if planned.step.cache.is_some() { Never::Policy } else { Never::NoPolicy }
}
