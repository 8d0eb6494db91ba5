//! Makes text from outside harmless on a terminal: printable characters, line ends, tabs and colours pass; everything
//! that could move the cursor, rename the window or answer in the user's name does not.

/// Longest colour sequence that passes; a longer one is no colour.
const MAX_SEQUENCE: usize = 32;

/// Sequence that ends all colours.
const RESET: &str = "\x1b[0m";

/// The part of a text that may be shown; the text may have several lines. Its colours end with it.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = Vec::new();
    Sanitizer::default().push(text.as_bytes(), &mut shown);
    let mut shown = String::from_utf8_lossy(&shown).into_owned();
    if let Some(last) = shown.rfind('\x1b')
        && !shown[last..].starts_with(RESET)
    {
        let end = shown.trim_end_matches('\n').len();
        shown.insert_str(end, RESET);
    }
    shown
}

/// True if the parameters of a colour sequence ask for text that cannot be seen. Colours by number are no attributes:
/// `38;5;8` is a grey.
fn conceals(parameters: &[u8]) -> bool {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
    let mut attributes = parameters.split(|byte| *byte == b';').map(number).peekable();
    while let Some(attribute) = attributes.next() {
        match attribute {
            Some(8) => return true,
            Some(38 | 48 | 58) => {
                let skipped = match attributes.peek() {
                    Some(Some(2)) => 4,
                    Some(Some(5)) => 2,
                    _ => 0,
                };
                attributes.by_ref().take(skipped).for_each(drop);
            }
            _ => {}
        }
    }
    false
}

/// A filter over a byte stream, which may come in any pieces.
#[derive(Debug, Default)]
pub struct Sanitizer {
    state: ParserState,
    /// The bytes of a character or a sequence that is not complete yet.
    pending: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ParserState {
    #[default]
    Text,
    Escape,
    /// After `ESC [`, and whether it can still be a colour.
    Sequence(bool),
    /// After `ESC ]`, `ESC P` and the like: dropped up to BEL or `ESC \`.
    Command,
    CommandEscape,
}

impl Sanitizer {
    /// Appends what may be shown of `bytes` to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.byte(byte, out);
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.state, byte) {
            (ParserState::Text, 0x1b) => {
                self.broken_character(out);
                self.state = ParserState::Escape;
            }
            (ParserState::Text, _) => self.text(byte, out),
            (ParserState::Escape, b'[') => self.state = ParserState::Sequence(true),
            (ParserState::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.state = ParserState::Command,
            (ParserState::Escape, 0x20..=0x2f) => {}
            (ParserState::Escape | ParserState::CommandEscape, 0x1b) => {}
            (ParserState::Escape, _) => self.state = ParserState::Text,
            (ParserState::Sequence(true), b'0'..=b'9' | b';' | b':') if self.pending.len() < MAX_SEQUENCE => {
                self.pending.push(byte);
            }
            (ParserState::Sequence(true), b'm') => {
                if !conceals(&self.pending) {
                    out.extend_from_slice(b"\x1b[");
                    out.append(&mut self.pending);
                    out.push(b'm');
                }
                self.pending.clear();
                self.state = ParserState::Text;
            }
            (ParserState::Sequence(_), 0x20..=0x3f) => self.state = ParserState::Sequence(false),
            (ParserState::Sequence(_), _) => {
                self.pending.clear();
                self.state = if byte == 0x1b { ParserState::Escape } else { ParserState::Text };
            }
            (ParserState::Command, 0x07) | (ParserState::CommandEscape, b'\\') => {
                self.state = ParserState::Text;
            }
            (ParserState::Command, 0x1b) => self.state = ParserState::CommandEscape,
            (ParserState::Command, _) => {}
            (ParserState::CommandEscape, _) => self.state = ParserState::Command,
        }
    }

