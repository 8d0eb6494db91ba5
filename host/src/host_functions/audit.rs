//! The audit of a build: one JSON line for each host call, each denial and each grant in use. What was said or read is
//! not in it, only how much; so no secret can be.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;
use uuid::Uuid;

use super::RoleKind;

/// Takes audit lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    file: Arc<Mutex<AuditFile>>,
}

#[derive(Debug)]
struct AuditFile {
    file: File,
    /// Reason that a line could not be written; none is tried after it, since part of it may be there.
    trouble: Option<io::Error>,
}

/// One line of the audit.
#[derive(Debug, Serialize)]
pub(super) struct AuditLine<'a> {
    /// Time at which it began.
    pub(super) time: String,
    /// Name of the plugin.
    pub(super) plugin: &'a str,
    /// Kind of its instance's role.
    pub(super) role: &'static str,
    /// The step that the instance was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<Uuid>,
    /// A host function, `http_request`, or an entry of `allowed_hosts`.
    pub(super) subject: &'a str,
    /// Destination of an HTTP request: scheme, host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<&'a str>,
    /// `allowed`; `denied: …` with why; `granted` for what an instance was given at its start.
    pub(super) decision: &'a str,
    /// Outcome of an allowed call: `ok`, `failed` or `interrupted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    /// Bytes that came from the plugin.
    pub(super) bytes_in: usize,
    /// Bytes that it got.
    pub(super) bytes_out: usize,
    /// Duration of the call, in microseconds.
    pub(super) micros: u64,
}

impl<'a> AuditLine<'a> {
    /// A line about an instance of this plugin, for this step if it is for one. What it does not say is 0 or absent.
    #[must_use]
    pub(super) fn new(
        plugin: &'a str,
        role: RoleKind,
        step: Option<Uuid>,
        subject: &'a str,
        decision: &'a str,
    ) -> Self {
        Self {
            time: stamp(Utc::now()),
            plugin,
            role: role.name(),
            step,
            subject,
            to: None,
            decision,
            outcome: None,
            bytes_in: 0,
            bytes_out: 0,
            micros: 0,
        }
    }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl Audit {
    /// An audit that is written to this file, which is made, or made empty.
    ///
    /// # Errors
    /// Those of the system; also for what is no file, such as a pipe, whose reader could hold up every call.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for its reader; and a link that came with the project could lead to a file of the
        // user's.
        let follow = if path.starts_with("/dev") { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = (OFlags::NONBLOCK | follow).bits().cast_signed();
        let opened =
            OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(path);
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(code) if code == Errno::LOOP.raw_os_error() => io::Error::other("it is a symbolic link"),
            _ => error,
        })?;
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            file.set_len(0)?;
        } else if !kind.is_char_device() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Self { file: Arc::new(Mutex::new(AuditFile { file, trouble: None })) })
    }

    /// Writes a line, whole and at once: what happened is there even if the program dies the next moment.
    pub(super) fn write(&self, line: &AuditLine<'_>) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        let mut lines = self.file.lock();
        // A full disk does not end the build; who began it asks for the trouble.
        if lines.trouble.is_none() {
            lines.trouble = lines.file.write_all(&text).err();
        }
    }

    /// Reason that lines are missing, if any are.
    #[must_use]
    pub(crate) fn trouble(&self) -> Option<String> {
        let lines = self.file.lock();
        lines.trouble.as_ref().map(ToString::to_string)
    }
}

/// A host call under way; its line is written when it ends, however it ends.
pub(super) struct AuditedCall<'a> {
    audit: Audit,
    began: (DateTime<Utc>, Instant),
    line: AuditLine<'a>,
}

impl<'a> AuditedCall<'a> {
    /// Begins. Until [`AuditedCall::end`] says otherwise, the call counts as interrupted.
    pub(super) fn begin(audit: Audit, mut line: AuditLine<'a>) -> Self {
        line.outcome = Some("interrupted");
        Self { audit, began: (Utc::now(), Instant::now()), line }
    }

    /// The call came to its end.
    pub(super) fn end(mut self, outcome: Option<&'static str>, bytes_out: usize) {
        self.line.outcome = outcome;
        self.line.bytes_out = bytes_out;
    }
}

impl Drop for AuditedCall<'_> {
    fn drop(&mut self) {
        self.line.time = stamp(self.began.0);
        self.line.micros = u64::try_from(self.began.1.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.audit.write(&self.line);
    }
}
