//! Writes the record of one build, and forgets those of old ones. Once the record is there, whatever goes wrong is remembered and told at
//! the end: no build fails for its record.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use hm_plugin_protocol::BuildEvent;
use hm_workspace::files::write_atomically;
use serde::Serialize;

use super::run::{Decided, Header, is_held, project_folder, records};
use super::{About, CACHE_TAG_PREFIX, FORMAT, RecordError, StepLog, io_error, name};
use crate::cache;

/// A folder without a [`name::RUN`] that is older than this is what a killed hm has left, and not one that is just being made.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Most bytes of a step's key in the name of its log.
const KEY_IN_NAME: usize = 64;

/// Writes the record of a build. While it is there, the build counts as running.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    events: Lines,
    decisions: Lines,
    trouble: Arc<Trouble>,
    /// Given back by the system, however the process ends.
    _lock: File,
}

impl Recorder {
    /// Begins the record of a build, below the folder of all records. Records beyond the newest of the project are removed in the
    /// background.
    ///
    /// # Errors
    /// The system says no.
    pub fn create(runs: &Path, about: About) -> Result<Self, RecordError> {
        let project = project_folder(runs, &about.project);
        let number = records(&project).last().map_or(0, |(number, _)| *number).saturating_add(1);
        let id = about.run_id.simple().to_string();
        let folder = project.join(format!("{}-{}", about.started_at.format("%Y%m%dT%H%M%SZ"), &id[..8]));
        make_folder(&project)?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(io_error("create", &folder))?;
        let begun = Self::begin(folder.clone(), number, about);
        if begun.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        // A record of many steps has many files. If this does not come to its end, the next build does it.
        let _ = std::thread::Builder::new().spawn(move || forget_old(&project, CACHE_TAG_PREFIX));
        begun
    }

    fn begin(folder: PathBuf, number: u64, about: About) -> Result<Self, RecordError> {
        let create = |name| {
            let path = folder.join(name);
            create_file(&path).map_err(io_error("create", path))
        };
        let lock = create(name::LOCK)?;
        lock.lock().map_err(io_error("lock", folder.join(name::LOCK)))?;
        let trouble = Arc::new(Trouble::default());
        let lines = |name| {
            let state = Mutex::new((create(name)?, false));
            Ok(Lines { state, path: folder.join(name), trouble: trouble.clone() })
        };
        let (events, decisions) = (lines(name::EVENTS)?, lines(name::DECISIONS)?);
        let logs = folder.join(name::LOGS);
        DirBuilder::new().mode(0o700).create(&logs).map_err(io_error("create", logs))?;
        let written = create(name::PLAN)?.write_all(&bytes(&about.steps));
        written.map_err(io_error("write", folder.join(name::PLAN)))?;
        let header = Header {
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
        write_atomically(&path, &bytes(&header)).map_err(io_error("write", path))?;
        Ok(Self { folder, events, decisions, trouble, _lock: lock })
    }

    /// Where the record is.
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
    pub fn decision(&self, decision: &cache::Decision) {
        self.decisions.add(&Decided { decision: decision.clone(), at: Utc::now() });
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

/// The first thing that went wrong.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub(super) fn told(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note(&self, what: &'static str, path: &Path, error: &io::Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| format!("cannot {what} {}: {error}", path.display()));
    }
}

/// A file of JSON values, one on each line.
#[derive(Debug)]
struct Lines {
    /// The file, and whether its last line is cut short.
    state: Mutex<(File, bool)>,
    path: PathBuf,
    trouble: Arc<Trouble>,
}

impl Lines {
    fn add(&self, value: &impl Serialize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, torn) = &mut *state;
        let mut line = if *torn { b"\n".to_vec() } else { Vec::new() };
        line.append(&mut bytes(value));
        // In one piece, so that a kill seldom leaves half a line.
        match file.write_all(&line) {
            Ok(()) => *torn = false,
            Err(error) => {
                *torn = true;
                self.trouble.note("write", &self.path, &error);
            }
        }
    }
}

/// A value as one line of JSON.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Nothing of ours has a map whose keys are no text, which is all that could fail; half a line is skipped when it is read.
    let _ = serde_json::to_writer(&mut bytes, value);
    bytes.push(b'\n');
    bytes
}

/// Makes a new file that nobody else can read.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn make_folder(path: &Path) -> Result<(), RecordError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))
}

/// Removes all records of a project but the newest, and what killed builds left of some; none of a build that is running.
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
        if was_record || is_abandoned(&folder) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    let changed = fs::symlink_metadata(folder).and_then(|about| about.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ABANDONED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once_and_what_fits_later_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let trouble = Arc::new(Trouble::default());
        let lines =
            Lines { state: Mutex::new((full(), false)), path: path.clone(), trouble: trouble.clone() };
        lines.add(&1);
        lines.add(&2);
        let told = trouble.told().unwrap();
        assert!(told.starts_with(&format!("cannot write {}: ", path.display())), "{told}");
        lines.state.lock().unwrap().0 = create_file(&path).unwrap();
        lines.add(&3);
        lines.add(&4);
        assert_eq!(fs::read_to_string(&path).unwrap(), "\n3\n4\n");
        assert_eq!(trouble.told(), Some(told));
    }
}
