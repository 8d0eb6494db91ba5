//! Reads records: which builds of a project there were, how each ended, and what became of each of its steps. What cannot be read, or is
//! of a later version, counts as not there: a damaged record keeps nobody from working.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use hm_disk::read_regular;
use hm_plugin_protocol::BuildEvent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{FORMAT, StepAbout, name};
use crate::cache;

/// A file larger than this is not read.
const MAX_BYTES: usize = 1 << 30;

/// What a build is, without its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
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
    /// How many steps the pipeline has.
    pub step_count: usize,
}

/// What the cache said of a step, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What it said.
    #[serde(flatten)]
    pub decision: cache::Decision,
    /// Wall clock.
    pub at: DateTime<Utc>,
}

/// How a build stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is not over.
    Running,
    /// It came to its end.
    Ended {
        /// What `hm build` exited with.
        exit_code: i32,
        /// In milliseconds.
        duration_ms: u64,
    },
    /// It was killed.
    Killed,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, and its command succeeded.
    Succeeded,
    /// Its result was taken from the cache.
    Cached,
    /// It failed.
    Failed {
        /// What its command exited with, or what stands for it.
        exit_code: i32,
    },
    /// It was stopped because the build was, or is running now.
    Stopped,
    /// It did not come to its turn.
    NotRun,
    /// It was left out, since it had succeeded in an earlier build.
    SucceededBefore,
}

impl Outcome {
    /// Whether there is nothing left to do for it.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cached | Self::SucceededBefore)
    }
}

/// A step's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step's key.
    pub step: String,
    /// Why, in words.
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
    /// What the build is.
    pub header: Header,
    folder: PathBuf,
}

impl Run {
    fn open(folder: PathBuf) -> Option<Self> {
        let bytes = read_regular(&folder.join(name::RUN), MAX_BYTES).ok()?;
        let header: Header = serde_json::from_slice(&bytes).ok()?;
        (header.format == FORMAT).then_some(Self { header, folder })
    }

    /// Where the record is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How the build stands.
    #[must_use]
    pub fn state(&self) -> State {
        if is_held(&self.folder) {
            return State::Running;
        }
        match self.text(name::EVENTS).lines().rev().find_map(parse) {
            Some(BuildEvent::BuildEnd { exit_code, duration_ms }) => State::Ended { exit_code, duration_ms },
            _ => State::Killed,
        }
    }

    /// All steps of the pipeline, in its order.
    #[must_use]
    pub fn steps(&self) -> Vec<StepAbout> {
        parse(&self.text(name::PLAN)).unwrap_or_default()
    }

    /// What happened, without what the steps printed.
    #[must_use]
    pub fn events(&self) -> Vec<BuildEvent> {
        self.text(name::EVENTS).lines().filter_map(parse).collect()
    }

    /// What became of each step, by key.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, Outcome> {
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

    /// What became of one step; none if the build does not know it. Other steps are not looked at, so that this is fast.
    #[must_use]
    pub fn outcome(&self, key: &str) -> Option<Outcome> {
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
            let steps: Vec<StepAbout> = may_know.then(|| parse(&text)).flatten()?;
            steps.iter().find(|step| step.key == key).map(assumed)
        })
    }

    /// The steps that failed, in the order in which they did.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        let text = self.text(name::EVENTS);
        let failure = |event| match event {
            BuildEvent::ChainFailed { failed_step_key: step, message, .. } => Some(Failure { step, message }),
            _ => None,
        };
        lines_with(&text, "\"kind\":\"chain_failed\"").filter_map(parse).filter_map(failure).collect()
    }

    /// What the cache said of a step, in this build. Other steps are not looked at, so that this is fast.
    #[must_use]
    pub fn decision(&self, key: &str) -> Option<Decided> {
        let text = self.text(name::DECISIONS);
        // The name of the step comes first in its line.
        let start = format!("{{\"step\":{}", json(key));
        let of_step = lines_with(&text, &start).filter(|line| line.starts_with(&start));
        of_step.filter_map(parse::<Decided>).filter(|decided| decided.decision.step == key).last()
    }

    /// What the cache said of each step, by key.
    #[must_use]
    pub fn decisions(&self) -> BTreeMap<String, Decided> {
        let decided = self.text(name::DECISIONS);
        decided.lines().filter_map(parse::<Decided>).map(|d| (d.decision.step.clone(), d)).collect()
    }

    /// A file of the record; nothing if it cannot be read.
    fn text(&self, name: &str) -> String {
        let bytes = read_regular(&self.folder.join(name), MAX_BYTES).unwrap_or_default();
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// What became of a step of which nothing was heard.
fn assumed(step: &StepAbout) -> Outcome {
    if step.succeeded_before { Outcome::SucceededBefore } else { Outcome::NotRun }
}

/// What became of steps, as the events tell it.
#[derive(Default)]
struct Outcomes {
    keys: BTreeMap<Uuid, String>,
    of: BTreeMap<String, Outcome>,
}

impl Outcomes {
    fn add(&mut self, event: BuildEvent) {
        let (step_id, outcome) = match event {
            BuildEvent::StepQueued { step_id, key, .. } => {
                self.keys.insert(step_id, key);
                (step_id, Outcome::NotRun)
            }
            BuildEvent::StepStart { step_id, .. } => (step_id, Outcome::Stopped),
            BuildEvent::StepCacheHit { step_id, .. } => (step_id, Outcome::Cached),
            // A hit ends as well.
            BuildEvent::StepEnd { step_id, exit_code: 0, .. } => match self.outcome(step_id) {
                Some(Outcome::Cached) => return,
                _ => (step_id, Outcome::Succeeded),
            },
            // If it was the step's fault, the event of its chain follows.
            BuildEvent::StepEnd { step_id, .. } => (step_id, Outcome::Stopped),
            BuildEvent::ChainFailed { failed_step_id, exit_code, .. } => {
                (failed_step_id, Outcome::Failed { exit_code })
            }
            BuildEvent::BuildStart { .. } | BuildEvent::StepLog { .. } | BuildEvent::BuildEnd { .. } => {
                return;
            }
        };
        if let Some(key) = self.keys.get(&step_id) {
            self.of.insert(key.clone(), outcome);
        }
    }

    fn outcome(&self, step_id: Uuid) -> Option<Outcome> {
        self.of.get(self.keys.get(&step_id)?).copied()
    }
}

/// The folder with the records of a project.
pub(super) fn project_folder(runs: &Path, project: &Path) -> PathBuf {
    // However it was typed.
    let project = project.canonicalize().unwrap_or_else(|_| project.to_owned());
    let digest = Sha256::digest(project.as_os_str().as_encoded_bytes());
    runs.join(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
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

/// Whether a build is writing there.
pub(super) fn is_held(folder: &Path) -> bool {
    // Shared, so that two who look do not take each other for the build.
    File::open(folder.join(name::LOCK))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
