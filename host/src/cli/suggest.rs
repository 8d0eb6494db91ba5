//! Suggestions for a word that was mistyped.

use clap::error::{ContextKind, ContextValue};

/// Known words that look like the one that was typed, which is none of them.
pub(super) fn similar(typed: &str, known: &[String]) -> Vec<String> {
    let commands = clap::Command::new("hm").subcommands(known.iter().cloned().map(clap::Command::new));
    match commands.try_get_matches_from(["hm", typed]) {
        Err(error) => match error.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(near)) => near.clone(),
            Some(ContextValue::String(near)) => vec![near.clone()],
            _ => Vec::new(),
        },
        Ok(_) => Vec::new(),
    }
}
