//! Host functions that reach no back end: diagnostics for whoever runs `hm`, log lines of the plugin's own step, and
//! being told to stop.

use hm_abi::HostError;
use hm_plugin_protocol::{BuildEvent, Level, StdStream};

use super::PluginState;

/// `hm_log`: a diagnostic line, shown with the plugin's name.
pub(super) async fn hm_log(state: &mut PluginState, level: Level, text: String) -> Result<(), HostError> {
    let text = state.context.secrets.mask(&text);
    state.diagnose(level, &text).await;
    Ok(())
}

/// `hm_emit_step_log`: output of the current step.
pub(super) async fn hm_emit_step_log(
    state: &mut PluginState,
    stream: StdStream,
    output: Vec<u8>,
) -> Result<(), HostError> {
    state.step()?.output(stream, &output).await;
    Ok(())
}

/// `hm_emit_event`: an event, if it is a log line of the current step. All other events are the host's alone.
pub(super) async fn hm_emit_event(state: &mut PluginState, event: BuildEvent) -> Result<(), HostError> {
    let step = state.step()?;
    match event {
        BuildEvent::StepLog { step_id, stream, line, .. } if step_id == step.scope.step_id => {
            step.lines(stream, &line).await;
            Ok(())
        }
        _ => Err(HostError::Denied { capability: "events other than log lines of its own step".into() }),
    }
}

/// `hm_should_cancel`: true once the step, build or command is to stop.
pub(super) async fn hm_should_cancel(state: &mut PluginState) -> Result<bool, HostError> {
    Ok(state.cancellation.is_cancelled())
}
