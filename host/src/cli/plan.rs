//! `hm plan`: what a build would do, and what it would take from the cache, without running a step.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use chrono::Utc;
use hm_docker::{DockerError, EndpointError};

use super::args::PlanArgs;
use super::error::CliError;
use super::history::{Earlier, reasons};
use super::plan_text::{Outlook, as_json, as_text};
use super::plugin_loading::drain_diagnostics;
use super::prepare::{Prepared, close, warn_of_doubts};
use super::signals::interrupts;
use super::terminal_output::{print, print_data, warn};
use crate::cache::{Decision, Never, Verdict};
use crate::orchestrator::predict;
use crate::pipeline::Plan;
use crate::plugin::one_line;
use crate::record::{Decided, Outcome, Run, Runs, State};
use crate::sys::System;

/// Builds that came to a step and are looked at for changes since then, at the most.
const LOOKED_AT: usize = 5;

/// Runs the command and returns the exit code.
pub(super) async fn plan(args: PlanArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let prepared = {
        let mut interrupts = interrupts()?;
        tokio::select! {
            prepared = Prepared::new(&args.of, &system, None, false) => prepared?,
            _ = interrupts.recv() => return Err(CliError::Interrupted),
        }
    };
    prepared.open_sandbox().await?;
    if let Err(error) = prepared.connect().await {
        let why = match error {
            DockerError::Endpoint(EndpointError::Nowhere(_)) => {
                "no engine answers in any of the usual places".to_owned()
            }
            error => one_line(&error),
        };
        warn(&format!("steps in containers are foretold as if nothing were kept: {why}"));
    }
    let decisions = match prepared.keeping(&system, true) {
        Some(keeping) => {
            let decisions = predict(&prepared.plan, &prepared.plugins, &keeping).await;
            warn_of_doubts(&keeping.doubts());
            decisions
        }
        None => without_cache(&prepared.plan),
    };
    let Prepared { project, pipeline, plan, plugins, world, listener, backends, .. } = prepared;
    drop((plugins, world));
    drain_diagnostics(listener).await;
    let closed = close(backends).await;
    let outlooks = outlooks(decisions, &earlier_builds(&system.state.join("runs"), &project, &pipeline));
    if args.json {
        print_data(format!("{}\n", as_json(&pipeline, &plan, &outlooks)).as_bytes())?;
    } else {
        print(&as_text(&pipeline, &plan, &outlooks))?;
    }
    closed.map(|()| 0)
}

fn without_cache(plan: &Plan) -> Vec<Decision> {
    let never = |key: &str| Decision {
        step: key.to_owned(),
        key: None,
        parts: None,
        verdict: Verdict::Never(Never::CannotKeep { why: "the cache cannot be used".to_owned() }),
    };
    plan.steps().iter().map(|planned| never(&planned.step.key)).collect()
}

/// A build, of which all is read once something of it is needed.
struct EarlierBuild {
    run: Run,
    read: OnceCell<Read>,
}

struct Read {
    decided: BTreeMap<String, Decided>,
    outcomes: BTreeMap<String, Outcome>,
    running: bool,
}

impl EarlierBuild {
    fn step(&self, key: &str) -> Option<Earlier> {
        let run = &self.run;
        let read = self.read.get_or_init(|| Read {
            // Asked first: a build that ends meanwhile has no step that runs.
            running: run.state() == State::Running,
            decided: run.decisions(),
            outcomes: run.outcomes(),
        });
        let (decided, outcome) = (read.decided.get(key)?.clone(), *read.outcomes.get(key)?);
        Some(Earlier { decided, outcome, running: read.running })
    }
}

fn earlier_builds(runs: &Path, project: &Path, pipeline: &str) -> Vec<EarlierBuild> {
    let of_it = Runs::of(runs, project).into_iter().filter(|run| run.header.pipeline == pipeline);
    of_it.map(|run| EarlierBuild { run, read: OnceCell::new() }).collect()
}

fn outlooks(decisions: Vec<Decision>, earlier: &[EarlierBuild]) -> Vec<Outlook> {
    let now = Utc::now();
    let outlook = |decision: Decision| {
        let earlier = earlier.iter().filter_map(|build| build.step(&decision.step)).take(LOOKED_AT);
        let reasons = reasons(&decision, now, earlier);
        Outlook { decision, reasons }
    };
    decisions.into_iter().map(outlook).collect()
}
