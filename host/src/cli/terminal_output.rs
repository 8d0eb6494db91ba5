//! The one way of commands to standard output and standard error: whatever a person may look at passes the sanitizer
//! here.

use std::io::{IsTerminal, Write};

use super::error::CliError;
use super::text::indented;
use crate::sys::printable;

/// Writes to standard output, and succeeds.
pub(super) fn print(text: &str) -> Result<u8, CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Write)?;
    Ok(0)
}

/// Writes to standard output, and succeeds: unchanged, unless a person looks at it.
pub(super) fn print_data(bytes: &[u8]) -> Result<u8, CliError> {
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() {
        drop(stdout);
        let text = String::from_utf8_lossy(bytes);
        // Or the prompt would stand behind it.
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return print(&format!("{text}{end}"));
    }
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(CliError::Write)?;
    Ok(0)
}

/// Prints a value as JSON, for programs.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<u8, CliError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| CliError::Write(error.into()))?;
    text.push(b'\n');
    print_data(&text)
}

/// Warning on standard error, in which no line of somebody else's text can pass for one of ours.
pub(super) fn warn(text: &str) {
    to_stderr(&format!("warning: {}\n", indented(text)));
}

/// Text for a person on standard error.
pub(super) fn to_stderr(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = std::io::stderr().lock().write_all(printable(text).as_bytes());
}
