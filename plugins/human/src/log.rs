//! The lines of the log: what each event of a build adds to it.
//! Text in, text out; nothing here knows where it is written.

mod produced;

use std::collections::{BTreeMap, VecDeque};

use hm_plugin_sdk::uuid::Uuid;
use hm_plugin_sdk::*;

use self::produced::Produced;

/// Number of last lines of a step that are kept, to be shown again if it fails.
const TAIL_LINES: usize = 10;
/// Number of characters of such a line that are kept.
const TAIL_WIDTH: usize = 200;
/// Number of failed steps that the summary shows with their lines.
const TAILS_SHOWN: usize = 5;

/// Style of the log.
#[derive(Clone, Copy, Default)]
pub(crate) struct Style {
    /// True for ANSI colours.
    pub(crate) color: bool,
    /// True to show waiting steps, runners, images and snapshots too.
    pub(crate) verbose: bool,
}

/// The exit code of a step that was stopped because the build was.
const CANCELLED: i32 = 130;
/// Number of steps that did not run and are named.
const NAMES_SHOWN: usize = 8;
/// Of how many steps the summary says what they produced.
const PRODUCED_SHOWN: usize = 20;

/// A colour of the log, as the number of ANSI's "select graphic rendition".
#[derive(Clone, Copy)]
enum Color {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
}

/// A build as far as its events have come.
pub(crate) struct Log {
    style: Style,
    planned: usize,
    finished: usize,
    cancelled: usize,
    cached: usize,
    steps: BTreeMap<Uuid, Step>,
    failures: Vec<Failure>,
    produced: Vec<Produced>,
    /// Number of steps whose artifacts are not in `produced`.
    more_produced: usize,
}

/// A step that is not over.
struct Step {
    key: String,
    started: bool,
    cached: bool,
    tail: VecDeque<String>,
}

/// A step that failed.
struct Failure {
    step_id: Uuid,
    key: String,
    exit_code: i32,
    message: Option<String>,
    tail: VecDeque<String>,
}

impl Log {
    pub(crate) fn new(style: Style) -> Self {
        Self {
            style,
            planned: 0,
            finished: 0,
            cancelled: 0,
            cached: 0,
            steps: BTreeMap::new(),
            failures: Vec::new(),
            produced: Vec::new(),
            more_produced: 0,
        }
    }

    /// Text that this event adds to the log: whole lines, or nothing.
    pub(crate) fn on_event(&mut self, event: BuildEvent) -> String {
        match event {
            BuildEvent::BuildStart { run_id, plan, .. } => self.build_start(run_id, &plan),
            BuildEvent::StepQueued { step_id, key, chain_idx } => self.step_queued(step_id, key, chain_idx),
            BuildEvent::StepStart { step_id, runner, image } => self.step_start(step_id, &runner, image),
            BuildEvent::StepLog { step_id, line, .. } => self.step_log(step_id, &line),
            BuildEvent::StepCacheHit { step_id, key, tag } => self.step_cache_hit(step_id, key, &tag),
            BuildEvent::StepEnd { step_id, exit_code, duration_ms, snapshot, artifacts } => {
                self.note_artifacts(step_id, &artifacts);
                self.step_end(step_id, exit_code, duration_ms, snapshot)
            }
            BuildEvent::ChainFailed { failed_step_id, failed_step_key, exit_code, message, .. } => {
                self.chain_failed(failed_step_id, failed_step_key, exit_code, message)
            }
            BuildEvent::BuildEnd { exit_code, duration_ms } => self.build_end(exit_code, duration_ms),
        }
    }

    fn build_start(&mut self, run_id: Uuid, plan: &PlanSummary) -> String {
        self.planned = plan.step_count;
        let chains = match plan.chain_count {
            0 | 1 => String::new(),
            count => format!(" in {count} chains"),
        };
        let run = match self.style.verbose {
            true => format!("  run {run_id}, default runner {}\n", plan.default_runner),
            false => String::new(),
        };
        let title = format!("Building {}{chains}", steps(plan.step_count));
        format!("{}\n{run}", self.paint(Color::Bold, &title))
    }

