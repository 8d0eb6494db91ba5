//! Cuts a byte stream into lines of text. What the lines mean, and who shows them, is others' affair.

/// A line longer than this is handed on in pieces, so that a command without line ends cannot fill the memory.
const MAX_LINE: usize = 64 * 1024;

/// Cuts one stream. Line ends (`\n`, `\r\n`) are dropped; what is not UTF-8 is replaced.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    rest: Vec<u8>,
}

impl LineSplitter {
    /// Takes the next bytes and hands on each line that is complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.take(&bytes[..end], &mut line);
            line(text(self.rest.strip_suffix(b"\r").unwrap_or(&self.rest)));
            self.rest.clear();
            bytes = &bytes[end + 1..];
        }
        self.take(bytes, &mut line);
    }

    /// The stream is over: hands on what is left without a line end.
    pub(super) fn finish(&mut self, mut line: impl FnMut(String)) {
        if !self.rest.is_empty() {
            line(text(&std::mem::take(&mut self.rest)));
        }
    }

    fn take(&mut self, mut bytes: &[u8], line: &mut impl FnMut(String)) {
        while self.rest.len() + bytes.len() > MAX_LINE {
            let (head, tail) = bytes.split_at(MAX_LINE.saturating_sub(self.rest.len()));
            self.rest.extend_from_slice(head);
            bytes = tail;
            let cut = character_boundary(&self.rest);
            let kept = self.rest.split_off(cut);
            line(text(&self.rest));
            self.rest = kept;
        }
        self.rest.extend_from_slice(bytes);
    }
}

/// Last place in a full buffer that does not cut a character: a character takes four bytes at the most.
fn character_boundary(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    let is_start = |b: u8| b & 0b1100_0000 != 0b1000_0000;
    match bytes.iter().enumerate().skip(start).rev().find(|(_, b)| is_start(**b)) {
        Some((at, byte)) if byte.leading_ones() as usize > bytes.len() - at => at,
        _ => bytes.len(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (LineSplitter::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, |l| lines.push(l));
        }
        splitter.finish(|l| lines.push(l));
        lines
    }

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let text = "one\r\ntwo\n\n \u{1F600} end\rno line end".as_bytes();
        let expected = ["one", "two", "", " \u{1F600} end\rno line end"];
        for size in 1..=text.len() {
            assert_eq!(split(&text.chunks(size).collect::<Vec<_>>()), expected, "in chunks of {size}");
        }
    }

    #[test]
    fn endless_lines_come_in_pieces_and_lose_nothing() {
        let long = "\u{20AC}".repeat(100_000);
        let lines = split(&[long.as_bytes(), b"\nx"]);
        assert!(lines.len() > 3 && lines.iter().all(|l| l.len() <= MAX_LINE));
        assert_eq!(lines[..lines.len() - 1].concat(), long);
        assert_eq!(lines[lines.len() - 1], "x");
        assert_eq!(split(&[&[0xff; 200_000]]).concat().chars().count(), 200_000);
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(split(&[b"a\xffb\n"]), ["a\u{FFFD}b"]);
    }
}
