//! A lifecycle hook on the SDK 0.0.1: stops a build before its third step, and says at the end what it has heard.

use std::sync::atomic::{AtomicU32, Ordering};

use hm_plugin_sdk::*;

/// Most steps of a build.
const ALLOWED: u32 = 2;

/// A fresh `Counter` is made for each event; what must be kept is kept here.
static STARTED: AtomicU32 = AtomicU32::new(0);
static ENDED: AtomicU32 = AtomicU32::new(0);

#[derive(Default)]
struct Counter;

impl LifecycleHook for Counter {
    fn on_event(&self, HookEvent { event, phase }: HookEvent) -> Result<HookOutcome, PluginError> {
        match (phase, event) {
            (HookPhase::Before, BuildEvent::StepStart { .. }) => {
                if STARTED.fetch_add(1, Ordering::Relaxed) == ALLOWED {
                    let reason = format!("{ALLOWED} steps are enough");
                    return Ok(HookOutcome::Abort { reason });
                }
            }
            (HookPhase::After, BuildEvent::StepEnd { .. }) => drop(ENDED.fetch_add(1, Ordering::Relaxed)),
            (HookPhase::After, BuildEvent::BuildEnd { exit_code, .. }) => {
                let (started, ended) = (STARTED.load(Ordering::Relaxed), ENDED.load(Ordering::Relaxed));
                let text =
                    format!("{started} steps were to start, {ended} have ended, the build with {exit_code}");
                host::log(Level::Warn, &text);
            }
            _ => return Err(PluginError::new("counter_unasked", "this event was not asked for")),
        }
        Ok(HookOutcome::Continue)
    }
}

fn hook(phase: HookPhase, events: &[HookEventKind]) -> Capability {
    Capability::LifecycleHook(LifecycleHookSpec { events: events.to_vec(), phase, timeout_ms: 10_000 })
}

register_plugin!(
    manifest = PluginManifest {
        api_version: HM_PLUGIN_API_VERSION,
        name: "published-hook".into(),
        version: semver::Version::new(0, 1, 0),
        description: "Counts steps.".into(),
        capabilities: vec![
            hook(HookPhase::Before, &[HookEventKind::StepStart]),
            hook(HookPhase::After, &[HookEventKind::StepEnd, HookEventKind::BuildEnd]),
        ],
        required_host_fns: vec!["hm_log".into()],
        config_schema: None,
        allowed_hosts: vec![],
    },
    hook = Counter,
);
