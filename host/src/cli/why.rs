//! `hm why`: why the last build ran a step, or took it from the cache, from the records of builds. Loads no plugin and
//! reads no pipeline.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;

use super::args::WhyArgs;
use super::error::CliError;
use super::history::{Earlier, ago, reasons};
use super::suggest::similar;
use super::terminal_output::print;
use super::text::quoted_list;
use super::wrap::wrap;
use crate::cache::StepVerdict;
use crate::pipeline::find_project;
use crate::record::{RecordedDecision, Run, RunStatus, Runs, StepMeta, StepStatus};
use crate::sys::System;

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
        let known: Vec<String> = newest.steps().into_iter().map(|step| step.key).collect();
        return Err(CliError::NoSuchStep { step: step.to_owned(), near: near(step, &known), known });
    };
    let run = &runs[at];
    let pipeline = &run.header.pipeline;
    let is_last = runs
        .iter()
        .find(|run| run.header.pipeline == *pipeline)
        .is_some_and(|last| last.folder() == run.folder());
    let which = if is_last { "the last build" } else { "the last build that has it" };
    let when = ago(run.header.started_at, Utc::now());
    let (how, reason) = became(step, run, outcome);
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut text = wrap("", &format!("`{step}` {how} in {which} of `{pipeline}`, {when}{reason}."));
    match run.decision(step) {
        Some(RecordedDecision { decision, at: then }) => {
            let earlier =
                runs[at + 1..].iter().filter(|run| run.header.pipeline == *pipeline).filter_map(|run| {
                    let (decided, outcome) = (run.decision(step)?, run.outcome(step)?);
                    Some(Earlier { decided, outcome, running: run.state() == RunStatus::Running })
                });
            text.push_str(match &decision.verdict {
                // That was the first sentence.
                StepVerdict::Hit { .. } => "",
                StepVerdict::Miss(_) => "It was not taken from the cache:\n",
                StepVerdict::Uncacheable(_) => "The cache was not asked:\n",
            });
            for reason in reasons(&decision, then, earlier) {
                text.push_str(&wrap("  ", &reason));
            }
        }
        None => text.push_str(&wrap("", &without_decision(step, run, outcome))),
    }
    print(&text)
}

/// Outcome of a step in words, and its reason if that is on record.
fn became(step: &str, run: &Run, outcome: StepStatus) -> (String, Option<String>) {
    let how = match outcome {
        StepStatus::Failed { exit_code } => {
            let failure = run.failures().into_iter().find(|failure| failure.step == step);
            return match failure.filter(|failure| !failure.message.is_empty()) {
                Some(failure) => ("failed".to_owned(), Some(failure.message)),
                None => (format!("failed with exit code {exit_code}"), None),
            };
        }
        StepStatus::Succeeded => "succeeded",
        StepStatus::Cached => "was taken from the cache",
        StepStatus::Stopped if run.state() == RunStatus::Running => "is running",
        StepStatus::NotRun if run.state() == RunStatus::Running => "has not come to its turn yet",
        StepStatus::Stopped => "was stopped",
        StepStatus::NotRun => "did not run",
        StepStatus::SucceededBefore => "was left out",
    };
    (how.to_owned(), None)
}

/// Reason that nothing was decided about a step.
fn without_decision(step: &str, run: &Run, outcome: StepStatus) -> String {
    match outcome {
        StepStatus::SucceededBefore => {
            "It had succeeded before, and only what had not was to be run.".to_owned()
        }
        StepStatus::NotRun => match (run.state(), in_the_way(step, run).as_slice()) {
            (RunStatus::Running, _) => "Nothing is known of it yet.".to_owned(),
            (RunStatus::Killed, _) => "hm was killed before it came to its turn.".to_owned(),
            (RunStatus::Ended { .. }, []) => "The build was stopped before it came to its turn.".to_owned(),
            (RunStatus::Ended { .. }, failed) => {
                format!("These failed before it came to its turn: {}.", quoted_list(failed))
            }
        },
        _ => "The cache was not asked: the step has no cache policy, or `none`, or there was no cache."
            .to_owned(),
    }
}

/// The steps that failed and that this one needs, directly or not, or that stand before its wait; if there are none,
/// all that failed, for any failure may stop a build.
fn in_the_way(step: &str, run: &Run) -> Vec<String> {
    let steps = run.steps();
    let failed: Vec<String> = run.failures().into_iter().map(|failure| failure.step).collect();
    let by_key: BTreeMap<&str, &StepMeta> = steps.iter().map(|step| (step.key.as_str(), step)).collect();
    let stage = by_key.get(step).map_or(0, |about| about.stage);
    let mut needed: BTreeSet<&str> =
        steps.iter().filter(|about| about.stage < stage).map(|about| about.key.as_str()).collect();
    let mut open = vec![step];
    while let Some(key) = open.pop() {
        let needs =
            by_key.get(key).into_iter().flat_map(|about| about.parent.iter().chain(&about.depends_on));
        open.extend(needs.map(String::as_str).filter(|&key| needed.insert(key)));
    }
    let in_the_way: Vec<String> =
        failed.iter().filter(|&key| needed.contains(key.as_str())).cloned().collect();
    if in_the_way.is_empty() { failed } else { in_the_way }
}

/// Steps that may have been meant.
fn near(typed: &str, known: &[String]) -> Vec<String> {
    let lower = typed.to_lowercase();
    let partly = |key: &&String| {
        let key = key.to_lowercase();
        key.contains(&lower) || lower.contains(&key)
    };
    let near: Vec<String> = known.iter().filter(partly).cloned().collect();
    if near.is_empty() { similar(typed, known) } else { near }
}
