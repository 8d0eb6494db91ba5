//! One step: whether the cache has its result, running it by its plugin, or giving again what a former build got.
//! What is announced of it, and when it may begin, is `run`'s affair.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use hm_abi::CallError;
use hm_docker::DockerError;
use hm_plugin_protocol::{
    ArchiveId, ArtifactRef, CacheDecision, ExecutorInput, SnapshotRef, StdStream, StepResult,
};
use hm_step_sandbox::SandboxError;
use hm_workspace::artifacts;
use hm_workspace::content::Artifact;
use hm_workspace::{CACHE_TAG_PREFIX, WORKSPACE, WorkspaceError};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::dispatcher::Outcome;
use super::keeping::{Hold, Keeping, Made, Parent};
use crate::backend::{Backends, artifact_ref};
use crate::cache::{Decision, Entry, Key, KeyLock, Missing, Never, Parts, Verdict};
use crate::host_functions::{EventSender, Role, Secrets, StepContext, StepTerms};
use crate::pipeline::PlannedStep;
use crate::plugin::{InstanceSpec, Plugin, PluginFailure, executor_call, one_line};
use crate::record::{Recorder, StepLog, read_log};

/// What a step exits with when its time is over, as with `timeout(1)`.
const TIMED_OUT: i32 = 124;

/// What a step exits with that could not begin, since what its last run produced cannot be removed (`EX_CANTCREAT`).
const NOT_CLEARED: i32 = 73;

/// Everything that it takes to run a step.
pub(super) struct Job {
    /// Its position in the plan.
    pub(super) number: usize,
    /// Who runs it.
    pub(super) plugin: Option<Arc<Plugin>>,
    pub(super) planned: PlannedStep,
    /// Its environment, merged.
    pub(super) env: BTreeMap<String, String>,
    /// What its parent saved.
    pub(super) parent: Option<SnapshotRef>,
    pub(super) step_id: Uuid,
    pub(super) run_id: Uuid,
    pub(super) archive: ArchiveId,
    pub(super) backends: Backends,
    pub(super) events: EventSender,
    pub(super) secrets: Arc<Secrets>,
    pub(super) record: Option<Arc<Recorder>>,
    /// Where what it produces goes.
    pub(super) artifacts: PathBuf,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// What is to be done about a step.
pub(super) struct Settled {
    /// What the cache said, if it was asked.
    pub(super) decision: Option<Decision>,
    job: Job,
    course: Course,
}

enum Course {
    /// Run it, and keep nothing.
    Run,
    /// Run it, and keep its result.
    Make { keeping: Arc<Keeping>, parts: Box<Parts>, tag: SnapshotRef, lock: KeyLock },
    /// Give what a former build got.
    Replay { entry: Box<Entry>, log: FormerLog, held: Held },
}

/// What a step printed in a former build.
type FormerLog = Box<dyn Iterator<Item = io::Result<(StdStream, String)>> + Send>;

/// What keeps others from removing a result while it is used; a cache that cannot be written to needs neither.
type Held = (Option<KeyLock>, Hold);

/// How a step ended, and what is left of it.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// What its result is called in the cache, if it is there.
    pub(super) kept: Option<SnapshotRef>,
    pub(super) artifacts: Vec<ArtifactRef>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, kept: None, artifacts: Vec::new() }
    }
}

impl Settled {
    /// To run, and not to be kept.
    pub(super) fn without_cache(job: Job, never: Option<Never>) -> Self {
        let step = job.planned.step.key.clone();
        let decision =
            never.map(|never| Decision { step, key: None, parts: None, verdict: Verdict::Never(never) });
        Self { decision, job, course: Course::Run }
    }

    /// What the cache has of it.
    pub(super) fn hit(&self) -> Option<&SnapshotRef> {
        match &self.course {
            Course::Replay { entry, .. } => Some(&entry.tag),
            Course::Run | Course::Make { .. } => None,
        }
    }

    /// Runs it, or gives again what a former build got.
    pub(super) async fn carry_out(self) -> Done {
        let Self { job, course, .. } = self;
        match course {
            Course::Run => job.run(CacheDecision::MissNoCommit).await.done,
            Course::Make { keeping, parts, tag, lock } => job.make(&keeping, *parts, tag, lock).await,
            Course::Replay { entry, log, held } => job.replay(*entry, log, held).await,
        }
    }
}

/// What running a step gave.
struct RunResult {
    done: Done,
    /// What it brought out.
    produced: Vec<Artifact>,
    /// Its log, if it was written down in full.
    log: Option<PathBuf>,
    duration_ms: u64,
}

