//! Host functions that carry words: diagnostics for whoever runs `hm`, and log lines of the plugin's own step.

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::{BuildEvent, Level, StdStream};

use super::{Args, PluginState, steps};

/// `hm_log`: a diagnostic line, shown with the plugin's name.
pub(super) fn log(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let level: Level = steps::json("hm_log", &args[0])?;
        let text = state.world.secrets.mask(&String::from_utf8_lossy(&args[1]));
        state.diagnostics.say(&mut state.said, level, &state.plugin, &text).await;
        Ok(Vec::new())
    })
}

/// `hm_emit_step_log`: output of the current step.
pub(super) fn emit_step_log(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let stream: StdStream = steps::json("hm_emit_step_log", &args[0])?;
        let step = steps::step(state)?;
        step.output(stream, &args[1]).await;
        Ok(Vec::new())
    })
}

/// `hm_emit_event`: an event, if it is a log line of the current step. All other events are the host's alone.
pub(super) fn emit_event(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let event: BuildEvent = steps::json("hm_emit_event", &args[0])?;
        let step = steps::step(state)?;
        match event {
            BuildEvent::StepLog { step_id, stream, line, .. } if step_id == step.terms.step_id => {
                step.lines(stream, &line).await;
                Ok(Vec::new())
            }
            _ => Err(HostError::Denied { capability: "events other than log lines of its own step".into() }),
        }
    })
}
