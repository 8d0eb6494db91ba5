//! The log of a plug-in: its threshold, where its lines go, and what keeps a flood or a hostile line harmless.

use std::sync::Arc;

use crate::limits::InstanceLimits;

/// Severity of a log line. The order is that of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The finest detail, for following each step.
    Trace,
    /// Detail for finding a fault.
    Debug,
    /// Normal course of things.
    Info,
    /// Something the user should know.
    Warn,
    /// An operation went wrong.
    Error,
}

/// Destination of the log lines of an instance, and the level from which on they go there.
#[derive(Clone)]
pub struct LogSink {
    threshold: Option<LogLevel>,
    write: Arc<Write>,
}

type Write = dyn Fn(LogLevel, &str) + Send + Sync;

impl LogSink {
    /// Lines of `threshold` and above go to `write`, one call for each, without line ends and control
    /// characters. It is called from inside the guest's call and must not block.
    pub fn new(threshold: LogLevel, write: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        Self { threshold: Some(threshold), write: Arc::new(write) }
    }

    /// No log. The guest sees that and need not format its lines.
    pub fn off() -> Self {
        Self { threshold: None, write: Arc::new(|_, _| ()) }
    }
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogSink").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

/// The log of one instance, and what its running call has written.
pub(crate) struct Log {
    sink: LogSink,
    max_lines: usize,
    max_bytes: usize,
    lines: usize,
    bytes: usize,
    dropped_lines: usize,
    dropped_bytes: usize,
}

impl Log {
    pub(crate) fn new(sink: LogSink, limits: &InstanceLimits) -> Self {
        let (max_lines, max_bytes) = (limits.log_lines, limits.log_bytes);
        Self { sink, max_lines, max_bytes, lines: 0, bytes: 0, dropped_lines: 0, dropped_bytes: 0 }
    }

    /// The number that `get_log_level` returns.
    pub(crate) fn threshold(&self) -> i32 {
        match self.sink.threshold {
            Some(LogLevel::Trace) => 0,
            Some(LogLevel::Debug) => 1,
            Some(LogLevel::Info) => 2,
            Some(LogLevel::Warn) => 3,
            Some(LogLevel::Error) => 4,
            None => i32::MAX,
        }
    }

    /// One line from the guest.
    pub(crate) fn write(&mut self, level: LogLevel, text: &[u8]) {
        if self.sink.threshold.is_none_or(|threshold| level < threshold) {
            return;
        }
        if self.lines >= self.max_lines || text.len() > self.max_bytes - self.bytes {
            self.dropped_lines = self.dropped_lines.saturating_add(1);
            self.dropped_bytes = self.dropped_bytes.saturating_add(text.len());
            return;
        }
        self.lines += 1;
        self.bytes += text.len();
        (self.sink.write)(level, &printable(text));
    }

    /// The call has ended: says what was dropped, and starts counting anew.
    pub(crate) fn end(&mut self) {
        if self.dropped_lines > 0 {
            let text = format!(
                "{} log lines ({} bytes) dropped, over the limit of {} lines and {} bytes in a call",
                self.dropped_lines, self.dropped_bytes, self.max_lines, self.max_bytes
            );
            (self.sink.write)(LogLevel::Warn, &text);
        }
        (self.lines, self.bytes, self.dropped_lines, self.dropped_bytes) = (0, 0, 0, 0);
    }
}

/// The text on one line, with everything escaped that a terminal or a reader could take for something else.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut line = String::with_capacity(text.len());
    for letter in text.trim_end_matches(['\n', '\r']).chars() {
        match letter {
            '\t' => line.push(letter),
            _ if letter.is_control() => line.extend(letter.escape_default()),
            // Separators of lines and paragraphs, and what turns the direction of writing.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(letter.escape_unicode());
            }
            _ => line.push(letter),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn hostile_text_becomes_one_plain_line() {
        for (text, line) in [
            (&b"plain\ttext\n"[..], "plain\ttext"),
            (b"a\nerror: forged", "a\\nerror: forged"),
            (b"\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            (b"over\rwritten\0", "over\\rwritten\\u{0}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            ("c1 \u{9b}31m".as_bytes(), "c1 \\u{9b}31m"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
            ("größer 🦀".as_bytes(), "größer 🦀"),
        ] {
            assert_eq!(printable(text), line);
        }
    }

    #[test]
    fn a_flood_is_cut_and_said() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let sink = LogSink::new(LogLevel::Info, move |level, line| {
            seen.lock().unwrap().push((level, line.to_owned()));
        });
        let limits = InstanceLimits { log_lines: 2, log_bytes: 10, ..InstanceLimits::standard() };
        let mut log = Log::new(sink, &limits);
        log.write(LogLevel::Debug, b"below the threshold");
        log.write(LogLevel::Info, b"12345");
        log.write(LogLevel::Info, b"too long to fit");
        log.write(LogLevel::Error, b"67890");
        log.write(LogLevel::Error, b"");
        log.end();
        log.write(LogLevel::Info, b"next call");
        let lines = lines.lock().unwrap();
        let texts: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        let dropped = "2 log lines (15 bytes) dropped, over the limit of 2 lines and 10 bytes in a call";
        assert_eq!(texts, ["12345", "67890", dropped, "next call"]);
    }
}
