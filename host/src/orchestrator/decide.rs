//! The one decision about a step, for `hm plan` and `hm build` alike: is there a result that can be used, and may a new
//! one be kept? Deciding runs nothing, locks no key, calls no plugin, and changes nothing in the cache or the project.
//! But a snapshot that it finds usable stays there until this run ends, or the answer would not stay true. `step` acts
//! on the answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use hm_disk::{one_line, sha256_hex};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::SnapshotProblem;
use tokio::task::spawn_blocking;

use super::context::BuildContext;
use super::step_cache::StepCache;
use crate::backend::Backends;
use crate::cache::{
    Key, KeyInputs, MissReason, ParentResult, ResultMeta, StepDecision, StepVerdict, Uncacheable,
};
use crate::host_functions::BackendKind;
use crate::pipeline::{Caching, PlannedStep};
use crate::plugin::Plugin;

/// Step that is asked about.
pub(super) struct StepQuery<'a> {
    planned: &'a PlannedStep,
    env: BTreeMap<String, String>,
    plugin: Option<&'a Plugin>,
}

impl<'a> StepQuery<'a> {
    pub(super) fn of(build: &'a BuildContext, planned: &'a PlannedStep) -> Self {
        let plugin = build.plugins.runner(&planned.runner).map(|plugin| &**plugin);
        Self { planned, env: build.plan.env(planned), plugin }
    }
}

/// Parent of a step.
pub(super) struct ParentStep {
    pub(super) key: String,
    /// Tag of its result in the cache, if it is there.
    pub(super) result: Option<SnapshotRef>,
}

/// Step with the key that its result is kept under.
pub(super) struct KeyedStep {
    step: String,
    max_age: Option<Duration>,
    keeper: SnapshotKeeper,
    identity: Result<(Key, KeyInputs), Uncacheable>,
}

/// Keeper of a runner's snapshots: the one to ask whether a snapshot is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SnapshotKeeper {
    /// The local sandbox of this machine.
    Local,
    /// The container engine that the build uses.
    Engine,
    /// One of the two, for a runner that can use both.
    LocalOrEngine,
    /// The runner itself: it makes its snapshots in a way that the host does not know.
    Runner,
}

/// Answer about a step.
pub(super) enum Resolution {
    /// Its result can be used, as far as the host knows.
    Hit(Box<CachedResult>),
    /// It has to run, and its result is to be kept.
    Miss(MissReason),
    /// It has to run, and nothing is kept.
    Uncacheable(Uncacheable),
}

/// Result that can be used.
pub(super) struct CachedResult {
    pub(super) meta: ResultMeta,
    /// Path of its log, which is whole.
    pub(super) log: PathBuf,
    /// Set if only the runner knows that it still has the snapshot.
    pub(super) needs_runner: bool,
}

impl KeyedStep {
    /// Key of the result with its inputs, or why it cannot be kept.
    pub(super) fn identity(&self) -> Result<&(Key, KeyInputs), &Uncacheable> {
        self.identity.as_ref()
    }

    /// Decision for the record.
    pub(super) fn decision(&self, resolution: &Resolution) -> StepDecision {
        let (key, inputs) = self.identity.clone().ok().unzip();
        let verdict = match resolution {
            Resolution::Hit(result) => {
                StepVerdict::Hit { tag: result.meta.tag.clone(), made_at: result.meta.made_at }
            }
            Resolution::Miss(reason) => StepVerdict::Miss(reason.clone()),
            Resolution::Uncacheable(reason) => StepVerdict::Uncacheable(reason.clone()),
        };
        StepDecision { step: self.step.clone(), key, inputs, verdict }
    }
}

impl SnapshotKeeper {
    fn of(plugin: Option<&Plugin>) -> Self {
        let asks = |backend| plugin.is_some_and(|plugin| plugin.asks_for(backend));
        match (asks(BackendKind::Sandbox), asks(BackendKind::Docker)) {
            (true, false) => Self::Local,
            (false, true) => Self::Engine,
            (true, true) => Self::LocalOrEngine,
            (false, false) => Self::Runner,
        }
    }

    /// Problem with a snapshot, as far as the host knows. A snapshot without one stays there until this run ends.
    async fn problem(self, backends: &Backends, tag: &SnapshotRef) -> Option<SnapshotProblem> {
        match self {
            Self::Local => local_problem(backends, tag).await,
            Self::Engine => backends.docker.snapshot_problem(tag).await,
            Self::LocalOrEngine => match local_problem(backends, tag).await {
                None => None,
                Some(_) => backends.docker.snapshot_problem(tag).await,
            },
            Self::Runner => None,
        }
    }
}

impl StepCache {
    /// Reason why the pipeline does not want a step's result to be kept.
    pub(super) fn unwanted(planned: &PlannedStep) -> Option<Uncacheable> {
        matches!(planned.caching, Caching::Never).then(|| no_policy(planned))
    }

