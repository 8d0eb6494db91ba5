//! Carries out what the dispatcher decides: steps become tasks, what happens to them becomes events. Holds the clock,
//! the tasks and the channels; decides nothing itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use hm_plugin_protocol::{ArtifactRef, BuildEvent, SnapshotRef};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::context::BuildContext;
use super::decide::ParentStep;
use super::dispatcher::{Action, BuildOptions, Dispatcher, Input, StepOutcome};
use super::elapsed::millis;
use super::exit;
use super::formatter::{FormatterError, show};
use super::hooks::{HookError, HookProgress, HookStop, Hooks};
use super::step::{FinishedStep, ResolvedStep, StepTask};
use super::step_cache::{CacheReport, StepCache};
use super::stop::{Stop, StopReason};
use crate::plugin::PluginInstance;
use crate::record::EventWriter;

/// Number of events that may wait for the formatter before the steps have to wait.
const EVENTS: usize = 1024;

/// End of a build.
#[derive(Debug)]
pub(crate) struct BuildOutcome {
    /// Exit code of `hm build`.
    pub(crate) exit_code: i32,
    /// Error of the formatter, if the output is not complete.
    pub(crate) shown: Result<(), FormatterError>,
    /// Hook that stopped the build, if one did.
    pub(crate) stopped: Option<HookStop>,
    /// Errors of hooks, in the order in which they came.
    pub(crate) hook_errors: Vec<HookError>,
    /// Report on the cache.
    pub(crate) cache: CacheReport,
    /// Reason why the record is not complete.
    pub(crate) not_recorded: Option<String>,
}

/// Runs a build to its end, whatever end that is. When this returns, no step is running any more.
pub(crate) async fn run(
    build: Arc<BuildContext>,
    options: BuildOptions,
    formatter: PluginInstance,
    interrupted: &CancellationToken,
) -> BuildOutcome {
    let (sender, receiver) = mpsc::channel(EVENTS);
    let stop = Stop::new(interrupted);
    let Hooks { progress, to_formatter, shown, tasks } = Hooks::new(&build.plugins, &stop, receiver);
    let formatter = tokio::spawn(show(formatter, to_formatter, shown, stop.clone()));
    let running = RunningBuild {
        steps: (0..build.plan.steps().len()).map(|_| StepProgress::new()).collect(),
        started: Instant::now(),
        events: EventWriter::new(build.record.clone(), sender),
        stop,
        tasks: JoinSet::new(),
        running: HashMap::new(),
        gate: progress.clone().map(|progress| Gate { progress, sent: 0 }),
        build: build.clone(),
    };
    // This drops the last sender of events, so that the formatter and then the hooks behind it come to their end. They
    // do so in this order, since each waits for the one before.
    let exit_code = running.finish(options).await;
    let shown = match formatter.await {
        Ok(shown) => shown,
        Err(e) => Err(FormatterError::Write(std::io::Error::other(e))),
    };
    let hook_errors = tasks.join_all().await.into_iter().flatten().collect();
    let stopped = progress.and_then(|progress| progress.borrow().stop.clone());
    let exit_code = if exit_code == exit::OK && stopped.is_some() { exit::FAILED } else { exit_code };
    let cache = match build.cache.clone() {
        Some(cache) => cache.close().await,
        None => CacheReport::default(),
    };
    let not_recorded = build.record.as_ref().and_then(|record| record.trouble());
    BuildOutcome { exit_code, shown, stopped, hook_errors, cache, not_recorded }
}

/// A build under way.
struct RunningBuild {
    build: Arc<BuildContext>,
    started: Instant,
    steps: Vec<StepProgress>,
    events: EventWriter,
    stop: Stop,
    tasks: JoinSet<Progress>,
    running: HashMap<Id, usize>,
    gate: Option<Gate>,
}

/// Hooks that must have heard of an event before it takes effect.
struct Gate {
    progress: watch::Receiver<HookProgress>,
    /// Number of events sent so far, without log lines.
    sent: u64,
}

