//! Host functions of instances that have streams: writing to the terminal or the pipe that `hm` itself was given.

use hm_abi::HostError;

use super::output::{Output, Sink};
use super::plugin_state::PluginState;
use super::role::Role;

/// `hm_write_stdout`: adds to the standard output of `hm`.
pub(super) async fn hm_write_stdout(state: &mut PluginState, text: Vec<u8>) -> Result<(), HostError> {
    let at_once = is_at_once(state);
    write(&mut output(state)?.stdout, at_once, &text).await
}

/// `hm_write_stderr`: adds to the standard error of `hm`.
pub(super) async fn hm_write_stderr(state: &mut PluginState, text: Vec<u8>) -> Result<(), HostError> {
    let at_once = is_at_once(state);
    write(&mut output(state)?.stderr, at_once, &text).await
}

/// True if what is written must be seen before the guest goes on: it may wait for a person who is to read it. A
/// formatter is told when there is time to write.
fn is_at_once(state: &PluginState) -> bool {
    !matches!(state.role, Role::Formatter(_))
}

async fn write(sink: &mut Sink, at_once: bool, bytes: &[u8]) -> Result<(), HostError> {
    sink.write(bytes).await?;
    if at_once {
        sink.flush().await?;
    }
    Ok(())
}

fn output(state: &mut PluginState) -> Result<&mut Output, HostError> {
    let role = state.role.kind();
    let denied =
        || HostError::Denied { capability: format!("writing to the terminal, by {}", role.plural()) };
    state.role.output().ok_or_else(denied)
}