    /// A step with its key. Computes digests; nothing is looked up yet.
    pub(super) async fn identify(&self, query: StepQuery<'_>, parent: Option<ParentStep>) -> KeyedStep {
        KeyedStep {
            step: query.planned.step.key.clone(),
            max_age: query.planned.caching.longest(),
            keeper: SnapshotKeeper::of(query.plugin),
            identity: self.inputs_of(query, parent).await.map(|inputs| (inputs.key(), inputs)),
        }
    }

    /// The decision. Has no side effect, so that asking again gives the same answer as long as nobody changes anything.
    pub(super) async fn decide(&self, step: &KeyedStep) -> Resolution {
        match &step.identity {
            Err(reason) => Resolution::Uncacheable(reason.clone()),
            Ok((key, _)) => match self.find(key, step).await {
                Ok(result) => Resolution::Hit(Box::new(result)),
                Err(reason) => Resolution::Miss(reason),
            },
        }
    }

    async fn find(&self, key: &Key, step: &KeyedStep) -> Result<CachedResult, MissReason> {
        if self.config().bypass {
            return Err(MissReason::Bypassed);
        }
        let meta = self.store().lookup(key, step.max_age, Utc::now())?;
        let (store, log) = (self.store().clone(), meta.log.clone());
        let (key, tag) = (key.clone(), meta.tag.clone());
        let log = spawn_blocking(move || store.log(&key, &log)).await;
        let log = log.ok().flatten().ok_or(MissReason::Damaged)?;
        match step.keeper.problem(&self.config().backends, &tag).await {
            Some(problem) => Err(problem.into()),
            None => Ok(CachedResult { meta, log, needs_runner: step.keeper == SnapshotKeeper::Runner }),
        }
    }

    /// Inputs of a step's key, or why its result cannot be kept.
    async fn inputs_of(
        &self,
        query: StepQuery<'_>,
        parent: Option<ParentStep>,
    ) -> Result<KeyInputs, Uncacheable> {
        let StepQuery { planned, env, plugin } = query;
        let Caching::Keep { paths, .. } = &planned.caching else { return Err(no_policy(planned)) };
        let parent = match parent {
            None => None,
            Some(ParentStep { key, result: Some(result) }) => Some(ParentResult { step: key, result }),
            Some(ParentStep { key, result: None }) => {
                return Err(Uncacheable::ParentNotKept { parent: key });
            }
        };
        let cannot = |why: &str| Err(Uncacheable::CannotKeep { why: why.to_owned() });
        let Some(plugin) = plugin else { return cannot("no plugin provides its runner") };
        let here = plugin.asks_for(BackendKind::Sandbox);
        if here {
            match self.config().backends.local.open().await {
                Ok(local) if local.keeps() => {}
                Ok(_) => return cannot("without namespaces, what a step leaves does not outlive the build"),
                Err(error) => return cannot(&one_line(&error)),
            }
        }
        let files = match self.files(paths).await {
            Ok(found) => found.files.clone(),
            Err(error) => return cannot(&error),
        };
        let step = &planned.step;
        Ok(KeyInputs {
            // Escaped, so that no two paths look the same.
            project: format!("{:?}", self.config().project),
            cmd: step.cmd.clone(),
            env: env.iter().map(|(name, value)| (name.clone(), sha256_hex(value.as_bytes()))).collect(),
            image: planned.image.clone(),
            runner: planned.runner.clone(),
            plugin: format!("{} {}", plugin.name, plugin.manifest.version),
            runner_args: step.runner_args.clone(),
            fields: step.extra.clone(),
            emitter_key: step.cache.as_ref().and_then(|cache| cache.key.clone()),
            parent,
            files,
            paths: paths.clone(),
            machine: here.then(|| self.config().machine.clone()),
        })
    }
}

impl From<SnapshotProblem> for MissReason {
    fn from(problem: SnapshotProblem) -> Self {
        match problem {
            SnapshotProblem::Gone => Self::Deleted,
            SnapshotProblem::Damaged => Self::Damaged,
            SnapshotProblem::OtherImage(name) => Self::OtherImage { name },
            SnapshotProblem::Covered(path) => Self::Covered { path },
            SnapshotProblem::Other(why) => Self::CannotUse { why },
        }
    }
}

/// Problem with a snapshot of the local sandbox. If the sandbox cannot be opened, that is the problem.
async fn local_problem(backends: &Backends, tag: &SnapshotRef) -> Option<SnapshotProblem> {
    match backends.local.open().await {
        Ok(local) => local.snapshot_problem(tag).await,
        Err(error) => Some(SnapshotProblem::Other(one_line(&error))),
    }
}

fn no_policy(planned: &PlannedStep) -> Uncacheable {
    if planned.step.cache.is_some() { Uncacheable::Policy } else { Uncacheable::NoPolicy }
}
