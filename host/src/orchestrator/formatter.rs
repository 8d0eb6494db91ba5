//! Hands the events of a build to its formatter plugin: one live instance, every event, in order. If it breaks, the
//! build goes on without it and its failure is reported at the end.

use std::io;

use hm_disk::causes;
use hm_plugin_protocol::BuildEvent;
use tokio::sync::mpsc;

use super::stop::{Stop, StopReason};
use crate::host_functions::Role;
use crate::plugin::PluginInstance;
use crate::plugin::{EVENT_CALL, PluginFailure};

/// Error of a formatter, after which there is no more output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatterError {
    /// Failure of the plugin.
    #[error("the output of this build is not complete")]
    Plugin(#[from] PluginFailure),
    /// Its output cannot be written.
    #[error("cannot write the output of this build")]
    Write(#[from] io::Error),
}

/// Shows events until there are no more, and sends them `onward`. Stops the build once nobody can hear of them any
/// more; a formatter that merely failed does not end it.
pub(super) async fn show(
    mut formatter: PluginInstance,
    mut events: mpsc::Receiver<BuildEvent>,
    onward: Option<mpsc::Sender<BuildEvent>>,
    stop: Stop,
) -> Result<(), FormatterError> {
    let Err(error) = show_all(&mut formatter, &mut events, onward.as_ref()).await else { return Ok(()) };
    let refused = write_error(&error);
    if refused.is_some() {
        stop.request(StopReason::Interrupted);
    }
    while let Some(event) = events.recv().await {
        send(onward.as_ref(), event).await;
    }
    match refused {
        Some(refused) => Err(FormatterError::Write(refused)),
        None => flush(&mut formatter).await.and(Err(error)),
    }
}

async fn show_all(
    formatter: &mut PluginInstance,
    events: &mut mpsc::Receiver<BuildEvent>,
    onward: Option<&mpsc::Sender<BuildEvent>>,
) -> Result<(), FormatterError> {
    while let Some(event) = events.recv().await {
        let shown = formatter.call("hm_output_on_event", &event, &EVENT_CALL).await;
        send(onward, event).await;
        shown?;
        if events.is_empty() {
            flush(formatter).await?;
        }
    }
    let rest = formatter.call_bytes("hm_output_finalize", b"", &EVENT_CALL).await?;
    if let Role::Formatter(output) = formatter.role() {
        output.write_stdout(&rest).await?;
    }
    flush(formatter).await
}

async fn send(onward: Option<&mpsc::Sender<BuildEvent>>, event: BuildEvent) {
    if let Some(onward) = onward {
        // Whoever listened has ended, which is its own affair.
        let _ = onward.send(event).await;
    }
}

async fn flush(formatter: &mut PluginInstance) -> Result<(), FormatterError> {
    match formatter.role() {
        Role::Formatter(output) => Ok(output.flush().await?),
        _ => Ok(()),
    }
}

/// The system's refusal to write, which reaches us directly or through a host function of the plugin.
fn write_error(error: &FormatterError) -> Option<io::Error> {
    let io = causes(error).find_map(|e| e.downcast_ref::<io::Error>())?;
    Some(io.raw_os_error().map_or_else(|| io.kind().into(), io::Error::from_raw_os_error))
}
