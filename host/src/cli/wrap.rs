//! Fits text for people into the 80 columns that every terminal has. Where the text comes from is the commands' affair.

use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// Columns of a line.
pub(super) const COLUMNS: usize = 80;

/// Space at which no line is broken.
const NO_BREAK: char = '\u{a0}';

/// Lines of up to [`COLUMNS`] columns, each ended, the first of them behind `first` and the others behind as many
/// spaces. A word that is too long for a line of its own is cut.
pub(super) fn wrap(first: &str, text: &str) -> String {
    let indent = " ".repeat(display_width(first));
    let options = Options::new(COLUMNS)
        .initial_indent(first)
        .subsequent_indent(&indent)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    let text = with_whole_ages(text);
    let lines = textwrap::wrap(&text, options);
    lines.iter().map(|line| format!("{}\n", line.trim_end().replace(NO_BREAK, " "))).collect()
}

/// The words of a text. An age like `3 min ago` has no breaks, as it would be hard to read in two lines.
fn with_whole_ages(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_age = |at: usize| {
        words[at].bytes().all(|byte| byte.is_ascii_digit())
            && words.get(at + 2).is_some_and(|word| word.starts_with("ago"))
    };
    let mut joined = String::with_capacity(text.len());
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            let within_age = is_age(at - 1) || (at > 1 && is_age(at - 2));
            joined.push(if within_age { NO_BREAK } else { ' ' });
        }
        joined.push_str(word);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_nothing_is_lost() {
        assert_eq!(wrap("", "a  b\nc"), "a b c\n");
        assert_eq!(wrap("  ", ""), "\n");
        let words = "the-word ".repeat(20);
        let long = "x".repeat(200);
        for text in [words.as_str(), &long, &format!("{words}{long} end"), "ä€ ".repeat(90).as_str()] {
            let shown = wrap("  - ", text);
            for (number, line) in shown.lines().enumerate() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
                assert!(line.starts_with(if number == 0 { "  - " } else { "    " }), "{line}");
            }
            let all = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(all(&shown), format!("-{}", all(text)));
        }
        for filling in 60..80 {
            let shown = wrap("", &format!("{}, 20 s ago, and more", "a".repeat(filling)));
            assert!(shown.contains("20 s ago,"), "{shown}");
        }
        assert_eq!(wrap("", &format!("{} b", "a".repeat(78))), format!("{} b\n", "a".repeat(78)));
        assert_eq!(wrap("", &format!("{} b", "a".repeat(79))), format!("{}\nb\n", "a".repeat(79)));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        for text in
            ["漢字 ".repeat(60), "漢字".repeat(60), format!("{} {}", "한국어".repeat(9), "漢".repeat(99))]
        {
            let shown = wrap("- ", &text);
            assert!(shown.lines().all(|line| display_width(line) <= COLUMNS), "{shown}");
            assert!(shown.lines().rev().skip(1).any(|line| display_width(line) > COLUMNS - 5), "{shown}");
        }
    }
}