struct StepProgress {
    id: Uuid,
    /// Time at which the step's start or its cache hit was announced; `None` before that.
    started: Option<Instant>,
    /// Tag of its result in the cache, if it is there.
    result: Option<SnapshotRef>,
    artifacts: Vec<ArtifactRef>,
}

impl StepProgress {
    fn new() -> Self {
        Self { id: Uuid::new_v4(), started: None, result: None, artifacts: Vec::new() }
    }
}

/// Outcome of one of a step's two tasks.
enum Progress {
    /// The decision about the step has been made.
    Resolved(Box<ResolvedStep>),
    /// The step is over.
    Finished(FinishedStep),
}

impl RunningBuild {
    async fn finish(mut self, options: BuildOptions) -> i32 {
        let (run_id, plan) = (self.build.run_id, self.build.plan.clone());
        self.emit(BuildEvent::BuildStart { run_id, plan: plan.summary(), started_at: Utc::now() }).await;
        if self.stop.requested() == Some(StopReason::Hook) {
            return self.end(exit::FAILED).await;
        }
        let (mut dispatcher, actions) = Dispatcher::new(plan, options);
        let mut actions = VecDeque::from(actions);
        let mut told = false;
        loop {
            // The last action may have led to a stop of the build: the dispatcher has to know before it goes on.
            actions.extend(self.tell_stop(&mut dispatcher, &mut told));
            match actions.pop_front() {
                Some(Action::Finish { exit_code }) => return self.end(exit_code).await,
                Some(Action::Start { step, .. }) if told => {
                    actions.extend(dispatcher.handle(Input::NotStarted { step }));
                    continue;
                }
                Some(action) => {
                    self.perform(action).await;
                    continue;
                }
                None => {}
            }
            let stop = self.stop.token().clone();
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => {
                    let input = self.progress(ended).await;
                    // The stop comes before the end of a step that it stopped, or the step would seem to have ended by
                    // itself.
                    actions.extend(self.tell_stop(&mut dispatcher, &mut told));
                    actions.extend(input.map(|input| dispatcher.handle(input)).unwrap_or_default());
                }
                () = stop.cancelled(), if !told => {}
            }
        }
    }

    /// Tells the dispatcher of a stop, once.
    fn tell_stop(&self, dispatcher: &mut Dispatcher, told: &mut bool) -> Vec<Action> {
        let input = match self.stop.requested() {
            Some(StopReason::Interrupted) => Input::Cancel,
            Some(StopReason::Hook) => Input::Abort,
            None => return Vec::new(),
        };
        if std::mem::replace(told, true) { Vec::new() } else { dispatcher.handle(input) }
    }

    async fn end(&mut self, exit_code: i32) -> i32 {
        let duration_ms = millis(self.started);
        self.emit(BuildEvent::BuildEnd { exit_code, duration_ms }).await;
        exit_code
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Queue { step } => {
                let planned = &self.build.plan.steps()[step];
                let (key, chain_idx) = (planned.step.key.clone(), planned.chain);
                self.emit(BuildEvent::StepQueued { step_id: self.steps[step].id, key, chain_idx }).await;
            }
            Action::Start { step, parent } => self.start(step, parent).await,
            Action::End { step, exit_code, snapshot } => {
                let StepProgress { id: step_id, started, artifacts, .. } = &mut self.steps[step];
                let duration_ms = started.map_or(0, millis);
                let (step_id, artifacts) = (*step_id, std::mem::take(artifacts));
                self.emit(BuildEvent::StepEnd { step_id, exit_code, duration_ms, snapshot, artifacts }).await;
            }
            Action::Fail { step, exit_code, message } => {
                let planned = &self.build.plan.steps()[step];
                let event = BuildEvent::ChainFailed {
                    chain_idx: planned.chain,
                    failed_step_id: self.steps[step].id,
                    failed_step_key: planned.step.key.clone(),
                    exit_code,
                    // The message may be the plugin's own words, and have secrets in it.
                    message: self.build.host_context.secrets.mask(&message),
                    ts: Utc::now(),
                };
                self.emit(event).await;
            }
            // Each step waits for the token itself, so that it stops even while an event waits for a slow reader.
            Action::StopRunning => self.stop.token().cancel(),
            // Not reached: the loop that calls this ends there by itself.
            Action::Finish { .. } => {}
        }
    }

    /// Writes an event, and waits until the hooks that may stop the build have heard of it.
    async fn emit(&mut self, event: BuildEvent) {
        self.events.write(event).await;
        if let Some(Gate { progress, sent }) = &mut self.gate {
            *sent += 1;
            let sent = *sent;
            // An error means that it is closed: there is no hook left to wait for.
            let _ = progress.wait_for(|progress| progress.passed >= sent).await;
        }
    }

    /// Starts a step, or has it resolved by the cache first.
    async fn start(&mut self, step: usize, parent: Option<SnapshotRef>) {
        let planned = &self.build.plan.steps()[step];
        let task = StepTask {
            build: self.build.clone(),
            events: self.events.clone(),
            stop: self.stop.token().clone(),
            number: step,
            step_id: self.steps[step].id,
            parent,
        };
        let cache = match (&self.build.cache, StepCache::unwanted(planned)) {
            (Some(cache), None) => cache.clone(),
            (cache, unwanted) => {
                let reason = unwanted.filter(|_| cache.is_some());
                return self.begin(step, ResolvedStep::without_cache(task, reason)).await;
            }
        };
        let parent = planned.parent.map(|parent| ParentStep {
            key: self.build.plan.steps()[parent].step.key.clone(),
            result: self.steps[parent].result.clone(),
        });
        self.spawn(step, async move { Progress::Resolved(Box::new(task.resolve(cache, parent).await)) });
    }

    /// Announces what was decided about a step, and acts on it.
    async fn begin(&mut self, step: usize, resolved: ResolvedStep) {
        if let Some(decision) = &resolved.decision {
            tracing::debug!(target: "hm::cache", step = ?decision.step, verdict = ?decision.verdict, "cache decision");
            self.events.decision(decision);
        }
        let planned = &self.build.plan.steps()[step];
        self.steps[step].started = Some(Instant::now());
        let step_id = self.steps[step].id;
        let event = match resolved.hit() {
            Some(tag) => {
                BuildEvent::StepCacheHit { step_id, key: planned.step.key.clone(), tag: tag.0.clone() }
            }
            None => {
                let (runner, image) = (planned.runner.clone(), planned.image.clone());
                BuildEvent::StepStart { step_id, runner, image }
            }
        };
        self.emit(event).await;
        // If a hook has stopped the build at this event, nothing of the task runs.
        self.spawn(step, async { Progress::Finished(resolved.execute().await) });
    }

    /// Spawns a task of a step, which is dropped when the build is stopped.
    fn spawn(&mut self, step: usize, work: impl Future<Output = Progress> + Send + 'static) {
        let stop = self.stop.token().clone();
        let task = self.tasks.spawn(async move {
            let progress = stop.run_until_cancelled(work).await;
            progress.unwrap_or_else(|| Progress::Finished(StepOutcome::Cancelled.into()))
        });
        self.running.insert(task.id(), step);
    }

    /// The dispatcher's next input after a task has ended. A step that a stop kept from starting has no end either.
    async fn progress(&mut self, ended: Result<(Id, Progress), JoinError>) -> Option<Input> {
        let (id, progress) = ended.unwrap_or_else(|e| {
            let message = format!("hm itself failed: {e}");
            (e.id(), Progress::Finished(StepOutcome::PluginFailed { message }.into()))
        });
        let step = self.running.remove(&id)?;
        match progress {
            Progress::Resolved(_) if self.stop.requested().is_some() => Some(Input::NotStarted { step }),
            Progress::Resolved(resolved) => {
                self.begin(step, *resolved).await;
                None
            }
            Progress::Finished(FinishedStep { outcome: StepOutcome::Cancelled, .. })
                if self.steps[step].started.is_none() =>
            {
                Some(Input::NotStarted { step })
            }
            Progress::Finished(FinishedStep { outcome, result, artifacts }) => {
                let progress = &mut self.steps[step];
                (progress.result, progress.artifacts) = (result, artifacts);
                Some(Input::Ended { step, outcome })
            }
        }
    }
}
