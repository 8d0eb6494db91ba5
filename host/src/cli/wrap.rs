//! Fits text for people into the 80 columns that every terminal has. Where the text comes from is the commands' affair.

/// Columns of a line.
pub(super) const COLUMNS: usize = 80;

/// A text in lines of up to [`COLUMNS`] columns, each ended, the first of them behind `first` and the others behind as many spaces. What
/// is too long for a line of its own is cut.
pub(super) fn wrap(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let room = COLUMNS.saturating_sub(indent).max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in words(text) {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() <= room {
            line.push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        while word.len() > room - used {
            let rest = word.split_off(room - used);
            line.extend(word);
            lines.push(std::mem::take(&mut line));
            (word, used) = (rest, 0);
        }
        used += word.len();
        line.extend(word);
    }
    lines.push(line);
    let prefixes = std::iter::once(first.to_owned()).chain(std::iter::repeat(" ".repeat(indent)));
    prefixes.zip(lines).map(|(prefix, line)| format!("{prefix}{line}").trim_end().to_owned() + "\n").collect()
}

/// The words of a text. An age like `3 min ago` is one of them, as it would be hard to read in two lines.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let age = match &words[..] {
            [.., number, unit]
                if word.starts_with("ago") && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Some(format!("{number} {unit} {word}"))
            }
            _ => None,
        };
        if age.is_some() {
            words.truncate(words.len() - 2);
        }
        words.push(age.unwrap_or_else(|| word.to_owned()));
    }
    words
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
}
