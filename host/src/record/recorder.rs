//! Writes the record of one build, and forgets those of old ones. Once the record is there, whatever goes wrong is
//! remembered and told at the end: no build fails for its record.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use hm_disk::{FileLock, LockFile, PathError, age, cannot, make_directory, replace_file};
use hm_plugin_protocol::BuildEvent;
use serde::Serialize;

use super::error::RecordError;
use super::log::StepLog;
use super::meta::RunMeta;
use super::name;
use super::run::FORMAT;
use super::run::{RecordedDecision, RunHeader};
use super::run::{is_held, project_folder, records};
use super::trouble::{Trouble, create_file};
use crate::cache;
use parking_lot::Mutex;

/// Number of builds of a project that are remembered.
const MAX_RECORDS: usize = 20;

/// A folder without a [`name::RUN`] that is older than this is what a killed hm has left, and not one that is just
/// being made.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Most bytes of a step's key in the name of its log.
const KEY_IN_NAME: usize = 64;

/// Writes the record of a build. While it is there, the build counts as running.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    events: JsonLines,
    decisions: JsonLines,
    trouble: Arc<Trouble>,
    /// Given back by the system, however the process ends.
    _lock: FileLock,
}

impl Recorder {
    /// Begins the record of a build, below the directory of all records. Records beyond the newest of the project are
    /// removed in the background.
    ///
    /// # Errors
    /// The system says no.
    pub fn create(runs: &Path, about: RunMeta) -> Result<Self, RecordError> {
        let project = project_folder(runs, &about.project);
        let number = records(&project).last().map_or(0, |(number, _)| *number).saturating_add(1);
        let id = about.run_id.simple().to_string();
        let folder = project.join(format!("{}-{}", about.started_at.format("%Y%m%dT%H%M%SZ"), &id[..8]));
        make_directory(&project)?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(cannot("create", &folder))?;
        let begun = Self::begin(folder.clone(), number, about);
        if begun.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        // A record of many steps has many files. If this does not come to its end, the next build does it.
        let _ = std::thread::Builder::new().spawn(move || forget_old(&project, MAX_RECORDS));
        begun
    }

    fn begin(folder: PathBuf, number: u64, about: RunMeta) -> Result<Self, RecordError> {
        let create = |name| {
            let path = folder.join(name);
            create_file(&path).map_err(cannot("create", path))
        };
        let lock = LockFile::new(folder.join(name::LOCK)).exclusive()?;
        let trouble = Arc::new(Trouble::default());
        let lines = |name| -> Result<_, PathError> {
            let state = Mutex::new((create(name)?, false));
            Ok(JsonLines { state, path: folder.join(name), trouble: trouble.clone() })
        };
        let (events, decisions) = (lines(name::EVENTS)?, lines(name::DECISIONS)?);
        let logs = folder.join(name::LOGS);
        DirBuilder::new().mode(0o700).create(&logs).map_err(cannot("create", logs))?;
        let written = create(name::PLAN)?.write_all(&bytes(&about.steps));
        written.map_err(cannot("write", folder.join(name::PLAN)))?;
        let header = RunHeader {
            format: FORMAT,
            number,
            run_id: about.run_id,
            project: about.project.display().to_string(),
            pipeline: about.pipeline,
            started_at: about.started_at,
            version: about.version,
            step_count: about.steps.len(),
        };
        let path = folder.join(name::RUN);
        replace_file(&path, &bytes(&header))?;
        Ok(Self { folder, events, decisions, trouble, _lock: lock })
    }

    /// Directory of the record.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an event. What steps print belongs into their logs, and is left out.
    pub fn event(&self, event: &BuildEvent) {
        if !matches!(event, BuildEvent::StepLog { .. }) {
            self.events.add(event);
        }
    }

    /// Adds what the cache said of a step.
    pub fn decision(&self, decision: &cache::StepDecision) {
        self.decisions.add(&RecordedDecision { decision: decision.clone(), at: Utc::now() });
    }

    /// A log for a step, which has this position in the plan and this key. None if it cannot be made.
    #[must_use]
    pub fn log(&self, number: usize, key: &str) -> Option<StepLog> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let key: String = key.chars().take(KEY_IN_NAME).map(plain).collect();
        let path = self.folder.join(name::LOGS).join(format!("{number:05}-{key}.log"));
        StepLog::create(path, self.trouble.clone())
    }

    /// The first thing that went wrong, if the record is not whole.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.told()
    }
}

/// A file of JSON values, one on each line.
#[derive(Debug)]
struct JsonLines {
    /// The file, and whether its last line is cut short.
    state: Mutex<(File, bool)>,
    path: PathBuf,
    trouble: Arc<Trouble>,
}

impl JsonLines {
    fn add(&self, value: &impl Serialize) {
        let mut state = self.state.lock();
        let (file, torn) = &mut *state;
        let mut line = if *torn { b"\n".to_vec() } else { Vec::new() };
        line.append(&mut bytes(value));
        // In one piece, so that a kill seldom leaves half a line.
        match file.write_all(&line) {
            Ok(()) => *torn = false,
            Err(error) => {
                *torn = true;
                self.trouble.note(&cannot("write", &self.path)(error));
            }
        }
    }
}

/// A value as one line of JSON.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Nothing of ours has a map whose keys are no text, which is all that could fail; half a line is skipped when it is
    // read.
    let _ = serde_json::to_writer(&mut bytes, value);
    bytes.push(b'\n');
    bytes
}

/// Removes all records of a project but the newest, and what killed builds left of some; none of a build that is
/// running.
pub(super) fn forget_old(project: &Path, keep: usize) {
    let kept: BTreeSet<PathBuf> =
        records(project).into_iter().rev().take(keep).map(|(_, folder)| folder).collect();
    for entry in fs::read_dir(project).into_iter().flatten().flatten() {
        let folder = entry.path();
        if kept.contains(&folder) || is_held(&folder) {
            continue;
        }
        // First of all, so that nobody takes what is left for a record.
        let was_record = fs::remove_file(folder.join(name::RUN)).is_ok();
        if was_record || age(&folder).is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_full_disk_is_told_once_and_what_fits_later_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let trouble = Arc::new(Trouble::default());
        let lines =
            JsonLines { state: Mutex::new((full(), false)), path: path.clone(), trouble: trouble.clone() };
        lines.add(&1);
        lines.add(&2);
        let told = trouble.told().unwrap();
        assert!(told.starts_with(&format!("cannot write {}: ", path.display())), "{told}");
        lines.state.lock().0 = create_file(&path).unwrap();
        lines.add(&3);
        lines.add(&4);
        assert_eq!(fs::read_to_string(&path).unwrap(), "\n3\n4\n");
        assert_eq!(trouble.told(), Some(told));
    }
}