impl Job {
    /// Finds out whether the step has to run. Waits while another build makes the same.
    pub(super) async fn settle(self, keeping: Arc<Keeping>, parent: Option<Parent>) -> Settled {
        let step = self.planned.step.key.clone();
        let parts = match keeping.parts(&self.planned, &self.env, self.plugin.as_deref(), parent).await {
            Ok(parts) => parts,
            Err(never) => return Settled::without_cache(self, Some(never)),
        };
        let key = parts.key();
        let decide = |verdict| Decision {
            step: step.clone(),
            key: Some(key.clone()),
            parts: Some(parts.clone()),
            verdict,
        };
        let mut lock = None;
        loop {
            let hold = if lock.is_none() { keeping.hold(&key) } else { Hold::Nobody };
            let taken = match hold {
                // As if nothing were there.
                Hold::Busy => Err(Missing::NoEntry),
                _ => self.take(&keeping, &key).await,
            };
            let missing = match taken {
                Ok((entry, log)) => {
                    let verdict = Verdict::Hit { tag: entry.tag.clone(), made_at: entry.made_at };
                    let (decision, held) = (Some(decide(verdict)), (lock, hold));
                    return Settled { decision, job: self, course: Course::Replay { entry, log, held } };
                }
                Err(missing) => missing,
            };
            // Or nobody could make it, we included.
            drop(hold);
            if let Some(lock) = lock {
                let decision = Some(decide(Verdict::Miss(missing)));
                let tag = SnapshotRef(format!("{CACHE_TAG_PREFIX}{}", Uuid::new_v4().simple()));
                let course = Course::Make { keeping, parts: Box::new(parts), tag, lock };
                return Settled { decision, job: self, course };
            }
            // What somebody else is making may be there once that has ended.
            lock = match keeping.lock(&step, &key).await {
                Ok(lock) => Some(lock),
                Err(never) => {
                    let decision = Some(decide(Verdict::Never(never)));
                    return Settled { decision, job: self, course: Course::Run };
                }
            };
        }
    }

    /// What is kept under a key, if all of it is still there. What the step had produced is back in its place then.
    async fn take(&self, keeping: &Keeping, key: &Key) -> Result<(Box<Entry>, FormerLog), Missing> {
        let entry = keeping.look(key, self.planned.caching.longest())?;
        let log = read_log(&keeping.log(&entry).await?).map_err(|_| Missing::Damaged)?;
        keeping.check(self.plugin.as_deref(), &entry.tag).await?;
        if !self.is_there(&entry.tag).await {
            return Err(Missing::Gone);
        }
        self.restore(keeping, &entry).await?;
        keeping.used(key);
        Ok((Box::new(entry), Box::new(log)))
    }

    /// Whether the runner says that it still has what is kept under a tag. What it prints meanwhile is not for anybody.
    async fn is_there(&self, tag: &SnapshotRef) -> bool {
        let Some(plugin) = &self.plugin else { return false };
        let cache = CacheDecision::Hit { tag: tag.clone() };
        let (nobody, _) = mpsc::channel(1);
        let role = Role::Executor(Box::new(self.context(&cache, nobody, None)));
        let mut live =
            plugin.instance(InstanceSpec { cancelled: self.cancelled.clone(), ..InstanceSpec::of(role) });
        let limits = executor_call(self.planned.timeout);
        let asked: Result<StepResult, PluginFailure> =
            live.call_json("hm_executor_run", &self.input(cache), &limits).await;
        asked.is_ok_and(|result| result.exit_code == 0 && result.committed_snapshot.as_ref() == Some(tag))
    }

    /// Brings back what the step had produced. If that is not possible, the step has to produce it again.
    async fn restore(&self, keeping: &Keeping, entry: &Entry) -> Result<(), Missing> {
        let from = keeping.store().artifacts_path(&entry.key);
        let restored = artifacts::restore(from, self.artifacts.clone(), &entry.artifacts).await;
        restored.map_err(|_| Missing::Damaged)
    }

    async fn run(self, cache: CacheDecision) -> RunResult {
        let started = Instant::now();
        let ended = |outcome: Outcome| RunResult {
            done: outcome.into(),
            produced: Vec::new(),
            log: None,
            duration_ms: 0,
        };
        let Some(plugin) = &self.plugin else {
            let message = format!("no plugin provides runner `{}`", self.planned.runner);
            return ended(Outcome::PluginFailed { message });
        };
        if let Err(error) = artifacts::clear(self.artifacts.clone()).await {
            return ended(Outcome::Failed { exit_code: NOT_CLEARED, message: one_line(&error) });
        }
        let role = Role::Executor(Box::new(self.context(&cache, self.events.clone(), self.log())));
        let mut live =
            plugin.instance(InstanceSpec { cancelled: self.cancelled.clone(), ..InstanceSpec::of(role) });
        let timeout = self.planned.timeout;
        let result: Result<StepResult, PluginFailure> =
            live.call_json("hm_executor_run", &self.input(cache), &executor_call(timeout)).await;
        let (log, produced) = match live.role() {
            Role::Executor(step) => step.finish().await,
            _ => (None, Vec::new()),
        };
        let outcome = match (result, timeout) {
            (Ok(result), _) if result.exit_code == 0 => {
                Outcome::Succeeded { snapshot: result.committed_snapshot }
            }
            (Ok(StepResult { exit_code, .. }), _) => {
                Outcome::Failed { exit_code, message: how_it_exited(exit_code) }
            }
            (Err(PluginFailure::Call { source: CallError::TimedOut { .. }, .. }), Some(limit)) => {
                Outcome::Failed {
                    exit_code: TIMED_OUT,
                    message: format!("timed out after {} s", limit.as_secs()),
                }
            }
            (Err(failure), _) => match lacking(&failure) {
                Some(message) => Outcome::Unavailable { message },
                None => Outcome::PluginFailed { message: one_line(&failure) },
            },
        };
        let done = Done { outcome, kept: None, artifacts: named(&produced) };
        RunResult { done, produced, log, duration_ms: super::run::millis(started) }
    }

