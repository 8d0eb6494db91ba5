//! Reads records: which builds of a project there were, how each ended, and what became of each of its steps. What
//! cannot be read, or is of a later version, counts as not there: a damaged record keeps nobody from working.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use hm_disk::{LockFile, read_regular, sha256_hex};
use hm_plugin_protocol::BuildEvent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::meta::StepMeta;
use super::name;
use crate::cache;

/// The form of the files. A record of a later form is left alone.
pub(super) const FORMAT: u32 = 1;

/// A file larger than this is not read.
const MAX_BYTES: usize = 1 << 30;

/// Header of a record: the build without its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHeader {
    /// The form of the record.
    pub format: u32,
    /// Builds of a project are numbered from 1, so that their order does not depend on the clock.
    pub number: u64,
    /// Names the build everywhere.
    pub run_id: Uuid,
    /// The project, for people.
    pub project: String,
    /// The name of the pipeline.
    pub pipeline: String,
    /// Wall clock at the start.
    pub started_at: DateTime<Utc>,
    /// The version of hm.
    pub version: String,
    /// Number of steps of the pipeline.
    pub step_count: usize,
}

/// Decision about a step, with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedDecision {
    /// The decision, as the cache made it.
    #[serde(flatten)]
    pub decision: cache::StepDecision,
    /// Wall clock of the decision.
    pub at: DateTime<Utc>,
}

/// Status of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// It is not over.
    Running,
    /// It came to its end.
    Ended {
        /// Exit code of `hm build`.
        exit_code: i32,
        /// Milliseconds that the build took.
        duration_ms: u64,
    },
    /// It was killed before its end.
    Killed,
}

/// Status of a step in a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// It ran, and its command succeeded.
    Succeeded,
    /// Its result was taken from the cache.
    Cached,
    /// Its command, its plugin or something that it needs failed.
    Failed {
        /// Exit code of its command, or what stands for it.
        exit_code: i32,
    },
    /// It was stopped because the build was, or is running now.
    Stopped,
    /// It did not come to its turn.
    NotRun,
    /// It was left out, since it had succeeded in an earlier build.
    SucceededBefore,
}

impl StepStatus {
    /// True if there is nothing left to do for the step.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cached | Self::SucceededBefore)
    }
}

/// Failure of a step, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// Key of the step.
    pub step: String,
    /// Reason as a sentence.
    pub message: String,
}

/// The builds of a project that are on record.
#[derive(Debug)]
pub struct Runs;

impl Runs {
    /// Those of this project, the newest first. `runs` is the folder of all records.
    #[must_use]
    pub fn of(runs: &Path, project: &Path) -> Vec<Run> {
        let newest_first = records(&project_folder(runs, project)).into_iter().rev();
        newest_first.filter_map(|(_, folder)| Run::open(folder)).collect()
    }
}

/// The record of one build.
#[derive(Debug)]
pub struct Run {
    /// Header of the record.
    pub header: RunHeader,
    folder: PathBuf,
}

impl Run {
    pub(super) fn open(folder: PathBuf) -> Option<Self> {
        let bytes = read_regular(&folder.join(name::RUN), MAX_BYTES).ok()?;
        let header: RunHeader = serde_json::from_slice(&bytes).ok()?;
        (header.format == FORMAT).then_some(Self { header, folder })
    }

    /// Directory of the record.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Status of the build.
    #[must_use]
    pub fn state(&self) -> RunStatus {
        if is_held(&self.folder) {
            return RunStatus::Running;
        }
        match self.text(name::EVENTS).lines().rev().find_map(parse) {
            Some(BuildEvent::BuildEnd { exit_code, duration_ms }) => {
                RunStatus::Ended { exit_code, duration_ms }
            }
            _ => RunStatus::Killed,
        }
    }

    /// All steps of the pipeline, in its order.
    #[must_use]
    pub fn steps(&self) -> Vec<StepMeta> {
        parse(&self.text(name::PLAN)).unwrap_or_default()
    }

    /// Events, without what the steps printed.
    #[must_use]
    pub fn events(&self) -> Vec<BuildEvent> {
        self.text(name::EVENTS).lines().filter_map(parse).collect()
    }

