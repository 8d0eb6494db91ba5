//! Small forms of text that several commands share: words of others that cannot pass for ours, and lists within a
//! sentence.

/// Steps that a sentence names, at the most.
const MAX_NAMED: usize = 5;

/// Text of somebody else in which no line can pass for one of ours, or for a command to the CI service that reads them:
/// those are at the start of a line, behind spaces at the most.
pub(super) fn indented(text: &str) -> String {
    text.replace('\n', "\n    | ")
}

/// Step keys in quotes for a sentence, not more of them than it can carry.
pub(super) fn quoted_list(keys: &[String]) -> String {
    let named: Vec<String> = keys.iter().take(MAX_NAMED).map(|key| format!("`{key}`")).collect();
    match keys.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
