//! Carries out what the dispatcher decides: steps become tasks, what happens to them becomes events. Holds the clock,
//! the tasks and the channels; decides nothing itself.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chrono::Utc;
use hm_plugin_protocol::{ArchiveId, ArtifactRef, BuildEvent, SnapshotRef};
use hm_workspace::artifacts;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use uuid::Uuid;

use super::dispatcher::{Action, Dispatcher, Input, Manner, Outcome};
use super::exit;
use super::formatter::{FormatterError, show};
use super::hooks::{HookStop, HookTrouble, Hooks, Verdict};
use super::keeping::{Keeping, Kept, Parent};
use super::step::{Done, Job, Settled};
use crate::backend::Backends;
use crate::host_functions::{EventSender, World};
use crate::pipeline::Plan;
use crate::plugin::{PluginInstance, Plugins};
use crate::record::Recorder;

/// How many events may wait for the formatter before the steps have to.
const EVENTS: usize = 1024;

/// What a build needs.
pub struct Build {
    /// What to run.
    pub plan: Arc<Plan>,
    /// Who runs it.
    pub plugins: Plugins,
    /// Where commands run.
    pub backends: Backends,
    /// How many steps run at once, and what a failure stops.
    pub manner: Manner,
    /// What it takes from the cache and keeps there; none if there is no cache.
    pub keeping: Option<Keeping>,
    /// What it writes down.
    pub record: Option<Recorder>,
    /// Where what steps produce goes.
    pub artifacts: PathBuf,
    /// Names this run.
    pub run_id: Uuid,
    /// What is outside of the plugins.
    pub world: Arc<World>,
    /// Shows the events.
    pub formatter: PluginInstance,
}

/// The user wants the build to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt;

/// What became of a build.
#[derive(Debug)]
pub struct Ended {
    /// What `hm build` exits with.
    pub exit_code: i32,
    /// Whether it could be shown.
    pub shown: Result<(), FormatterError>,
    /// The hook that stopped it, if one did.
    pub stopped: Option<HookStop>,
    /// What went wrong with hooks.
    pub troubles: Vec<HookTrouble>,
    /// What there is to tell of the cache.
    pub kept: Kept,
    /// Why the record is not complete.
    pub not_recorded: Option<String>,
}

/// Runs a build to its end, whatever end that is. When this returns, no step is running any more.
pub async fn run(build: Build, interrupts: mpsc::Receiver<Interrupt>) -> Ended {
    let (events, receiver) = mpsc::channel(EVENTS);
    let (unheard, nobody_listens) = oneshot::channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    let Hooks { verdict, to_formatter, shown, tasks } = Hooks::new(&build.plugins, &cancelled, receiver);
    let formatter = tokio::spawn(show(build.formatter, to_formatter, shown, unheard));
    let keeping = build.keeping.map(Arc::new);
    let record = build.record.map(Arc::new);
    let run = Run {
        steps: (0..build.plan.steps().len()).map(|_| StepRun::new()).collect(),
        archive: ArchiveId(Uuid::new_v4()),
        started: Instant::now(),
        plan: build.plan,
        plugins: build.plugins,
        backends: build.backends,
        keeping: keeping.clone(),
        record: record.clone(),
        artifacts: build.artifacts,
        run_id: build.run_id,
        world: build.world,
        cancelled,
        tasks: JoinSet::new(),
        running: HashMap::new(),
        stop: Stop {
            interrupts,
            nobody_listens: Some(nobody_listens),
            verdict: verdict.clone(),
            requested: None,
        },
        gate: verdict.clone().map(|verdict| Gate { verdict, sent: 0 }),
        events,
    };
    let exit_code = run.finish(build.manner).await;
    let shown = match formatter.await {
        Ok(shown) => shown,
        Err(e) => Err(FormatterError::Write(std::io::Error::other(e))),
    };
    let troubles = tasks.join_all().await.into_iter().flatten().collect();
    let stopped = verdict.and_then(|verdict| verdict.borrow().stop.clone());
    let exit_code = if exit_code == exit::OK && stopped.is_some() { exit::FAILED } else { exit_code };
    let kept = match keeping {
        Some(keeping) => keeping.close().await,
        None => Kept::default(),
    };
    let not_recorded = record.and_then(|record| record.trouble());
    Ended { exit_code, shown, stopped, troubles, kept, not_recorded }
}

struct Run {
    plan: Arc<Plan>,
    plugins: Plugins,
    backends: Backends,
    keeping: Option<Arc<Keeping>>,
    record: Option<Arc<Recorder>>,
    artifacts: PathBuf,
    run_id: Uuid,
    world: Arc<World>,
    archive: ArchiveId,
    started: Instant,
    steps: Vec<StepRun>,
    cancelled: Arc<AtomicBool>,
    tasks: JoinSet<Progress>,
    running: HashMap<Id, usize>,
    stop: Stop,
    gate: Option<Gate>,
    events: EventSender,
}

