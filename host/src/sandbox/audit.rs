//! The audit of a build: one JSON line for each host call, each denial and each grant in use. What was said or read is not
//! in it, only how much; so no secret can be.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use uuid::Uuid;

/// Takes audit lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    file: Arc<Mutex<File>>,
}

/// One line.
#[derive(Debug, Serialize)]
pub struct AuditLine<'a> {
    /// When it began.
    pub time: String,
    /// The plugin.
    pub plugin: &'a str,
    /// What its instance was made for.
    pub role: &'static str,
    /// The step that the instance was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Uuid>,
    /// A host function, or an entry of `allowed_hosts`.
    pub subject: &'a str,
    /// `allowed`; `denied: …` with why; `granted` for what an instance was given at its start.
    pub decision: &'a str,
    /// What became of an allowed call: `ok`, `failed` or `interrupted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// Bytes that came from the plugin.
    pub bytes_in: usize,
    /// Bytes that it got.
    pub bytes_out: usize,
    /// How long it took.
    pub micros: u64,
}

impl Audit {
    /// An audit that is written to this file, which is made new.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Arc::new(Mutex::new(File::create(path)?)) })
    }

    /// Writes a line, whole and at once: what happened is there even if the program dies the next moment.
    pub fn write(&self, line: &AuditLine<'_>) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the build; that the file is short says it.
        let _ = file.write_all(&text);
    }
}

/// A host call under way; its line is written when it ends, however it ends.
pub(super) struct Audited<'a> {
    audit: Audit,
    began: (DateTime<Utc>, Instant),
    line: AuditLine<'a>,
}

impl<'a> Audited<'a> {
    /// Begins. Until [`Audited::end`] says otherwise, the call counts as interrupted.
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

impl Drop for Audited<'_> {
    fn drop(&mut self) {
        self.line.time = self.began.0.to_rfc3339_opts(SecondsFormat::Micros, true);
        self.line.micros = u64::try_from(self.began.1.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.audit.write(&self.line);
    }
}