    fn text(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte < 0x80 {
            self.broken_character(out);
            if matches!(byte, b'\n' | b'\t' | 0x20..=0x7e) {
                out.push(byte);
            }
            return;
        }
        self.pending.push(byte);
        match std::str::from_utf8(&self.pending) {
            Ok(text) => {
                // C1 controls are escape sequences in disguise; separators end lines, and directional overrides make a
                // line read as another.
                let hidden = |c: char| {
                    c.is_control()
                        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
                        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                };
                if !text.chars().any(hidden) {
                    out.extend_from_slice(text.as_bytes());
                }
                self.pending.clear();
            }
            Err(e) if e.error_len().is_none() => {}
            Err(_) => {
                self.pending.pop();
                self.broken_character(out);
                if byte >= 0xc2 {
                    self.pending.push(byte);
                } else {
                    out.extend_from_slice("\u{FFFD}".as_bytes());
                }
            }
        }
    }

    fn broken_character(&mut self, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.pending.clear();
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let whole = {
            let (mut sanitizer, mut out) = (Sanitizer::default(), Vec::new());
            sanitizer.push(bytes, &mut out);
            out
        };
        let (mut sanitizer, mut out) = (Sanitizer::default(), Vec::new());
        for byte in bytes {
            sanitizer.push(&[*byte], &mut out);
        }
        assert_eq!(whole, out, "chunks must not matter");
        String::from_utf8(out).expect("always text")
    }

    #[test]
    fn only_text_and_colours_pass() {
        for (input, expected) in [
            ("plain \u{20AC}\ttext\n".as_bytes(), "plain \u{20AC}\ttext\n"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx"),
            (b"a\x1b[2Jb\x1b[1;1Hc\x1b[?25ld", "abcd"),
            (b"a\x1b[?31mb\x1b[>4mc", "abc"),
            (b"a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c", "abc"),
            (b"a\x1bP1$r\x1b[31m\x1b\\b", "ab"),
            (b"a\rb\x08c\x00d\x7fe", "abcde"),
            (b"a\x1b(0b\x1bcd\x1b\x1b[31mc", "abd\x1b[31mc"),
            (b"a\xffb\xc3", "a\u{FFFD}b"),
            (b"a\xe2\x82b\xe2\xe2\x82\xac", "a\u{FFFD}b\u{FFFD}\u{20AC}"),
            ("a\u{9b}31mb\u{202e}c\u{2028}d\u{200f}\u{61c}e".as_bytes(), "a31mbcde"),
            (b"a\x1b[8mb\x1b[1;08;31mc", "abc"),
            (b"a\x1b[38;5;8mb\x1b[48;2;8;8;8;1mc", "a\x1b[38;5;8mb\x1b[48;2;8;8;8;1mc"),
            (b"a\x1b[38;5;8;8mb\x1b[38;2;1;1;1;8mc\x1b[38;8mc", "abcc"),
        ] {
            assert_eq!(shown(input), expected, "for {input:?}");
        }
        let long = format!("a\x1b[{}mb", "1;".repeat(100));
        assert_eq!(shown(long.as_bytes()), "ab");
    }

    #[test]
    fn colours_end_with_the_text() {
        for (text, shown) in [
            ("plain\n", "plain\n"),
            ("\x1b[31mred\n\n", "\x1b[31mred\x1b[0m\n\n"),
            ("\x1b[31mred\x1b[0m done", "\x1b[31mred\x1b[0m done"),
            ("\x1b[0m\x1b[7m", "\x1b[0m\x1b[7m\x1b[0m"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn whatever_comes_in_only_allowed_bytes_go_out() {
        let mut seed: u32 = 1;
        let bytes: Vec<u8> = (0..200_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [.., high] = seed.to_le_bytes();
                if high < 60 { b"\x1b[]Pm;1\\\x07"[usize::from(high) % 9] } else { high }
            })
            .collect();
        let text = shown(&bytes);
        let mut rest = text.as_str();
        while let Some(at) = rest.find('\x1b') {
            let sequence = &rest[at + 1..];
            let end = sequence.find('m').expect("a colour ends");
            assert!(
                sequence[..end]
                    .strip_prefix('[')
                    .is_some_and(|s| s.chars().all(|c| c.is_ascii_digit() || ";:".contains(c)))
            );
            rest = &sequence[end + 1..];
        }
        assert!(text.chars().all(|c| !c.is_control() || "\n\t\x1b".contains(c)));
    }
}