    /// Runs it, and keeps its result if it succeeds.
    async fn make(self, keeping: &Keeping, parts: Parts, tag: SnapshotRef, lock: KeyLock) -> Done {
        let (step, longest) = (self.planned.step.key.clone(), self.planned.caching.longest());
        let directory = self.artifacts.clone();
        let RunResult { mut done, produced: artifacts, log, duration_ms } =
            self.run(CacheDecision::MissBuildAs { tag: tag.clone() }).await;
        if matches!(&done.outcome, Outcome::Succeeded { snapshot: Some(snapshot) } if *snapshot == tag) {
            let made = Made { parts, tag: tag.clone(), step, longest, duration_ms, artifacts };
            if keeping.keep(lock, made, log, directory).await {
                done.kept = Some(tag);
            }
        }
        done
    }

    /// Gives again what a former build got.
    async fn replay(self, entry: Entry, log: FormerLog, _held: Held) -> Done {
        let cache = CacheDecision::Hit { tag: entry.tag.clone() };
        let mut step = self.context(&cache, self.events.clone(), self.log());
        for line in log {
            match line {
                Ok((stream, line)) => step.again(stream, line).await,
                Err(error) => step.lines(StdStream::Stderr, &lost(&error)).await,
            }
        }
        step.finish().await;
        let outcome = Outcome::Succeeded { snapshot: Some(entry.tag.clone()) };
        Done { outcome, kept: Some(entry.tag), artifacts: named(&entry.artifacts) }
    }

    fn log(&self) -> Option<StepLog> {
        self.record.as_ref()?.log(self.number, &self.planned.step.key)
    }

    fn context(&self, cache: &CacheDecision, events: EventSender, log: Option<StepLog>) -> StepContext {
        let terms = StepTerms {
            step_id: self.step_id,
            archive: self.archive,
            parent: self.parent.clone(),
            cache: cache.clone(),
            is_built_in: !self.planned.children.is_empty(),
            artifacts: Some(self.artifacts.clone()),
        };
        StepContext::new(terms, self.backends.clone(), events, log, self.secrets.clone())
    }

    fn input(&self, cache_lookup: CacheDecision) -> ExecutorInput {
        let mut step = self.planned.step.clone();
        // That of the pipeline, if the step has none of its own.
        step.image = self.planned.image.clone().or(step.image);
        ExecutorInput {
            step,
            workspace_archive_id: self.archive,
            env: self.env.clone(),
            workdir: WORKSPACE.into(),
            run_id: self.run_id,
            step_id: self.step_id,
            cache_lookup,
            parent_snapshot: self.parent.clone(),
        }
    }
}

/// What a plugin asked for and did not get, if that was not its own fault.
fn lacking(failure: &PluginFailure) -> Option<String> {
    let mut causes = successors(Some(failure as &dyn Error), |&error| error.source());
    causes.find_map(|error| {
        let docker = error.downcast_ref::<DockerError>().is_some_and(|error| !error.is_misuse());
        let local = error.downcast_ref::<SandboxError>().is_some_and(|error| !error.is_misuse());
        (docker || local || error.is::<WorkspaceError>()).then(|| one_line(error))
    })
}

/// What listeners hear of it.
fn named(produced: &[Artifact]) -> Vec<ArtifactRef> {
    produced.iter().map(artifact_ref).collect()
}

fn lost(error: &dyn std::error::Error) -> String {
    format!("hm: not all of what this step wrote is in the cache: {error}")
}

/// Shells and our own process 1 say 128 + n of a command that died of signal n.
fn how_it_exited(exit_code: i32) -> String {
    match exit_code {
        129..=192 => format!("exited with code {exit_code} (signal {})", exit_code - 128),
        _ => format!("exited with code {exit_code}"),
    }
}
