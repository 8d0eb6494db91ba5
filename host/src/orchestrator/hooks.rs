//! Tells the lifecycle hooks of the events of a build: one live instance for each plugin, those of phase `before` on
//! the way to the formatter, those of phase `after` behind it. A hook that breaks is switched off, and the build goes
//! on without it.

use std::sync::Arc;
use std::time::Duration;

use hm_abi::CallError;
use hm_plugin_protocol::{BuildEvent, HookEvent, HookEventKind, HookOutcome, HookPhase, LifecycleHookSpec};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exit;
use super::stop::{Stop, StopReason};
use crate::host_functions::Role;
use crate::plugin::{InstanceSpec, PluginFailure, PluginInstance, Plugins, hook_call};

/// Time that a hook may take for an event once the build was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// A hook wants the build to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} stopped the build: {reason}")]
pub(crate) struct HookStop {
    pub(crate) plugin: Arc<str>,
    /// Reason in its own words.
    pub(crate) reason: String,
}

/// Error of a hook. The build is unharmed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// The call of the hook failed.
    #[error("the hook of plugin {plugin} is switched off for the rest of the build")]
    Failed { plugin: Arc<str>, source: PluginFailure },
    /// It would have stopped the build at something that has happened already.
    #[error("the hook of plugin {plugin} cannot stop the build after an event, only before: {reason}")]
    TooLate {
        plugin: Arc<str>,
        /// Reason in its own words.
        reason: String,
    },
}

/// Progress of the hooks of phase `before`.
#[derive(Debug, Default)]
pub(super) struct HookProgress {
    /// Number of events that have passed them, log lines apart.
    pub(super) passed: u64,
    /// The first of them that wants the build to stop.
    pub(super) stop: Option<HookStop>,
}

/// The hooks of a build, in the way of its events.
pub(super) struct Hooks {
    /// Progress, if there are hooks of phase `before`.
    pub(super) progress: Option<watch::Receiver<HookProgress>>,
    /// Events that the formatter is to show.
    pub(super) to_formatter: mpsc::Receiver<BuildEvent>,
    /// Way of the events that it has shown, if there are hooks of phase `after`.
    pub(super) shown: Option<mpsc::Sender<BuildEvent>>,
    /// Errors of hooks, once all have heard all events.
    pub(super) tasks: JoinSet<Vec<HookError>>,
}

/// The hooks of one plugin.
struct Hook {
    plugin: Arc<str>,
    specs: Vec<LifecycleHookSpec>,
    /// None once it is switched off.
    live: Option<PluginInstance>,
    stop: CancellationToken,
    was_too_late: bool,
}

/// Answer of a hook to an event.
enum HookAnswer {
    Continue,
    Stop(HookStop),
    Failed(HookError),
}

impl Hooks {
    /// Puts the hooks of these plugins into the way of these events. Between any two of the parties as many may wait as
    /// in `events`.
    pub(super) fn new(plugins: &Plugins, stop: &Stop, events: mpsc::Receiver<BuildEvent>) -> Self {
        let mut hooks: Vec<Hook> = Vec::new();
        for (plugin, spec) in plugins.hooks() {
            match hooks.last_mut() {
                Some(hook) if hook.plugin == plugin.name => hook.specs.push(spec.clone()),
                _ => {
                    let start =
                        InstanceSpec { cancellation: stop.token().clone(), ..InstanceSpec::of(Role::Hook) };
                    let live = Some(plugin.instance(start));
                    let (plugin, specs) = (plugin.name.clone(), vec![spec.clone()]);
                    let stop = stop.token().clone();
                    hooks.push(Hook { plugin, specs, live, stop, was_too_late: false });
                }
            }
        }
        let hooks: Vec<(Vec<HookPhase>, Arc<Mutex<Hook>>)> = hooks
            .into_iter()
            .map(|hook| (hook.specs.iter().map(|spec| spec.phase).collect(), Arc::new(Mutex::new(hook))))
            .collect();
        let of = |phase: HookPhase| -> Vec<Arc<Mutex<Hook>>> {
            hooks.iter().filter(|(phases, _)| phases.contains(&phase)).map(|(_, hook)| hook.clone()).collect()
        };
        let room = events.max_capacity();
        let mut this = Self { progress: None, to_formatter: events, shown: None, tasks: JoinSet::new() };
        let (before, after) = (of(HookPhase::Before), of(HookPhase::After));
        if !before.is_empty() {
            let (onward, to_formatter) = mpsc::channel(room);
            let (sender, progress) = watch::channel(HookProgress::default());
            let events = std::mem::replace(&mut this.to_formatter, to_formatter);
            this.progress = Some(progress);
            this.tasks.spawn(tell_before(before, events, onward, sender, stop.clone()));
        }
        if !after.is_empty() {
            let (shown, events) = mpsc::channel(room);
            this.shown = Some(shown);
            this.tasks.spawn(tell_after(after, events));
        }
        this
    }
}