    /// Status of each step, by key.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, StepStatus> {
        let mut found = Outcomes::default();
        for event in self.events() {
            found.add(event);
        }
        for step in self.steps() {
            let assumed = assumed(&step);
            found.of.entry(step.key).or_insert(assumed);
        }
        found.of
    }

    /// Status of one step; none if the build does not know it. Other steps are not looked at, so that this is fast.
    #[must_use]
    pub fn outcome(&self, key: &str) -> Option<StepStatus> {
        let text = self.text(name::EVENTS);
        let mut found = Outcomes::default();
        let queued =
            lines_with(&text, &format!("\"key\":{}", json(key))).find_map(|line| match parse(line) {
                Some(BuildEvent::StepQueued { step_id, key: queued, .. }) if queued == key => Some(step_id),
                _ => None,
            });
        if let Some(step_id) = queued {
            found.keys.insert(step_id, key.to_owned());
            lines_with(&text, &step_id.to_string()).filter_map(parse).for_each(|event| found.add(event));
        }
        found.of.remove(key).or_else(|| {
            let text = self.text(name::PLAN);
            let may_know = text.contains(&format!("\"key\":{}", json(key)));
            let steps: Vec<StepMeta> = may_know.then(|| parse(&text)).flatten()?;
            steps.iter().find(|step| step.key == key).map(assumed)
        })
    }

    /// The steps that failed, in the order in which they did.
    #[must_use]
    pub fn failures(&self) -> Vec<StepFailure> {
        let text = self.text(name::EVENTS);
        let failure = |event| match event {
            BuildEvent::ChainFailed { failed_step_key: step, message, .. } => {
                Some(StepFailure { step, message })
            }
            _ => None,
        };
        lines_with(&text, "\"kind\":\"chain_failed\"").filter_map(parse).filter_map(failure).collect()
    }

    /// Decision about a step in this build. Other steps are not looked at, so that this is fast.
    #[must_use]
    pub fn decision(&self, key: &str) -> Option<RecordedDecision> {
        let text = self.text(name::DECISIONS);
        // The name of the step comes first in its line.
        let start = format!("{{\"step\":{}", json(key));
        let of_step = lines_with(&text, &start).filter(|line| line.starts_with(&start));
        of_step.filter_map(parse::<RecordedDecision>).filter(|decided| decided.decision.step == key).last()
    }

    /// Decisions about the steps, by key.
    #[must_use]
    pub fn decisions(&self) -> BTreeMap<String, RecordedDecision> {
        let decided = self.text(name::DECISIONS);
        decided.lines().filter_map(parse::<RecordedDecision>).map(|d| (d.decision.step.clone(), d)).collect()
    }

    /// A file of the record; nothing if it cannot be read.
    fn text(&self, name: &str) -> String {
        let bytes = read_regular(&self.folder.join(name), MAX_BYTES).unwrap_or_default();
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// Status of a step of which nothing was heard.
fn assumed(step: &StepMeta) -> StepStatus {
    if step.succeeded_before { StepStatus::SucceededBefore } else { StepStatus::NotRun }
}

/// Status of steps, as the events tell it.
#[derive(Default)]
struct Outcomes {
    keys: BTreeMap<Uuid, String>,
    of: BTreeMap<String, StepStatus>,
}

impl Outcomes {
    fn add(&mut self, event: BuildEvent) {
        let (step_id, outcome) = match event {
            BuildEvent::StepQueued { step_id, key, .. } => {
                self.keys.insert(step_id, key);
                (step_id, StepStatus::NotRun)
            }
            BuildEvent::StepStart { step_id, .. } => (step_id, StepStatus::Stopped),
            BuildEvent::StepCacheHit { step_id, .. } => (step_id, StepStatus::Cached),
            // A hit ends as well.
            BuildEvent::StepEnd { step_id, exit_code: 0, .. } => match self.outcome(step_id) {
                Some(StepStatus::Cached) => return,
                _ => (step_id, StepStatus::Succeeded),
            },
            // If it was the step's fault, the event of its chain follows.
            BuildEvent::StepEnd { step_id, .. } => (step_id, StepStatus::Stopped),
            BuildEvent::ChainFailed { failed_step_id, exit_code, .. } => {
                (failed_step_id, StepStatus::Failed { exit_code })
            }
            BuildEvent::BuildStart { .. } | BuildEvent::StepLog { .. } | BuildEvent::BuildEnd { .. } => {
                return;
            }
        };
        if let Some(key) = self.keys.get(&step_id) {
            self.of.insert(key.clone(), outcome);
        }
    }

    fn outcome(&self, step_id: Uuid) -> Option<StepStatus> {
        self.of.get(self.keys.get(&step_id)?).copied()
    }
}

/// The directory with the records of a project.
pub(super) fn project_folder(runs: &Path, project: &Path) -> PathBuf {
    // However it was typed.
    let project = project.canonicalize().unwrap_or_else(|_| project.to_owned());
    runs.join(&sha256_hex(project.as_os_str().as_encoded_bytes())[..32])
}

/// The records of a project with their numbers, the oldest first; also those that are damaged or of a later form.
pub(super) fn records(project: &Path) -> Vec<(u64, PathBuf)> {
    #[derive(Deserialize)]
    struct Numbered {
        number: u64,
    }
    let entries = fs::read_dir(project).into_iter().flatten().flatten();
    let mut records: Vec<(u64, PathBuf)> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let bytes = match read_regular(&entry.path().join(name::RUN), MAX_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                read => read.unwrap_or_default(),
            };
            let number = serde_json::from_slice(&bytes).map_or(0, |Numbered { number }| number);
            Some((number, entry.path()))
        })
        .collect();
    records.sort_unstable();
    records
}

/// True while a build is writing there.
pub(super) fn is_held(folder: &Path) -> bool {
    LockFile::existing(folder.join(name::LOCK)).is_held()
}

/// The lines that hold a text: a quick look before they are parsed.
fn lines_with<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(part).map(|(at, _)| {
        let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
        let end = text[at..].find('\n').map_or(text.len(), |after| at + after);
        &text[start..end]
    })
}

fn parse<T: DeserializeOwned>(line: &str) -> Option<T> {
    serde_json::from_str(line).ok()
}

/// A text as it stands in a line.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
