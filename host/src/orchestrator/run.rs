//! Carries out what the dispatcher decides: steps become tasks, what happens to them becomes events. Holds the clock,
//! the tasks and the channels; decides nothing itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chrono::Utc;
use hm_abi::CallError;
use hm_plugin_protocol::{ArchiveId, BuildEvent, CacheDecision, ExecutorInput, SnapshotRef, StepResult};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use uuid::Uuid;

use super::dispatcher::{Action, Dispatcher, Input, Outcome};
use super::exit;
use super::formatter::{FormatterError, show};
use super::hooks::{HookStop, HookTrouble, Hooks, Verdict};
use crate::backend::local::{LocalBackend, WORKSPACE};
use crate::pipeline::Plan;
use crate::plugin::{Live, Plugin, PluginFailure, Plugins, Start, executor_call, one_line};
use crate::sandbox::{EventSender, Role, StepContext, StepTerms, World};

/// How many events may wait for the formatter before the steps have to.
const EVENTS: usize = 1024;

/// What a step exits with when its time is over, as with `timeout(1)`.
const TIMED_OUT: i32 = 124;

/// What a build needs.
pub struct Build {
    /// What to run.
    pub plan: Arc<Plan>,
    /// Who runs it.
    pub plugins: Plugins,
    /// Where commands run.
    pub backend: Arc<LocalBackend>,
    /// How many steps run at once.
    pub jobs: usize,
    /// Names this run.
    pub run_id: Uuid,
    /// What is outside of the plugins.
    pub world: Arc<World>,
    /// Shows the events.
    pub formatter: Live,
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
}

/// Runs a build to its end, whatever end that is. When this returns, no step is running any more.
pub async fn run(build: Build, interrupts: mpsc::Receiver<Interrupt>) -> Ended {
    let (events, receiver) = mpsc::channel(EVENTS);
    let (unheard, nobody_listens) = oneshot::channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    let Hooks { verdict, to_formatter, shown, tasks } = Hooks::new(&build.plugins, &cancelled, receiver);
    let formatter = tokio::spawn(show(build.formatter, to_formatter, shown, unheard));
    let run = Run {
        steps: (0..build.plan.steps().len())
            .map(|_| StepRun { id: Uuid::new_v4(), started: Instant::now() })
            .collect(),
        archive: ArchiveId(Uuid::new_v4()),
        started: Instant::now(),
        plan: build.plan,
        plugins: build.plugins,
        backend: build.backend,
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
    let exit_code = run.finish(build.jobs).await;
    let shown = match formatter.await {
        Ok(shown) => shown,
        Err(e) => Err(FormatterError::Write(std::io::Error::other(e))),
    };
    let troubles = tasks.join_all().await.into_iter().flatten().collect();
    let stopped = verdict.and_then(|verdict| verdict.borrow().stop.clone());
    let exit_code = if exit_code == exit::OK && stopped.is_some() { exit::FAILED } else { exit_code };
    Ended { exit_code, shown, stopped, troubles }
}

struct Run {
    plan: Arc<Plan>,
    plugins: Plugins,
    backend: Arc<LocalBackend>,
    run_id: Uuid,
    world: Arc<World>,
    archive: ArchiveId,
    started: Instant,
    steps: Vec<StepRun>,
    cancelled: Arc<AtomicBool>,
    tasks: JoinSet<Outcome>,
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
    started: Instant,
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
    async fn finish(mut self, jobs: usize) -> i32 {
        let start =
            BuildEvent::BuildStart { run_id: self.run_id, plan: self.plan.summary(), started_at: Utc::now() };
        self.emit(start).await;
        if self.stop.is_aborted() {
            let (exit_code, duration_ms) = (exit::FAILED, millis(self.started));
            self.emit(BuildEvent::BuildEnd { exit_code, duration_ms }).await;
            return exit_code;
        }
        let (mut dispatcher, actions) = Dispatcher::new(self.plan.clone(), jobs);
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
                    if let Some(input) = self.ended(ended) {
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
            Action::Start { step, parent } => {
                let planned = &self.plan.steps()[step];
                let (runner, image) = (planned.runner.clone(), planned.image.clone());
                self.steps[step].started = Instant::now();
                self.emit(BuildEvent::StepStart { step_id: self.steps[step].id, runner, image }).await;
                let task = if self.stop.requested.is_some() {
                    self.tasks.spawn(async { Outcome::Cancelled })
                } else {
                    self.tasks.spawn(self.step(step, parent))
                };
                self.running.insert(task.id(), step);
            }
            Action::End { step, exit_code, snapshot } => {
                let StepRun { id: step_id, started } = self.steps[step];
                let duration_ms = millis(started);
                self.emit(BuildEvent::StepEnd {
                    step_id,
                    exit_code,
                    duration_ms,
                    snapshot,
                    artifacts: Vec::new(),
                })
                .await;
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

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Option<Input> {
        let (id, outcome) = match ended {
            Ok(ended) => ended,
            Err(e) if e.is_cancelled() => (e.id(), Outcome::Cancelled),
            Err(e) => (e.id(), Outcome::PluginFailed { message: format!("hm itself failed: {e}") }),
        };
        let step = self.running.remove(&id)?;
        Some(Input::Ended { step, outcome })
    }

    /// The task that runs one step.
    fn step(
        &self,
        index: usize,
        parent_snapshot: Option<SnapshotRef>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let planned = &self.plan.steps()[index];
        let plugin = self.plugins.runner(&planned.runner).cloned();
        let step_id = self.steps[index].id;
        let (archive, backend) = (self.archive, self.backend.clone());
        let cache = CacheDecision::MissNoCommit;
        let terms = StepTerms {
            step_id,
            archive,
            parent: parent_snapshot.clone(),
            cache: cache.clone(),
            artifacts: None,
        };
        let (events, secrets) = (self.events.clone(), self.world.secrets.clone());
        let role = Role::Executor(Box::new(StepContext::new(terms, backend, events, secrets)));
        let start = Start { cancelled: self.cancelled.clone(), ..Start::of(role) };
        let input = ExecutorInput {
            step: planned.step.clone(),
            workspace_archive_id: archive,
            env: self.plan.env(planned),
            workdir: WORKSPACE.into(),
            run_id: self.run_id,
            step_id,
            cache_lookup: cache,
            parent_snapshot,
        };
        let (runner, timeout) = (planned.runner.clone(), planned.timeout);
        async move {
            match plugin {
                Some(plugin) => execute(&plugin, start, input, timeout).await,
                None => Outcome::PluginFailed { message: format!("no plugin provides runner `{runner}`") },
            }
        }
    }
}

async fn execute(
    plugin: &Plugin,
    start: Start,
    input: ExecutorInput,
    timeout: Option<std::time::Duration>,
) -> Outcome {
    let mut live = plugin.instance(start);
    let result: Result<StepResult, PluginFailure> =
        live.ask("hm_executor_run", &input, &executor_call(timeout)).await;
    if let Role::Executor(step) = live.role() {
        step.end_of_output().await;
    }
    match (result, timeout) {
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
        (Err(failure), _) => Outcome::PluginFailed { message: one_line(&failure) },
    }
}

/// Shells and our own process 1 say 128 + n of a command that died of signal n.
fn how_it_exited(exit_code: i32) -> String {
    match exit_code {
        129..=192 => format!("exited with code {exit_code} (signal {})", exit_code - 128),
        _ => format!("exited with code {exit_code}"),
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