/// The hooks that must have heard of an event before it takes effect.
struct Gate {
    verdict: watch::Receiver<Verdict>,
    /// How many events were sent, log lines apart.
    sent: u64,
}

struct StepRun {
    id: Uuid,
    /// Set once its start, or what the cache has of it, was announced.
    started: Option<Instant>,
    /// What its result is called in the cache, if it is there.
    kept: Option<SnapshotRef>,
    artifacts: Vec<ArtifactRef>,
}

impl StepRun {
    fn new() -> Self {
        Self { id: Uuid::new_v4(), started: None, kept: None, artifacts: Vec::new() }
    }
}

/// How far the task of a step has come.
enum Progress {
    /// It is decided whether it has to run.
    Settled(Box<Settled>),
    /// It is over.
    Done(Done),
}

/// Everything that ends a build early.
struct Stop {
    interrupts: mpsc::Receiver<Interrupt>,
    nobody_listens: Option<oneshot::Receiver<()>>,
    verdict: Option<watch::Receiver<Verdict>>,
    /// What the dispatcher is to be told.
    requested: Option<Input>,
}

impl Stop {
    /// Waits until the build is to stop; for ever once that has happened.
    async fn requested(&mut self) {
        if self.requested.is_some() {
            return std::future::pending().await;
        }
        let unheard = async {
            match &mut self.nobody_listens {
                Some(receiver) => match receiver.await {
                    Ok(()) => {}
                    // The formatter has merely ended.
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let aborted = async {
            let said = match &mut self.verdict {
                Some(verdict) => verdict.wait_for(|verdict| verdict.stop.is_some()).await.is_ok(),
                None => false,
            };
            if !said {
                std::future::pending::<()>().await;
            }
        };
        self.requested = tokio::select! {
            Some(Interrupt) = self.interrupts.recv() => Some(Input::Cancel),
            () = unheard => {
                self.nobody_listens = None;
                Some(Input::Cancel)
            }
            () = aborted => Some(Input::Abort),
        };
    }

    /// Whether a hook has said by now that the build is to stop.
    fn is_aborted(&mut self) -> bool {
        let stop = self.verdict.as_ref().is_some_and(|verdict| verdict.borrow().stop.is_some());
        if stop && self.requested.is_none() {
            self.requested = Some(Input::Abort);
        }
        stop
    }
}

impl Run {
    async fn finish(mut self, manner: Manner) -> i32 {
        let start =
            BuildEvent::BuildStart { run_id: self.run_id, plan: self.plan.summary(), started_at: Utc::now() };
        self.emit(start).await;
        if self.stop.is_aborted() {
            let (exit_code, duration_ms) = (exit::FAILED, millis(self.started));
            self.emit(BuildEvent::BuildEnd { exit_code, duration_ms }).await;
            return exit_code;
        }
        let (mut dispatcher, actions) = Dispatcher::new(self.plan.clone(), manner);
        let mut actions = VecDeque::from(actions);
        let mut told = false;
        loop {
            // What was performed last may be what the build is stopped for: the dispatcher has to know before it goes on.
            if let (Some(input), false) = (&self.stop.requested, told) {
                told = true;
                actions.extend(dispatcher.handle(input.clone()));
            }
            match actions.pop_front() {
                Some(Action::Finish { exit_code }) => {
                    let duration_ms = millis(self.started);
                    self.emit(BuildEvent::BuildEnd { exit_code, duration_ms }).await;
                    return exit_code;
                }
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
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Some(input) = self.progress(ended).await {
                        actions.extend(dispatcher.handle(input));
                    }
                }
                () = self.stop.requested() => {}
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Queue { step } => {
                let planned = &self.plan.steps()[step];
                let (key, chain_idx) = (planned.step.key.clone(), planned.chain);
                self.emit(BuildEvent::StepQueued { step_id: self.steps[step].id, key, chain_idx }).await;
            }
            Action::Start { step, parent } => self.start(step, parent).await,
            Action::End { step, exit_code, snapshot } => {
                let StepRun { id: step_id, started, artifacts, .. } = &mut self.steps[step];
                let duration_ms = started.map_or(0, millis);
                let (step_id, artifacts) = (*step_id, std::mem::take(artifacts));
                self.emit(BuildEvent::StepEnd { step_id, exit_code, duration_ms, snapshot, artifacts }).await;
            }
            Action::Fail { step, exit_code, message } => {
                let planned = &self.plan.steps()[step];
                let event = BuildEvent::ChainFailed {
                    chain_idx: planned.chain,
                    failed_step_id: self.steps[step].id,
                    failed_step_key: planned.step.key.clone(),
                    exit_code,
                    // What a plugin fails with is words of its own.
                    message: self.world.secrets.mask(&message),
                    ts: Utc::now(),
                };
                self.emit(event).await;
            }
            Action::StopRunning => self.stop_running(),
            // Ends the loop that calls this.
            Action::Finish { .. } => {}
        }
    }

    /// Sends an event, and waits until the hooks that may stop the build have heard of it. Whoever reads the output may be slow, and
    /// the user may want to stop meanwhile: then the steps are stopped at once and the event still goes its way.
    async fn emit(&mut self, event: BuildEvent) {
        if let Some(record) = &self.record {
            record.event(&event);
        }
        loop {
            tokio::select! {
                // A closed channel means that nobody listens any more.
                permit = self.events.reserve() => {
                    if let Ok(permit) = permit {
                        permit.send(event);
                    }
                    break;
                }
                () = self.stop.requested() => {}
            }
            self.stop_running();
        }
        if let Some(gate) = &mut self.gate {
            gate.sent += 1;
            let (mut verdict, sent) = (gate.verdict.clone(), gate.sent);
            loop {
                tokio::select! {
                    // It is closed once there is nobody to wait for.
                    _ = verdict.wait_for(|verdict| verdict.passed >= sent) => break,
                    () = self.stop.requested() => {}
                }
                self.stop_running();
            }
        }
        if self.stop.is_aborted() {
            self.stop_running();
        }
    }

    fn stop_running(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.tasks.abort_all();
    }

    /// Starts a step, or has it looked up in the cache first.
    async fn start(&mut self, step: usize, parent: Option<SnapshotRef>) {
        let planned = &self.plan.steps()[step];
        let job = self.job(step, parent);
        let keeping = match (&self.keeping, Keeping::never(planned)) {
            (Some(keeping), None) => keeping.clone(),
            (keeping, never) => {
                let never = never.filter(|_| keeping.is_some());
                return self.begin(step, Settled::without_cache(job, never)).await;
            }
        };
        let parent = planned.parent.map(|parent| Parent {
            key: self.plan.steps()[parent].step.key.clone(),
            kept: self.steps[parent].kept.clone(),
        });
        let settle = async move { Progress::Settled(Box::new(job.settle(keeping, parent).await)) };
        let task = self.tasks.spawn(settle);
        self.running.insert(task.id(), step);
    }

    /// Announces what was decided about a step, and acts on it.
    async fn begin(&mut self, step: usize, settled: Settled) {
        if let Some(decision) = &settled.decision {
            tracing::debug!(target: "hm::cache", step = ?decision.step, verdict = ?decision.verdict, "cache decision");
        }
        if let (Some(record), Some(decision)) = (&self.record, &settled.decision) {
            record.decision(decision);
        }
        let planned = &self.plan.steps()[step];
        self.steps[step].started = Some(Instant::now());
        let step_id = self.steps[step].id;
        let event = match settled.hit() {
            Some(tag) => {
                BuildEvent::StepCacheHit { step_id, key: planned.step.key.clone(), tag: tag.0.clone() }
            }
            None => {
                let (runner, image) = (planned.runner.clone(), planned.image.clone());
                BuildEvent::StepStart { step_id, runner, image }
            }
        };
        self.emit(event).await;
        let task = if self.stop.requested.is_some() {
            self.tasks.spawn(async { Progress::Done(Outcome::Cancelled.into()) })
        } else {
            self.tasks.spawn(async { Progress::Done(settled.carry_out().await) })
        };
        self.running.insert(task.id(), step);
    }

    /// What a task has come to. A step that was to start and has not, because of a stop, has no end either.
    async fn progress(&mut self, ended: Result<(Id, Progress), JoinError>) -> Option<Input> {
        let (id, progress) = match ended {
            Ok(ended) => ended,
            Err(e) if e.is_cancelled() => (e.id(), Progress::Done(Outcome::Cancelled.into())),
            Err(e) => {
                let message = format!("hm itself failed: {e}");
                (e.id(), Progress::Done(Outcome::PluginFailed { message }.into()))
            }
        };
        let step = self.running.remove(&id)?;
        match progress {
            Progress::Settled(_) if self.stop.requested.is_some() => Some(Input::NotStarted { step }),
            Progress::Settled(settled) => {
                self.begin(step, *settled).await;
                None
            }
            Progress::Done(Done { outcome: Outcome::Cancelled, .. })
                if self.steps[step].started.is_none() =>
            {
                Some(Input::NotStarted { step })
            }
            Progress::Done(Done { outcome, kept, artifacts }) => {
                let run = &mut self.steps[step];
                (run.kept, run.artifacts) = (kept, artifacts);
                Some(Input::Ended { step, outcome })
            }
        }
    }

    fn job(&self, step: usize, parent: Option<SnapshotRef>) -> Job {
        let planned = &self.plan.steps()[step];
        Job {
            number: step,
            plugin: self.plugins.runner(&planned.runner).cloned(),
            env: self.plan.env(planned),
            planned: planned.clone(),
            parent,
            step_id: self.steps[step].id,
            run_id: self.run_id,
            archive: self.archive,
            backends: self.backends.clone(),
            events: self.events.clone(),
            secrets: self.world.secrets.clone(),
            record: self.record.clone(),
            artifacts: artifacts::directory(&self.artifacts, &planned.step.key),
            cancelled: self.cancelled.clone(),
        }
    }
}

pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
