//! Steps and variables that a program can be started with, and the reasons why it cannot with others.

use std::collections::BTreeMap;

use hm_plugin_protocol::CommandStep;

use crate::pipeline::PipelineError;

/// The kernel takes no longer string as one argument of a program (`MAX_ARG_STRLEN`, less the final NUL).
const MAX_ARGUMENT: usize = 128 * 1024 - 1;

/// Refuses a step that no program could be started for.
///
/// # Errors
/// [`PipelineError::BadStep`]
pub(super) fn check(step: &CommandStep, list: &str, position: usize) -> Result<(), PipelineError> {
    let bad = |reason: String| {
        let key = if step.key.is_empty() { format!("{list}[{position}]") } else { step.key.clone() };
        Err(PipelineError::BadStep { key, reason })
    };
    if step.key.is_empty() {
        return bad("its key is empty".into());
    }
    if step.key.chars().any(char::is_control) {
        return bad("its key has control characters".into());
    }
    if step.cmd.trim().is_empty() {
        return bad("its command is empty".into());
    }
    if step.cmd.contains('\0') {
        return bad("its command contains a NUL character".into());
    }
    if step.cmd.len() > MAX_ARGUMENT {
        let len = step.cmd.len();
        return bad(format!(
            "its command is {len} bytes long, and a shell takes at most {MAX_ARGUMENT}; put it in a script"
        ));
    }
    if let Some(Err(reason)) = step.env.as_ref().map(check_env) {
        return bad(reason);
    }
    if step.timeout_seconds == Some(0) {
        return bad("timeout_seconds is 0; leave it out for no timeout".into());
    }
    Ok(())
}

/// Refuses variables that no program could be started with.
///
/// # Errors
/// Reason as the end of a sentence.
pub(super) fn check_env(env: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("{name:?} cannot be the name of an environment variable"));
        }
        if value.contains('\0') {
            return Err(format!("environment variable {name} contains a NUL character"));
        }
        if name.len() + 1 + value.len() > MAX_ARGUMENT {
            return Err(format!("environment variable {name} is longer than {MAX_ARGUMENT} bytes"));
        }
    }
    Ok(())
}
