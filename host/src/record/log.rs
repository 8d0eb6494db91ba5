//! Log of one step, a line of the file for each line that it printed: the time at which it was read, `o` or `e` for the
//! stream, the text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use hm_disk::cannot;
use hm_plugin_protocol::StdStream;

use super::error::RecordError;
use super::trouble::{Trouble, create_file};

/// A log does not grow beyond this: a step that prints for ever must not fill the disk.
const MAX_BYTES: u64 = 1 << 30;

/// The log of one step, while the step runs.
#[derive(Debug)]
pub struct StepLog {
    file: BufWriter<File>,
    path: PathBuf,
    left: u64,
    whole: bool,
    trouble: Arc<Trouble>,
}

impl StepLog {
    pub(super) fn create(path: PathBuf, trouble: Arc<Trouble>) -> Option<Self> {
        match create_file(&path) {
            Ok(file) => {
                Some(Self { file: BufWriter::new(file), path, left: MAX_BYTES, whole: true, trouble })
            }
            Err(error) => {
                trouble.note(&cannot("create", path)(error));
                None
            }
        }
    }

    /// Adds a line, without its line end. A text that has line ends becomes several lines.
    pub fn line(&mut self, stream: StdStream, at: DateTime<Utc>, text: &str) {
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let stream = match stream {
            StdStream::Stdout => 'o',
            StdStream::Stderr => 'e',
        };
        for text in text.split('\n') {
            if !self.whole {
                return;
            }
            let written = match self.left.checked_sub(at.len() as u64 + text.len() as u64 + 4) {
                Some(left) => {
                    self.left = left;
                    writeln!(self.file, "{at} {stream} {text}")
                }
                None => Err(io::Error::other(format!("it would be larger than {MAX_BYTES} bytes"))),
            };
            self.noted(written);
        }
    }

    /// Lets whoever reads the file see all lines that were added.
    pub fn flush(&mut self) {
        let flushed = self.file.flush();
        self.noted(flushed);
    }

    /// Completes the file, and says where it is: nowhere, if it is not whole.
    #[must_use]
    pub fn finish(mut self) -> Option<PathBuf> {
        self.flush();
        self.whole.then_some(self.path)
    }

    fn noted(&mut self, written: io::Result<()>) {
        if let (true, Err(error)) = (self.whole, written) {
            self.whole = false;
            self.trouble.note(&cannot("write", &self.path)(error));
        }
    }
}

/// Reads the log of a step, line after line, as the step printed them.
///
/// # Errors
/// The file cannot be opened. A line that cannot be read, or is none, is an error in its own place.
pub fn read_log(
    path: &Path,
) -> Result<impl Iterator<Item = io::Result<(StdStream, String)>> + use<>, RecordError> {
    let mut file = BufReader::new(File::open(path).map_err(cannot("read", path))?);
    let mut line = Vec::new();
    Ok(std::iter::from_fn(move || {
        line.clear();
        match file.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(parse(&line)),
            Err(error) => Some(Err(error)),
        }
    }))
}

fn parse(line: &[u8]) -> io::Result<(StdStream, String)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a line of the log is damaged");
    let line = line.strip_suffix(b"\n").ok_or_else(damaged)?;
    let line = std::str::from_utf8(line).map_err(|_| damaged())?;
    let (_, line) = line.split_once(' ').ok_or_else(damaged)?;
    let (stream, text) = line.split_once(' ').ok_or_else(damaged)?;
    let stream = match stream {
        "o" => StdStream::Stdout,
        "e" => StdStream::Stderr,
        _ => return Err(damaged()),
    };
    Ok((stream, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(file: File, left: u64) -> StepLog {
        StepLog { file: BufWriter::new(file), path: "log".into(), left, whole: true, trouble: Arc::default() }
    }

    #[test]
    fn a_log_with_a_gap_is_not_handed_on() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut on_full_disk = log(full, MAX_BYTES);
        on_full_disk.line(StdStream::Stdout, Utc::now(), "text");
        let trouble = on_full_disk.trouble.clone();
        assert_eq!(on_full_disk.finish(), None);
        assert!(trouble.told().unwrap().starts_with("cannot write log: "));

        let mut long = log(tempfile::tempfile().unwrap(), 50);
        let trouble = long.trouble.clone();
        long.line(StdStream::Stdout, Utc::now(), "text");
        assert_eq!(trouble.told(), None);
        long.line(StdStream::Stdout, Utc::now(), "text");
        assert_eq!(long.finish(), None);
        assert!(trouble.told().unwrap().contains("larger than"));
    }
}
