//! Host functions that ask the person at the terminal. The host draws the question, so that nobody can take it for one
//! of `hm` or of another plugin.

use std::time::Duration;

use hm_abi::HostError;
use hm_plugin_protocol::{TtyConfirmArgs, TtyPromptArgs};
use tokio_util::sync::CancellationToken;

use super::PluginState;
use crate::backend::terminal::TerminalError;
use crate::sys::printable;

/// Most characters of a question.
const MAX_QUESTION: usize = 500;

/// Time that whoever handles a signal may take to cancel what asks.
const AFTER_SIGNAL: Duration = Duration::from_secs(2);

/// `hm_tty_prompt`: a line that the person types.
pub(super) async fn hm_tty_prompt(
    state: &mut PluginState,
    TtyPromptArgs { msg, mask }: TtyPromptArgs,
) -> Result<String, HostError> {
    let question = question(&state.plugin, &msg);
    let answer = unless_cancelled(&state.cancellation, state.context.terminal.ask(&question, mask)).await;
    let answer = answer.map_err(HostError::failed)?;
    if mask {
        state.context.secrets.add(&answer).map_err(HostError::failed)?;
    }
    Ok(answer)
}

/// `hm_tty_confirm`: yes or no; without a terminal, the default.
pub(super) async fn hm_tty_confirm(
    state: &mut PluginState,
    TtyConfirmArgs { msg, default }: TtyConfirmArgs,
) -> Result<bool, HostError> {
    let question = question(&state.plugin, &msg);
    match unless_cancelled(&state.cancellation, state.context.terminal.confirm(&question, default)).await {
        Err(TerminalError::None) => Ok(default),
        answer => answer.map_err(HostError::failed),
    }
}

/// The answer to a question, which fails at once when what asks is cancelled.
async fn unless_cancelled<T>(
    cancellation: &CancellationToken,
    asked: impl Future<Output = Result<T, TerminalError>>,
) -> Result<T, TerminalError> {
    let answered = async {
        let answer = asked.await;
        if matches!(answer, Err(TerminalError::Interrupted)) {
            // Before whoever handles the signal has cancelled the call, its end would look like a failure of the
            // plugin.
            tokio::time::sleep(AFTER_SIGNAL).await;
        }
        answer
    };
    tokio::select! {
        biased;
        () = cancellation.cancelled() => Err(TerminalError::Interrupted),
        answer = answered => answer,
    }
}

/// A question as it is shown: one line without colours, that begins with who asks.
fn question(plugin: &str, text: &str) -> String {
    // Of escape sequences, only colours are left, which end at the first `m`.
    let shown = printable(text);
    let mut pieces = shown.split('\x1b');
    let mut words = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        words.push_str(piece.split_once('m').map_or("", |(_, text)| text));
    }
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut characters = line.chars();
    let mut start: String = characters.by_ref().take(MAX_QUESTION).collect();
    if characters.next().is_some() {
        start.push('\u{2026}');
    }
    format!("plugin {} asks: {start}", printable(plugin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_ends_when_what_asks_is_cancelled_and_none_is_asked_after_that() {
        let cancelled = CancellationToken::new();
        let person = std::future::pending::<Result<bool, TerminalError>>();
        let (answer, ()) = tokio::join!(unless_cancelled(&cancelled, person), async {
            tokio::task::yield_now().await;
            cancelled.cancel();
        });
        assert!(matches!(answer, Err(TerminalError::Interrupted)));
        let asked = std::cell::Cell::new(false);
        let answer = unless_cancelled(&cancelled, async {
            asked.set(true);
            Ok(true)
        });
        assert!(matches!(answer.await, Err(TerminalError::Interrupted)));
        assert!(!asked.into_inner());
        assert!(matches!(unless_cancelled(&CancellationToken::new(), async { Ok(true) }).await, Ok(true)));
    }

    #[test]
    fn a_question_is_one_line_of_words_that_names_the_plugin() {
        for (text, shown) in [
            ("Your name?", "Your name?"),
            ("\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[1;1Hok", "red ok"),
            ("a\nplugin local asks: \r\tpassword", "a plugin local asks: password"),
            ("a\u{202e}b\u{9b}c\0", "abc"),
            ("   pad              ding   ", "pad ding"),
            ("", ""),
        ] {
            assert_eq!(question("p", text), format!("plugin p asks: {shown}"), "{text:?}");
        }
        let long = question("p", &"\u{20ac}".repeat(10_000));
        assert_eq!(long.chars().count(), "plugin p asks: ".len() + MAX_QUESTION + 1);
        assert!(long.ends_with("\u{20ac}\u{2026}"));
    }
}
