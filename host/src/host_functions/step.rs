//! What an executor's instance acts on: its own step, and nothing of any other. Log lines become events here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;
use hm_docker::Container;
use hm_plugin_protocol::{ArchiveId, BuildEvent, CacheDecision, SnapshotRef, StdStream};
use hm_workspace::content::Artifact;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{LineSplitter, Masker, Secrets};
use crate::backend::Backends;
use crate::record::StepLog;

/// The one ordered way from the build to its listeners. It is bounded: who sends waits for who listens.
pub type EventSender = mpsc::Sender<BuildEvent>;

/// What the host has decided about a step, before its plugin hears of it.
#[derive(Debug, Clone)]
pub struct StepTerms {
    /// The step within the run.
    pub step_id: Uuid,
    /// The source tree that this step may start from.
    pub archive: ArchiveId,
    /// The state that it may start from instead.
    pub parent: Option<SnapshotRef>,
    /// What it may take from the cache, or keep there.
    pub cache: CacheDecision,
    /// Whether other steps build in it.
    pub is_built_in: bool,
    /// The directory for what it produces; none where nobody wants that.
    pub artifacts: Option<PathBuf>,
}

/// The step that an executor's instance was made for.
pub struct StepContext {
    /// What it may do.
    pub terms: StepTerms,
    /// What runs commands.
    pub backends: Backends,
    /// The sandboxes that this instance has started; it can act on no others.
    pub sandboxes: BTreeSet<String>,
    /// The containers that this instance has made, by their ids; it can act on no others.
    pub containers: BTreeMap<String, Container>,
    /// What it has called the states of containers that it has saved.
    pub saved: BTreeSet<String>,
    /// What was brought out of them.
    pub produced: Vec<Artifact>,
    events: EventSender,
    log: Option<StepLog>,
    secrets: Arc<Secrets>,
    stdout: Lines,
    stderr: Lines,
}

/// One stream of a step on its way to become lines.
#[derive(Default)]
struct Lines {
    masker: Masker,
    splitter: LineSplitter,
}

impl StepContext {
    /// A step whose output goes to `events`, and into a log if there is one.
    #[must_use]
    pub fn new(
        terms: StepTerms,
        backends: Backends,
        events: EventSender,
        log: Option<StepLog>,
        secrets: Arc<Secrets>,
    ) -> Self {
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let (sandboxes, saved, containers) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let produced = Vec::new();
        Self { terms, backends, sandboxes, containers, saved, produced, events, log, secrets, stdout, stderr }
    }

    /// Output of the step: each complete line becomes an event.
    pub async fn output(&mut self, stream: StdStream, bytes: &[u8]) {
        let lines = match stream {
            StdStream::Stdout => self.stdout.push(&self.secrets, bytes),
            StdStream::Stderr => self.stderr.push(&self.secrets, bytes),
        };
        self.send(stream, lines).await;
    }

    /// Hands on what stands in either stream without a line end.
    pub async fn end_of_output(&mut self) {
        let lines = self.stdout.finish(&self.secrets);
        self.send(StdStream::Stdout, lines).await;
        let lines = self.stderr.finish(&self.secrets);
        self.send(StdStream::Stderr, lines).await;
    }

    /// Ends what still runs, and the output: where its log is, if there is a whole one, and what was brought out.
    pub async fn finish(&mut self) -> (Option<PathBuf>, Vec<Artifact>) {
        for container in std::mem::take(&mut self.containers).into_values() {
            // What cannot be removed now is tried again at the end of the build, which says so.
            let _ = container.end().await;
        }
        self.end_of_output().await;
        (self.log.take().and_then(StepLog::finish), std::mem::take(&mut self.produced))
    }

    /// Lines that are complete as they are, cut and bounded like all others.
    pub async fn lines(&mut self, stream: StdStream, text: &str) {
        let mut whole = Lines::default();
        let mut lines = whole.push(&self.secrets, text.as_bytes());
        lines.append(&mut whole.finish(&self.secrets));
        self.send(stream, lines).await;
    }

    /// Lines that have been through all of this before.
    pub async fn again(&mut self, stream: StdStream, line: String) {
        self.send(stream, vec![line]).await;
    }

    async fn send(&mut self, stream: StdStream, lines: Vec<String>) {
        let ts = Utc::now();
        if let Some(log) = &mut self.log {
            lines.iter().for_each(|line| log.line(stream, ts, line));
            log.flush();
        }
        for line in lines {
            let event = BuildEvent::StepLog { step_id: self.terms.step_id, stream, line, ts };
            // A closed channel means that the build is over and nobody listens: there is no one to tell.
            let _ = self.events.send(event).await;
        }
    }
}

impl Lines {
    fn push(&mut self, secrets: &Secrets, bytes: &[u8]) -> Vec<String> {
        let (mut shown, mut lines) = (Vec::new(), Vec::new());
        self.masker.push(secrets, bytes, &mut shown);
        self.splitter.push(&shown, |line| lines.push(line));
        lines
    }

    fn finish(&mut self, secrets: &Secrets) -> Vec<String> {
        let (mut shown, mut lines) = (Vec::new(), Vec::new());
        self.masker.finish(secrets, &mut shown);
        self.splitter.push(&shown, |line| lines.push(line));
        self.splitter.finish(|line| lines.push(line));
        lines
    }
}
