//! `hm why`: why the last build ran a step, or took it from the cache, from the records of builds. Loads no plugin and reads no pipeline.

use chrono::Utc;

use super::args::WhyArgs;
use super::error::CliError;
use super::history::{Earlier, ago, reasons};
use super::paragraph::paragraph;
use super::print;
use crate::cache::Verdict;
use crate::pipeline::find_project;
use crate::record::{Decided, Outcome, Run, Runs, State};
use crate::sys::System;

/// How many steps a sentence names.
const NAMED: usize = 5;

/// Runs the command and returns the exit code.
pub(super) fn why(args: &WhyArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let here = &system.current_dir;
    let project = match &args.dir {
        Some(dir) => here.join(dir),
        None => find_project(here, system.user)?.unwrap_or_else(|| here.clone()),
    };
    let mut runs = Runs::of(&system.state.join("runs"), &project);
    if let Some(pipeline) = &args.pipeline {
        runs.retain(|run| run.header.pipeline == *pipeline);
    }
    let Some(newest) = runs.first() else {
        return Err(CliError::NoBuild { pipeline: args.pipeline.clone() });
    };
    let step = args.step.as_str();
    let known = runs.iter().enumerate().find_map(|(at, run)| Some((at, run.outcome(step)?)));
    let Some((at, outcome)) = known else {
        return Err(CliError::NoSuchStep { step: step.to_owned(), near: near(newest, step) });
    };
    let run = &runs[at];
    let pipeline = &run.header.pipeline;
    let is_last = runs
        .iter()
        .find(|run| run.header.pipeline == *pipeline)
        .is_some_and(|last| last.folder() == run.folder());
    let which = if is_last { "the last build" } else { "the last build that has it" };
    let when = ago(run.header.started_at, Utc::now());
    let mut text =
        paragraph("", &format!("{} in {which} of `{pipeline}`, {when}.", became(step, run, outcome)));
    match run.decision(step) {
        Some(Decided { decision, at: then }) => {
            let earlier =
                runs[at + 1..].iter().filter(|run| run.header.pipeline == *pipeline).filter_map(|run| {
                    Some(Earlier { decided: run.decision(step)?, outcome: run.outcome(step)? })
                });
            text.push_str(match &decision.verdict {
                Verdict::Hit { .. } => "It was taken from the cache:\n",
                Verdict::Miss(_) => "It was not taken from the cache:\n",
                Verdict::Never(_) => "The cache was not asked:\n",
            });
            for reason in reasons(&decision, then, earlier) {
                text.push_str(&paragraph("  ", &reason));
            }
        }
        None => text.push_str(&paragraph("", &without_decision(run, outcome))),
    }
    print(&text)
}

/// What became of a step, as the beginning of a sentence.
fn became(step: &str, run: &Run, outcome: Outcome) -> String {
    let how = match outcome {
        Outcome::Succeeded => "succeeded".to_owned(),
        Outcome::Cached => "was taken from the cache".to_owned(),
        Outcome::Failed { exit_code } => format!("failed with exit code {exit_code}"),
        Outcome::Stopped if run.state() == State::Running => "is running".to_owned(),
        Outcome::NotRun if run.state() == State::Running => "has not come to its turn yet".to_owned(),
        Outcome::Stopped => "was stopped".to_owned(),
        Outcome::NotRun => "did not run".to_owned(),
        Outcome::SucceededBefore => "was left out".to_owned(),
    };
    format!("`{step}` {how}")
}

/// Why nothing was decided about a step.
fn without_decision(run: &Run, outcome: Outcome) -> String {
    match outcome {
        Outcome::SucceededBefore => {
            "It had succeeded before, and only what had not was to be run.".to_owned()
        }
        Outcome::NotRun => match (run.state(), run.failed().as_slice()) {
            (State::Running, _) => "Nothing is known of it yet.".to_owned(),
            (State::Killed, _) => "hm was killed before it came to its turn.".to_owned(),
            (State::Ended { .. }, []) => "The build was stopped before it came to its turn.".to_owned(),
            (State::Ended { .. }, failed) => {
                format!("These failed before it came to its turn: {}.", names(failed))
            }
        },
        _ => "The cache was not asked: the step has no cache policy, or `none`, or there was no cache."
            .to_owned(),
    }
}

/// Steps that may have been meant.
fn near(run: &Run, typed: &str) -> Vec<String> {
    let typed = typed.to_lowercase();
    let all: Vec<String> = run.steps().into_iter().map(|step| step.key).collect();
    let alike = |key: &&String| {
        let key = key.to_lowercase();
        key.contains(&typed) || typed.contains(&key)
    };
    let alike: Vec<String> = all.iter().filter(alike).cloned().collect();
    if alike.is_empty() { all } else { alike }
}

/// Keys in a sentence, not more than it can carry.
pub(super) fn names(keys: &[String]) -> String {
    let named: Vec<String> = keys.iter().take(NAMED).map(|key| format!("`{key}`")).collect();
    match keys.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
