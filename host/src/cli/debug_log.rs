//! The debug log: what `hm` itself does, on standard error, as far as the variable `HM_LOG` asks for it.
//! docs/debugging.md describes it.
//!
//! Only our own targets are shown, whatever the level: libraries below us could write headers or bodies, and so
//! secrets.

use std::ffi::OsString;
use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::time::uptime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::error::CliError;
use super::text::indented;
use crate::sys::printable;

/// Variable that asks for the log.
const VARIABLE: &str = "HM_LOG";

/// Target that all others are below.
const ALL: &str = "hm";

/// Targets of events and spans.
const TARGETS: [&str; 5] = [ALL, "hm::gate", "hm::exec", "hm::cache", "hm::plugin"];

/// Starts the log if the environment asks for it. Without that, an event costs no more than a look at a number.
pub(super) fn start() -> Result<(), CliError> {
    match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        None => Ok(()),
        Some(value) => {
            let filter =
                parse(&value).map_err(|reason| CliError::LogFilter { variable: VARIABLE, reason })?;
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_timer(uptime())
                // A span is one line, once it is over: what was decided, and how long it took.
                .with_span_events(FmtSpan::CLOSE)
                .with_writer(|| SanitizedStderr);
            tracing_subscriber::registry().with(lines).with(filter).init();
            Ok(())
        }
    }
}

/// Reads `LEVEL` or `TARGET=LEVEL`, several with commas between them.
fn parse(value: &OsString) -> Result<Targets, String> {
    let text = value.to_str().ok_or("it is not UTF-8")?;
    let mut filter = Targets::new();
    for directive in text.split(',').map(str::trim) {
        let (target, level) = directive.split_once('=').unwrap_or((ALL, directive));
        if !TARGETS.contains(&target) {
            return Err(format!("there is no target {target:?}"));
        }
        // Nothing would pass for `error`.
        let known = Some(level).filter(|level| !level.is_empty()).and_then(|level| level.parse().ok());
        let known: LevelFilter = known.ok_or_else(|| format!("{level:?} is no level"))?;
        filter = filter.with_target(target, known);
    }
    Ok(filter)
}

/// Standard error, a whole line at a time, in which nothing of somebody else's can pass for a line of ours.
struct SanitizedStderr;

impl Write for SanitizedStderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = printable(&format!("{}\n", indented(text.trim_end())));
        // One call under the lock, or lines of several threads would run into each other.
        io::stderr().lock().write_all(text.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_of_ours_are_understood_and_nothing_else() {
        let enabled = |text: &str, target: &str| {
            let filter = parse(&text.into()).expect(text);
            filter.would_enable(target, &tracing::Level::DEBUG)
        };
        assert!(enabled("debug", "hm::gate") && enabled("DEBUG", "hm::plugin"));
        assert!(enabled("hm=trace", "hm::exec") && !enabled("info", "hm::exec"));
        assert!(enabled("hm::gate=debug", "hm::gate") && !enabled("hm::gate=debug", "hm::cache"));
        assert!(enabled("debug, hm::exec=off", "hm::cache") && !enabled("debug, hm::exec=off", "hm::exec"));
        assert!(!enabled("trace", "hyper::proto"), "libraries could write secrets");
        for (text, reason) in [
            ("debgu", "\"debgu\" is no level"),
            ("hm=", "\"\" is no level"),
            ("hyper=trace", "there is no target \"hyper\""),
            ("hm::gates=debug", "there is no target"),
            ("debug,", "\"\" is no level"),
        ] {
            let error = parse(&text.into()).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
