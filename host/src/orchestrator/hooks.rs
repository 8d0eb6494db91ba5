//! Tells the lifecycle hooks of the events of a build: one live instance for each plugin, those of phase `before` on the way to the
//! formatter, those of phase `after` behind it. A hook that breaks is switched off, and the build goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hm_abi::CallError;
use hm_plugin_protocol::{BuildEvent, HookEvent, HookEventKind, HookOutcome, HookPhase, LifecycleHookSpec};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::exit;
use crate::host_functions::{EventSender, Role};
use crate::plugin::{InstanceSpec, PluginFailure, PluginInstance, Plugins, hook_call};

/// How long a hook that hears of an event may take once the build was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// How often it is looked whether the build was told to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A hook wants the build to stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} stopped the build: {reason}")]
pub struct HookStop {
    /// The plugin.
    pub plugin: Arc<str>,
    /// Why, in its words.
    pub reason: String,
}

/// What went wrong with a hook. The build is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum HookTrouble {
    /// It failed.
    #[error("the hook of plugin {plugin} is switched off for the rest of the build")]
    Failed {
        /// The plugin.
        plugin: Arc<str>,
        /// How.
        source: PluginFailure,
    },
    /// It would have stopped the build at something that has happened already.
    #[error("the hook of plugin {plugin} cannot stop the build after an event, only before: {reason}")]
    TooLate {
        /// The plugin.
        plugin: Arc<str>,
        /// Why it would have.
        reason: String,
    },
}

/// How far the hooks of phase `before` are.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// How many events have passed them, log lines apart.
    pub(super) passed: u64,
    /// The first of them that wants the build to stop.
    pub(super) stop: Option<HookStop>,
}

/// The hooks of a build, in the way of its events.
pub(super) struct Hooks {
    /// Set if there are hooks of phase `before`.
    pub(super) verdict: Option<watch::Receiver<Verdict>>,
    /// What the formatter is to show.
    pub(super) to_formatter: mpsc::Receiver<BuildEvent>,
    /// Where events go that it has shown, if there are hooks of phase `after`.
    pub(super) shown: Option<EventSender>,
    /// What went wrong with hooks, once all have heard all events.
    pub(super) tasks: JoinSet<Vec<HookTrouble>>,
}

/// The hooks of one plugin.
struct Hook {
    plugin: Arc<str>,
    specs: Vec<LifecycleHookSpec>,
    /// None once it is switched off.
    live: Option<PluginInstance>,
    cancelled: Arc<AtomicBool>,
    was_too_late: bool,
}

/// What a hook has to say to an event.
enum Answer {
    Continue,
    Stop(HookStop),
    Trouble(HookTrouble),
}

impl Hooks {
    /// Puts the hooks of these plugins into the way of these events. Between any two of the parties as many may wait as in `events`.
    pub(super) fn new(
        plugins: &Plugins,
        cancelled: &Arc<AtomicBool>,
        events: mpsc::Receiver<BuildEvent>,
    ) -> Self {
        let mut hooks: Vec<Hook> = Vec::new();
        for (plugin, spec) in plugins.hooks() {
            match hooks.last_mut() {
                Some(hook) if hook.plugin == plugin.name => hook.specs.push(spec.clone()),
                _ => {
                    let start = InstanceSpec { cancelled: cancelled.clone(), ..InstanceSpec::of(Role::Hook) };
                    let live = Some(plugin.instance(start));
                    let (plugin, specs) = (plugin.name.clone(), vec![spec.clone()]);
                    let cancelled = cancelled.clone();
                    hooks.push(Hook { plugin, specs, live, cancelled, was_too_late: false });
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
        let mut this = Self { verdict: None, to_formatter: events, shown: None, tasks: JoinSet::new() };
        let (before, after) = (of(HookPhase::Before), of(HookPhase::After));
        if !before.is_empty() {
            let (onward, to_formatter) = mpsc::channel(room);
            let (sender, verdict) = watch::channel(Verdict::default());
            let events = std::mem::replace(&mut this.to_formatter, to_formatter);
            this.verdict = Some(verdict);
            this.tasks.spawn(tell_before(before, events, onward, sender));
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
    onward: EventSender,
    verdict: watch::Sender<Verdict>,
) -> Vec<HookTrouble> {
    let mut troubles = Vec::new();
    while let Some(mut event) = events.recv().await {
        for hook in &hooks {
            match hook.lock().await.tell(&event, HookPhase::Before).await {
                Answer::Continue => {}
                Answer::Stop(stop) => verdict.send_modify(|verdict| {
                    verdict.stop.get_or_insert(stop);
                }),
                Answer::Trouble(trouble) => troubles.push(trouble),
            }
        }
        if let BuildEvent::BuildEnd { exit_code, .. } = &mut event
            && *exit_code == exit::OK
            && verdict.borrow().stop.is_some()
        {
            *exit_code = exit::FAILED;
        }
        if !matches!(event, BuildEvent::StepLog { .. }) {
            verdict.send_modify(|verdict| verdict.passed += 1);
        }
        // Nobody shows it any more; the hooks are still told of the rest.
        let _ = onward.send(event).await;
    }
    troubles
}

async fn tell_after(
    hooks: Vec<Arc<Mutex<Hook>>>,
    mut events: mpsc::Receiver<BuildEvent>,
) -> Vec<HookTrouble> {
    let mut troubles = Vec::new();
    while let Some(event) = events.recv().await {
        for hook in &hooks {
            let mut hook = hook.lock().await;
            match hook.tell(&event, HookPhase::After).await {
                Answer::Continue => {}
                Answer::Trouble(trouble) => troubles.push(trouble),
                // It is enough to hear of that once.
                Answer::Stop(_) if hook.was_too_late => {}
                Answer::Stop(HookStop { plugin, reason }) => {
                    hook.was_too_late = true;
                    troubles.push(HookTrouble::TooLate { plugin, reason });
                }
            }
        }
    }
    troubles
}

impl Hook {
    /// Tells it of an event, if it wants to hear of it.
    async fn tell(&mut self, event: &BuildEvent, phase: HookPhase) -> Answer {
        let wants = |spec: &&LifecycleHookSpec| {
            spec.phase == phase && kind(event).is_some_and(|kind| spec.events.contains(&kind))
        };
        let Some(spec) = self.specs.iter().find(wants) else { return Answer::Continue };
        let Some(live) = &mut self.live else { return Answer::Continue };
        let (plugin, limits) = (self.plugin.clone(), hook_call(spec.timeout_ms));
        let input = HookEvent { event: event.clone(), phase };
        let answer = tokio::select! {
            answer = live.call_json("hm_hook_on_event", &input, &limits) => answer,
            () = out_of_patience(&self.cancelled) => Err(PluginFailure::Call {
                plugin: plugin.clone(),
                export: "hm_hook_on_event",
                source: CallError::Cancelled { message: None },
            }),
        };
        match answer {
            Ok(HookOutcome::Continue) => Answer::Continue,
            Ok(HookOutcome::Abort { reason }) => Answer::Stop(HookStop { plugin, reason }),
            Err(source) => match source.own_words() {
                Some(reason) if phase == HookPhase::Before => Answer::Stop(HookStop { plugin, reason }),
                _ => {
                    self.live = None;
                    Answer::Trouble(HookTrouble::Failed { plugin, source })
                }
            },
        }
    }
}

/// Ends when a build that was told to stop has waited long enough for a hook.
async fn out_of_patience(cancelled: &AtomicBool) {
    while !cancelled.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(GRACE).await;
}

/// What hooks call an event; none for those that they do not hear of.
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