async fn tell_before(
    hooks: Vec<Arc<Mutex<Hook>>>,
    mut events: mpsc::Receiver<BuildEvent>,
    onward: mpsc::Sender<BuildEvent>,
    progress: watch::Sender<HookProgress>,
    stop: Stop,
) -> Vec<HookError> {
    let mut errors = Vec::new();
    while let Some(mut event) = events.recv().await {
        for hook in &hooks {
            match hook.lock().await.tell(&event, HookPhase::Before).await {
                HookAnswer::Continue => {}
                HookAnswer::Stop(by) => {
                    progress.send_modify(|progress| {
                        progress.stop.get_or_insert(by);
                    });
                    // Before the event has passed: whoever waits for that must not act on it.
                    stop.request(StopReason::Hook);
                }
                HookAnswer::Failed(error) => errors.push(error),
            }
        }
        if let BuildEvent::BuildEnd { exit_code, .. } = &mut event
            && *exit_code == exit::OK
            && progress.borrow().stop.is_some()
        {
            *exit_code = exit::FAILED;
        }
        if !matches!(event, BuildEvent::StepLog { .. }) {
            progress.send_modify(|progress| progress.passed += 1);
        }
        // Nobody shows it any more; the hooks are still told of the rest.
        let _ = onward.send(event).await;
    }
    errors
}

async fn tell_after(hooks: Vec<Arc<Mutex<Hook>>>, mut events: mpsc::Receiver<BuildEvent>) -> Vec<HookError> {
    let mut errors = Vec::new();
    while let Some(event) = events.recv().await {
        for hook in &hooks {
            let mut hook = hook.lock().await;
            match hook.tell(&event, HookPhase::After).await {
                HookAnswer::Continue => {}
                HookAnswer::Failed(error) => errors.push(error),
                // It is enough to hear of that once.
                HookAnswer::Stop(_) if hook.was_too_late => {}
                HookAnswer::Stop(HookStop { plugin, reason }) => {
                    hook.was_too_late = true;
                    errors.push(HookError::TooLate { plugin, reason });
                }
            }
        }
    }
    errors
}

impl Hook {
    /// Tells it of an event, if it wants to hear of it.
    async fn tell(&mut self, event: &BuildEvent, phase: HookPhase) -> HookAnswer {
        let wants = |spec: &&LifecycleHookSpec| {
            spec.phase == phase && kind(event).is_some_and(|kind| spec.events.contains(&kind))
        };
        let Some(spec) = self.specs.iter().find(wants) else { return HookAnswer::Continue };
        let Some(live) = &mut self.live else { return HookAnswer::Continue };
        let (plugin, limits) = (self.plugin.clone(), hook_call(spec.timeout_ms));
        let input = HookEvent { event: event.clone(), phase };
        let answer = tokio::select! {
            answer = live.call_json("hm_hook_on_event", &input, &limits) => answer,
            () = out_of_patience(&self.stop) => Err(PluginFailure::Call {
                plugin: plugin.clone(),
                export: "hm_hook_on_event",
                source: CallError::Cancelled { message: None },
            }),
        };
        match answer {
            Ok(HookOutcome::Continue) => HookAnswer::Continue,
            Ok(HookOutcome::Abort { reason }) => HookAnswer::Stop(HookStop { plugin, reason }),
            Err(source) => match source.own_words() {
                Some(reason) if phase == HookPhase::Before => HookAnswer::Stop(HookStop { plugin, reason }),
                _ => {
                    self.live = None;
                    HookAnswer::Failed(HookError::Failed { plugin, source })
                }
            },
        }
    }
}

/// Ends when a build that was told to stop has waited long enough for a hook.
async fn out_of_patience(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Name of an event among hooks; none for those that they do not hear of.
fn kind(event: &BuildEvent) -> Option<HookEventKind> {
    match event {
        BuildEvent::BuildStart { .. } => Some(HookEventKind::BuildStart),
        BuildEvent::StepQueued { .. } => Some(HookEventKind::StepQueued),
        BuildEvent::StepStart { .. } => Some(HookEventKind::StepStart),
        BuildEvent::StepLog { .. } => Some(HookEventKind::StepLog),
        BuildEvent::StepCacheHit { .. } => Some(HookEventKind::StepCacheHit),
        BuildEvent::StepEnd { .. } => Some(HookEventKind::StepEnd),
        BuildEvent::ChainFailed { .. } => None,
        BuildEvent::BuildEnd { .. } => Some(HookEventKind::BuildEnd),
    }
}
