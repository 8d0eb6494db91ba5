//! One step: resolving it (the decision, and acting on a hit), running it by its plugin, or replaying the result of a
//! former build. `run` announces it and lets it begin.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use hm_abi::CallError;
use hm_disk::{causes, one_line};
use hm_docker::DockerError;
use hm_plugin_protocol::{ArtifactRef, CacheDecision, ExecutorInput, SnapshotRef, StdStream, StepResult};
use hm_step_sandbox::SandboxError;
use hm_workspace::artifacts;
use hm_workspace::content::Artifact;
use hm_workspace::{CACHE_TAG_PREFIX, WORKSPACE, WorkspaceError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::context::BuildContext;
use super::decide::{CachedResult, ParentStep, Resolution, StepQuery};
use super::dispatcher::StepOutcome;
use super::elapsed::millis;
use super::step_cache::{NewResult, ReadLock, StepCache};
use crate::backend::artifact_ref;
use crate::cache::{KeyInputs, KeyLock, MissReason, ResultMeta, StepDecision, StepVerdict, Uncacheable};
use crate::host_functions::{Role, StepContext, StepScope};
use crate::pipeline::PlannedStep;
use crate::plugin::{InstanceSpec, Plugin, PluginFailure, PluginInstance, executor_call};
use crate::record::{EventWriter, StepWriter, read_log};

/// Exit code of a step that timed out, as with `timeout(1)`.
const TIMED_OUT: i32 = 124;

/// Exit code of a step that could not begin, because the artifacts of its last run cannot be removed (`EX_CANTCREAT`).
const NOT_CLEARED: i32 = 73;

/// A step in a build.
pub(super) struct StepTask {
    pub(super) build: Arc<BuildContext>,
    pub(super) events: EventWriter,
    pub(super) stop: CancellationToken,
    /// Position in the plan.
    pub(super) number: usize,
    pub(super) step_id: Uuid,
    /// Snapshot of the step that it builds in.
    pub(super) parent: Option<SnapshotRef>,
}

/// A step, with the decision what to do about it.
pub(super) struct ResolvedStep {
    /// Decision for the record, if the cache was asked.
    pub(super) decision: Option<StepDecision>,
    task: StepTask,
    execution: Execution,
}

/// Execution of a resolved step.
enum Execution {
    /// Run it, and keep nothing.
    Run,
    /// Run it, and keep its result.
    RunAndKeep { cache: Arc<StepCache>, inputs: Box<KeyInputs>, tag: SnapshotRef, lock: KeyLock },
    /// Replay the result of a former build.
    Replay { meta: Box<ResultMeta>, log: FormerLog, locks: Locks },
}

/// Lines that a step printed in a former build.
type FormerLog = Box<dyn Iterator<Item = io::Result<(StdStream, String)>> + Send>;

/// Locks that keep others from removing a result while it is used; a cache that cannot be written to needs neither.
type Locks = (Option<KeyLock>, ReadLock);

/// A step that has come to its end.
pub(super) struct FinishedStep {
    pub(super) outcome: StepOutcome,
    /// Tag of its result in the cache, if it is there.
    pub(super) result: Option<SnapshotRef>,
    pub(super) artifacts: Vec<ArtifactRef>,
}

impl From<StepOutcome> for FinishedStep {
    fn from(outcome: StepOutcome) -> Self {
        Self { outcome, result: None, artifacts: Vec::new() }
    }
}

impl ResolvedStep {
    /// A step that is to run without the cache. If there is a cache, `reason` says why.
    pub(super) fn without_cache(task: StepTask, reason: Option<Uncacheable>) -> Self {
        let step = task.planned().step.key.clone();
        let decision = reason.map(|reason| StepDecision {
            step,
            key: None,
            inputs: None,
            verdict: StepVerdict::Uncacheable(reason),
        });
        Self { decision, task, execution: Execution::Run }
    }

    /// Tag of the result that it takes from the cache.
    pub(super) fn hit(&self) -> Option<&SnapshotRef> {
        match &self.execution {
            Execution::Replay { meta, .. } => Some(&meta.tag),
            Execution::Run | Execution::RunAndKeep { .. } => None,
        }
    }

    /// Runs the step, or replays the result of a former build.
    pub(super) async fn execute(self) -> FinishedStep {
        let Self { task, execution, .. } = self;
        match execution {
            Execution::Run => task.run(CacheDecision::MissNoCommit).await.finished,
            Execution::RunAndKeep { cache, inputs, tag, lock } => {
                task.run_and_keep(&cache, *inputs, tag, lock).await
            }
            Execution::Replay { meta, log, locks } => task.replay(*meta, log, locks).await,
        }
    }
}

/// A run of a step.
struct RunResult {
    finished: FinishedStep,
    /// Artifacts that it brought out.
    produced: Vec<Artifact>,
    /// Path of its log, if that is whole.
    log: Option<PathBuf>,
    duration_ms: u64,
}

impl StepTask {
    pub(super) fn planned(&self) -> &PlannedStep {
        &self.build.plan.steps()[self.number]
    }

    fn plugin(&self) -> Option<&Plugin> {
        self.build.plugins.runner(&self.planned().runner).map(|plugin| &**plugin)
    }

    fn env(&self) -> BTreeMap<String, String> {
        self.build.plan.env(self.planned())
    }

    /// Directory for its artifacts.
    fn artifacts(&self) -> Option<PathBuf> {
        let root = self.build.artifacts.as_ref()?;
        Some(artifacts::directory(root, &self.planned().step.key))
    }

    /// Resolves the step: asks for the decision and, on a hit, brings back the log and the artifacts. A hit that cannot
    /// be brought back completely becomes a miss. Waits while another build makes the same result.
    pub(super) async fn resolve(self, cache: Arc<StepCache>, parent: Option<ParentStep>) -> ResolvedStep {
        let keyed = cache.identify(StepQuery::of(&self.build, self.planned()), parent).await;
        let (key, inputs) = match keyed.identity() {
            Ok((key, inputs)) => (key.clone(), Box::new(inputs.clone())),
            Err(reason) => return ResolvedStep::without_cache(self, Some(reason.clone())),
        };
        let mut write_lock = None;
        loop {
            // Locked before asking: whoever prunes the cache meanwhile must not remove what is found.
            let read_lock = if write_lock.is_none() { cache.read_lock(&key) } else { ReadLock::Unlockable };
            let resolution = match read_lock {
                // Treated as if nothing were there: whoever has the lock is about to change the result.
                ReadLock::Contended => Resolution::Miss(MissReason::NoEntry),
                _ => cache.decide(&keyed).await,
            };
            let reason = match resolution {
                Resolution::Hit(result) => match self.fetch_cached(&cache, &result).await {
                    Ok(log) => {
                        let meta = result.meta.clone();
                        let decision = Some(keyed.decision(&Resolution::Hit(result)));
                        let execution =
                            Execution::Replay { meta: Box::new(meta), log, locks: (write_lock, read_lock) };
                        return ResolvedStep { decision, task: self, execution };
                    }
                    Err(reason) => reason,
                },
                Resolution::Miss(reason) => reason,
                Resolution::Uncacheable(reason) => return ResolvedStep::without_cache(self, Some(reason)),
            };
            // A read lock keeps everybody from making the result, us included.
            drop(read_lock);
            if let Some(lock) = write_lock {
                let decision = Some(keyed.decision(&Resolution::Miss(reason)));
                let tag = SnapshotRef(format!("{CACHE_TAG_PREFIX}{}", Uuid::new_v4().simple()));
                let execution = Execution::RunAndKeep { cache, inputs, tag, lock };
                return ResolvedStep { decision, task: self, execution };
            }
            write_lock = match cache.write_lock(&self.planned().step.key, &key).await {
                // Ask again: what somebody else was making may be there now.
                Ok(lock) => Some(lock),
                Err(reason) => {
                    let decision = Some(keyed.decision(&Resolution::Uncacheable(reason)));
                    return ResolvedStep { decision, task: self, execution: Execution::Run };
                }
            };
        }
    }

    /// Acts on a hit: brings the artifacts back to their place, and opens the log.
    async fn fetch_cached(&self, cache: &StepCache, result: &CachedResult) -> Result<FormerLog, MissReason> {
        let log = read_log(&result.log).map_err(|_| MissReason::Damaged)?;
        let meta = &result.meta;
        // The host knows about snapshots that are made with its own functions. Only the runner knows about others.
        if result.needs_runner && !self.runner_has(&meta.tag).await {
            return Err(MissReason::RunnerLostIt);
        }
        if let Some(directory) = self.artifacts() {
            let from = cache.store().artifacts_path(&meta.key);
            let restored = artifacts::restore(from, directory, &meta.artifacts).await;
            restored.map_err(|_| MissReason::Damaged)?;
        }
        cache.used(&meta.key);
        Ok(Box::new(log))
    }

    /// True if the runner says that it still has a snapshot. What it prints meanwhile is dropped.
    async fn runner_has(&self, tag: &SnapshotRef) -> bool {
        let cache = CacheDecision::Hit { tag: tag.clone() };
        let Some(plugin) = self.plugin() else { return false };
        let mut live = self.instance(plugin, &cache, StepWriter::unheard(self.step_id));
        let limits = executor_call(self.planned().timeout);
        let answer: Result<StepResult, PluginFailure> =
            live.call_json("hm_executor_run", &self.input(cache), &limits).await;
        answer.is_ok_and(|result| result.exit_code == 0 && result.committed_snapshot.as_ref() == Some(tag))
    }

    async fn run(&self, cache: CacheDecision) -> RunResult {
        let started = Instant::now();
        let ended = |outcome: StepOutcome| RunResult {
            finished: outcome.into(),
            produced: Vec::new(),
            log: None,
            duration_ms: 0,
        };
        let Some(plugin) = self.plugin() else {
            let message = format!("no plugin provides runner `{}`", self.planned().runner);
            return ended(StepOutcome::PluginFailed { message });
        };
        if let Some(directory) = self.artifacts()
            && let Err(error) = artifacts::clear(directory).await
        {
            return ended(StepOutcome::Failed { exit_code: NOT_CLEARED, message: one_line(&error) });
        }
        let mut live = self.instance(plugin, &cache, self.writer());
        let timeout = self.planned().timeout;
        let result: Result<StepResult, PluginFailure> =
            live.call_json("hm_executor_run", &self.input(cache), &executor_call(timeout)).await;
        let (log, produced) = match live.role() {
            Role::Executor(step) => step.finish().await,
            _ => (None, Vec::new()),
        };
        let outcome = match (result, timeout) {
            (Ok(result), _) if result.exit_code == 0 => {
                StepOutcome::Succeeded { snapshot: result.committed_snapshot }
            }
            (Ok(StepResult { exit_code, .. }), _) => {
                StepOutcome::Failed { exit_code, message: how_it_exited(exit_code) }
            }
            (Err(PluginFailure::Call { source: CallError::TimedOut { .. }, .. }), Some(limit)) => {
                StepOutcome::Failed {
                    exit_code: TIMED_OUT,
                    message: format!("timed out after {} s", limit.as_secs()),
                }
            }
            (Err(failure), _) => match unavailable(&failure) {
                Some(message) => StepOutcome::Unavailable { message },
                None => StepOutcome::PluginFailed { message: one_line(&failure) },
            },
        };
        let finished = FinishedStep { outcome, result: None, artifacts: references(&produced) };
        RunResult { finished, produced, log, duration_ms: millis(started) }
    }

    /// Runs the step, and keeps its result if it succeeds.
    async fn run_and_keep(
        &self,
        cache: &StepCache,
        inputs: KeyInputs,
        tag: SnapshotRef,
        lock: KeyLock,
    ) -> FinishedStep {
        let RunResult { mut finished, produced: artifacts, log, duration_ms } =
            self.run(CacheDecision::MissBuildAs { tag: tag.clone() }).await;
        // A runner that has saved something else, or nothing, has made no result.
        if matches!(&finished.outcome, StepOutcome::Succeeded { snapshot: Some(snapshot) } if *snapshot == tag)
        {
            let planned = self.planned();
            let (step, max_age) = (planned.step.key.clone(), planned.caching.longest());
            let result = NewResult { inputs, tag: tag.clone(), step, max_age, duration_ms, artifacts };
            if cache.keep(lock, result, log, self.artifacts()).await {
                finished.result = Some(tag);
            }
        }
        finished
    }

    /// Replays the result of a former build. The locks are released at the end.
    async fn replay(&self, meta: ResultMeta, log: FormerLog, _locks: Locks) -> FinishedStep {
        let cache = CacheDecision::Hit { tag: meta.tag.clone() };
        let mut step = self.context(&cache, self.writer());
        for line in log {
            match line {
                Ok((stream, line)) => step.replay(stream, line).await,
                Err(error) => step.lines(StdStream::Stderr, &lost(&error)).await,
            }
        }
        step.finish().await;
        let outcome = StepOutcome::Succeeded { snapshot: Some(meta.tag.clone()) };
        FinishedStep { outcome, result: Some(meta.tag), artifacts: references(&meta.artifacts) }
    }

    fn writer(&self) -> StepWriter {
        self.events.of_step(self.step_id, self.number, &self.planned().step.key)
    }

    /// A fresh instance of the runner's plugin, whose lines go to this writer.
    fn instance(&self, plugin: &Plugin, cache: &CacheDecision, output: StepWriter) -> PluginInstance {
        let role = Role::Executor(Box::new(self.context(cache, output)));
        let start = InstanceSpec { cancellation: self.stop.clone(), ..InstanceSpec::of(role) };
        plugin.instance(start)
    }

    fn context(&self, cache: &CacheDecision, output: StepWriter) -> StepContext {
        let scope = StepScope {
            step_id: self.step_id,
            archive: self.build.archive,
            parent: self.parent.clone(),
            cache: cache.clone(),
            is_built_in: !self.planned().children.is_empty(),
            artifacts: self.artifacts(),
        };
        StepContext::new(scope, self.build.backends.clone(), output, self.build.host_context.secrets.clone())
    }

    fn input(&self, cache_lookup: CacheDecision) -> ExecutorInput {
        let planned = self.planned();
        let mut step = planned.step.clone();
        // The planned image: the pipeline's, if the step has none of its own.
        step.image = planned.image.clone().or(step.image);
        ExecutorInput {
            step,
            workspace_archive_id: self.build.archive,
            env: self.env(),
            workdir: WORKSPACE.into(),
            run_id: self.build.run_id,
            step_id: self.step_id,
            cache_lookup,
            parent_snapshot: self.parent.clone(),
        }
    }
}

/// Message of a failure that is not the plugin's: something that the step needs is unavailable.
fn unavailable(failure: &PluginFailure) -> Option<String> {
    causes(failure).find_map(|error| {
        let docker = error.downcast_ref::<DockerError>().is_some_and(|error| !error.is_misuse());
        let local = error.downcast_ref::<SandboxError>().is_some_and(|error| !error.is_misuse());
        (docker || local || error.is::<WorkspaceError>()).then(|| one_line(error))
    })
}

/// References to artifacts, as events have them.
fn references(produced: &[Artifact]) -> Vec<ArtifactRef> {
    produced.iter().map(artifact_ref).collect()
}

fn lost(error: &dyn std::error::Error) -> String {
    format!("hm: not all of what this step wrote is in the cache: {error}")
}

/// End of a command in words. Shells and our own process 1 report 128 + n for a command that signal n killed.
fn how_it_exited(exit_code: i32) -> String {
    match exit_code {
        129..=192 => format!("exited with code {exit_code} (signal {})", exit_code - 128),
        _ => format!("exited with code {exit_code}"),
    }
}
