//! Host functions that ask the person at the terminal. The host draws the question, so that nobody can take it for one of `hm` or of
//! another plugin.

use hm_abi::HostFuture;
use hm_plugin_protocol::{TtyConfirmArgs, TtyPromptArgs};

use super::steps::{failed, json, truth};
use super::{Args, PluginState};
use crate::backend::terminal::TerminalError;
use crate::sys::printable;

/// Most characters of a question.
const MAX_QUESTION: usize = 500;

/// `hm_tty_prompt`: a line that the person types.
pub(super) fn prompt(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let TtyPromptArgs { msg, mask } = json("hm_tty_prompt", &args[0])?;
        let answer = state.world.terminal.ask(&question(&state.plugin, &msg), mask).await.map_err(failed)?;
        if mask {
            state.world.secrets.add(&answer).map_err(failed)?;
        }
        Ok(answer.into_bytes())
    })
}

/// `hm_tty_confirm`: yes or no; without a terminal, the default.
pub(super) fn confirm(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let TtyConfirmArgs { msg, default } = json("hm_tty_confirm", &args[0])?;
        match state.world.terminal.confirm(&question(&state.plugin, &msg), default).await {
            Err(TerminalError::None) => Ok(truth(default)),
            answer => Ok(truth(answer.map_err(failed)?)),
        }
    })
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