    fn step_queued(&mut self, step_id: Uuid, key: String, chain_idx: usize) -> String {
        let line = if self.style.verbose {
            format!("· {key} queued in chain {chain_idx}\n")
        } else {
            String::new()
        };
        self.steps.insert(step_id, Step { key, started: false, cached: false, tail: VecDeque::new() });
        line
    }

    fn step_start(&mut self, step_id: Uuid, runner: &str, image: Option<String>) -> String {
        if let Some(step) = self.steps.get_mut(&step_id) {
            step.started = true;
        }
        let image = image.map(|image| format!(", image {image}")).unwrap_or_default();
        let details = self.details(|| format!("runner {runner}{image}"));
        format!("{}{details}\n", self.paint(Color::Bold, &format!("▶ {}", self.key(step_id))))
    }

    fn step_log(&mut self, step_id: Uuid, line: &str) -> String {
        // Progress bars write over their line: what they wrote last is what counts.
        let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
        // A step that is alone needs no name in front of its lines, and no second look at them.
        if self.planned == 1 {
            return format!("{line}\n");
        }
        if let Some(step) = self.steps.get_mut(&step_id) {
            if step.tail.len() == TAIL_LINES {
                step.tail.pop_front();
            }
            step.tail.push_back(line.chars().take(TAIL_WIDTH).collect());
        }
        format!("{} {line}\n", self.paint(Color::Dim, &format!("[{}]", self.key(step_id))))
    }

    fn step_cache_hit(&mut self, step_id: Uuid, key: String, tag: &str) -> String {
        let details = self.details(|| format!("from {tag}"));
        let line = format!("{} (cached){details}\n", self.paint(Color::Bold, &format!("▶ {key}")));
        self.steps.insert(step_id, Step { key, started: true, cached: true, tail: VecDeque::new() });
        line
    }

    fn step_end(
        &mut self,
        step_id: Uuid,
        exit_code: i32,
        duration_ms: u64,
        snapshot: Option<SnapshotRef>,
    ) -> String {
        let key = self.key(step_id).to_owned();
        let step = self.steps.remove(&step_id);
        self.finished += 1;
        if exit_code == 0 && step.as_ref().is_some_and(|step| step.cached) {
            self.cached += 1;
            return format!("{} (cached)\n", self.paint(Color::Green, &format!("✓ {key}")));
        }
        let duration = duration(duration_ms);
        if exit_code == 0 {
            let details = snapshot.map(|SnapshotRef(tag)| self.details(|| format!("saved as {tag}")));
            let mark = self.paint(Color::Green, &format!("✓ {key}"));
            return format!("{mark} ({duration}){}\n", details.unwrap_or_default());
        }
        let how = how_it_ended(exit_code);
        let line = format!("{} ({duration})\n", self.paint(Color::Red, &format!("✗ {key} {how}")));
        if exit_code == CANCELLED {
            self.cancelled += 1;
            return line;
        }
        let tail = step.map(|step| step.tail).unwrap_or_default();
        self.failures.push(Failure { step_id, key, exit_code, message: None, tail });
        line
    }

    fn note_artifacts(&mut self, step_id: Uuid, artifacts: &[ArtifactRef]) {
        if let Some(produced) = Produced::of(self.key(step_id), artifacts) {
            match self.produced.len() {
                0..PRODUCED_SHOWN => self.produced.push(produced),
                _ => self.more_produced += 1,
            }
        }
    }

    /// The step's end was shown already; what is new is the reason, which the summary gives.
    fn chain_failed(&mut self, step_id: Uuid, key: String, exit_code: i32, message: String) -> String {
        let message = Some(message).filter(|message| !message.is_empty());
        if let Some(failure) = self.failures.iter_mut().find(|failure| failure.step_id == step_id) {
            failure.message = message;
            return String::new();
        }
        // The code of a step that ended by itself can be that of a step that was stopped.
        let Some(step) = self.steps.remove(&step_id) else {
            self.cancelled = self.cancelled.saturating_sub(1);
            self.failures.push(Failure { step_id, key, exit_code, message, tail: VecDeque::new() });
            return String::new();
        };
        self.finished += 1;
        let line = self.paint(Color::Red, &format!("✗ {key} {}", how_it_ended(exit_code)));
        self.failures.push(Failure { step_id, key, exit_code, message, tail: step.tail });
        format!("{line}\n")
    }

