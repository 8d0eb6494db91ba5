//! The step that an executor's instance acts on, and nothing of any other. Log lines become events here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hm_disk::one_line;
use hm_docker::Container;
use hm_plugin_protocol::{ArchiveId, ArtifactRef, CacheDecision, SnapshotRef, StdStream};
use hm_workspace::artifacts::Collected;
use hm_workspace::content::Artifact;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::line_splitter::LineSplitter;
use super::secrets::{Masker, Secrets};
use crate::backend::{Backends, artifact_ref};
use crate::record::StepWriter;

/// Chunks of output that may wait between a command and the event channel.
const OUTPUT_CHUNKS: usize = 16;

/// Exit code of a shell that cannot find a command.
const NOT_FOUND: i32 = 127;

/// Bounds within which a step's plugin acts, as the host has set them before the plugin hears of the step.
#[derive(Debug, Clone)]
pub struct StepScope {
    /// The step within the run.
    pub step_id: Uuid,
    /// The source tree that this step may start from.
    pub archive: ArchiveId,
    /// The state that it may start from instead.
    pub parent: Option<SnapshotRef>,
    /// Result that it may take from the cache, or keep there.
    pub cache: CacheDecision,
    /// True if other steps build in it.
    pub is_built_in: bool,
    /// Directory for what it produces; none where nobody wants that.
    pub artifacts: Option<PathBuf>,
}

/// The step that an executor's instance was made for.
pub struct StepContext {
    /// Bounds of what it may act on.
    pub scope: StepScope,
    /// Back ends that run its commands.
    pub backends: Backends,
    /// The sandboxes that this instance has started; it can act on no others.
    pub sandboxes: BTreeSet<String>,
    /// The containers that this instance has made, by their ids; it can act on no others.
    pub containers: BTreeMap<String, Container>,
    /// Names that it has given to the states of containers that it has saved.
    pub saved: BTreeSet<String>,
    /// Artifacts that were brought out of them.
    pub produced: Vec<Artifact>,
    output: StepWriter,
    secrets: Arc<Secrets>,
    stdout: LineStream,
    stderr: LineStream,
}

/// One stream of a step's output on its way to become lines.
#[derive(Default)]
struct LineStream {
    masker: Masker,
    splitter: LineSplitter,
}

impl StepContext {
    /// A step whose lines go to this writer.
    #[must_use]
    pub fn new(scope: StepScope, backends: Backends, output: StepWriter, secrets: Arc<Secrets>) -> Self {
        let (stdout, stderr) = (LineStream::default(), LineStream::default());
        let (sandboxes, saved, containers) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let produced = Vec::new();
        Self { scope, backends, sandboxes, containers, saved, produced, output, secrets, stdout, stderr }
    }

    /// Output of the step: each complete line becomes an event.
    pub(crate) async fn output(&mut self, stream: StdStream, bytes: &[u8]) {
        let lines = match stream {
            StdStream::Stdout => self.stdout.push(&self.secrets, bytes),
            StdStream::Stderr => self.stderr.push(&self.secrets, bytes),
        };
        self.send(stream, lines).await;
    }

    /// Hands on what stands in either stream without a line end.
    pub(crate) async fn end_of_output(&mut self) {
        let lines = self.stdout.finish(&self.secrets);
        self.send(StdStream::Stdout, lines).await;
        let lines = self.stderr.finish(&self.secrets);
        self.send(StdStream::Stderr, lines).await;
    }

    /// Ends what still runs, and the output: where its log is, if there is a whole one, and what was brought out.
    pub(crate) async fn finish(&mut self) -> (Option<PathBuf>, Vec<Artifact>) {
        for container in std::mem::take(&mut self.containers).into_values() {
            // What cannot be removed now is tried again at the end of the build, which says so.
            let _ = container.end().await;
        }
        self.end_of_output().await;
        (self.output.finish(), std::mem::take(&mut self.produced))
    }

    /// Lines that are complete as they are, cut and bounded like all others.
    pub(crate) async fn lines(&mut self, stream: StdStream, text: &str) {
        let mut whole = LineStream::default();
        let mut lines = whole.push(&self.secrets, text.as_bytes());
        lines.append(&mut whole.finish(&self.secrets));
        self.send(stream, lines).await;
    }

    /// A line of a former run of the step, which has been masked and cut then.
    pub(crate) async fn replay(&mut self, stream: StdStream, line: String) {
        self.send(stream, vec![line]).await;
    }

    /// Runs something that has output, which becomes that of the step.
    pub(super) async fn with_output<T, F: Future<Output = T>>(
        &mut self,
        work: impl FnOnce(mpsc::Sender<(StdStream, Vec<u8>)>) -> F,
    ) -> T {
        let id = self.scope.step_id;
        tracing::debug!(target: "hm::exec", step = %id, "command started");
        let (sender, mut chunks) = mpsc::channel::<(StdStream, Vec<u8>)>(OUTPUT_CHUNKS);
        let lines = async {
            while let Some((stream, bytes)) = chunks.recv().await {
                self.output(stream, &bytes).await;
            }
            self.end_of_output().await;
        };
        let (ended, ()) = tokio::join!(work(sender), lines);
        tracing::debug!(target: "hm::exec", step = %id, "command ended");
        ended
    }

    /// Says in the step's output why its command cannot be started; the exit code for that.
    pub(super) async fn cannot_start(&mut self, reason: &str) -> i32 {
        self.lines(StdStream::Stderr, &format!("hm: cannot start the command: {reason}")).await;
        NOT_FOUND
    }

    /// Notes artifacts that were brought out of where the step runs; what its plugin hears of them.
    pub(super) async fn collected(&mut self, collected: Collected) -> Option<Vec<ArtifactRef>> {
        for note in collected.notes {
            self.lines(StdStream::Stderr, &format!("hm: {note}")).await;
        }
        self.produced = collected.artifacts;
        Some(self.produced.iter().map(artifact_ref).collect())
    }

    /// Says in the step's output why no artifacts were brought out, which is the step's fault; the plugin hears only
    /// that it did not work.
    pub(super) async fn not_collected(
        &mut self,
        error: &(dyn std::error::Error + Send + Sync),
    ) -> Option<Vec<ArtifactRef>> {
        self.lines(StdStream::Stderr, &format!("hm: {}", one_line(error))).await;
        None
    }

    async fn send(&mut self, stream: StdStream, lines: Vec<String>) {
        self.output.lines(stream, lines).await;
    }
}

impl LineStream {
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