    fn build_end(&mut self, exit_code: i32, duration_ms: u64) -> String {
        let mut text = String::from("\n");
        for (index, failure) in self.failures.iter().enumerate() {
            let Failure { key, exit_code, message, tail, .. } = failure;
            let title = match message {
                Some(message) => format!("✗ {key}: {message}"),
                None => format!("✗ {key} {}", how_it_ended(*exit_code)),
            };
            text += &self.paint(Color::Red, &title);
            text += "\n";
            for line in tail.iter().filter(|_| index < TAILS_SHOWN) {
                text += &format!("  {} {line}\n", self.paint(Color::Dim, "│"));
            }
        }
        for produced in &self.produced {
            text += &produced.line();
            text += "\n";
        }
        if self.more_produced > 0 {
            text += &format!("{} more steps produced something\n", self.more_produced);
        }
        let duration = duration(duration_ms);
        let (color, outcome) = match exit_code {
            0 => (Color::Green, format!("Build passed in {duration}")),
            CANCELLED => (Color::Red, format!("Build cancelled after {duration}")),
            _ => (Color::Red, format!("Build failed in {duration}")),
        };
        text += &self.paint(color, &outcome);
        text += &self.counts();
        text += "\n";
        text
    }

    /// `: 1 of 5 steps failed, 2 did not run (a, b), 1 cached` or `: 5 steps, 3 cached`, as far as there is something
    /// to count.
    fn counts(&self) -> String {
        let mut counts = Vec::new();
        let mut count = |number: usize, what: &str| match number {
            0 => {}
            _ if counts.is_empty() => counts.push(format!("{number} of {} {what}", steps(self.planned))),
            _ => counts.push(format!("{number} {what}")),
        };
        count(self.failures.len(), "failed");
        count(self.cancelled, "cancelled");
        let left = self.planned.saturating_sub(self.finished);
        count(left, "did not run");
        let mut names: Vec<&str> =
            self.steps.values().filter(|s| !s.started).map(|s| s.key.as_str()).collect();
        names.sort_unstable();
        if names.len() > NAMES_SHOWN {
            names.truncate(NAMES_SHOWN);
            names.push("…");
        }
        let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let cached = match self.cached {
            0 => String::new(),
            count => format!(", {count} cached"),
        };
        match (counts.is_empty(), self.cached) {
            (true, 0) => String::new(),
            (true, _) => format!(": {}{cached}", steps(self.planned)),
            (false, _) => format!(": {}{names}{cached}", counts.join(", ")),
        }
    }

    /// The step's key, or what little is known of a step that was never queued.
    fn key(&self, step_id: Uuid) -> &str {
        self.steps.get(&step_id).map_or("unknown step", |step| &step.key)
    }

    /// ` (details)` in a log that is to have them.
    fn details(&self, details: impl FnOnce() -> String) -> String {
        if self.style.verbose { self.paint(Color::Dim, &format!(" ({})", details())) } else { String::new() }
    }

    fn paint(&self, color: Color, text: &str) -> String {
        if self.style.color { format!("\u{1b}[{}m{text}\u{1b}[0m", color as u8) } else { text.to_owned() }
    }
}

/// `1 step`, `2 steps`.
fn steps(count: usize) -> String {
    format!("{count} step{}", if count == 1 { "" } else { "s" })
}

/// Meaning of the exit code of a failed step.
fn how_it_ended(exit_code: i32) -> String {
    match exit_code {
        124 => "timed out".to_owned(),
        CANCELLED => "was cancelled".to_owned(),
        code => format!("failed with exit code {code}"),
    }
}

/// `5ms`, `1.2s`, `3m 04s`, `2h 05m`.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests;
