//! Earlier builds of a step: the one to compare with, the reasons for a miss in words, and the steps that are left to
//! do. Reading records is below, and so is comparing two decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use hm_disk::sha256_hex;
use serde_json::json;

use super::error::CliError;
use super::units::span;
use crate::cache::explain;
use crate::cache::{MissReason, StepDecision, StepVerdict};
use crate::pipeline::{Plan, PlannedStep};
use crate::record::{RecordedDecision, RunStatus, StepMeta, StepStatus};
use crate::record::{Run, Runs};

/// A step in an earlier build.
pub(super) struct Earlier {
    pub(super) decided: RecordedDecision,
    pub(super) outcome: StepStatus,
    /// The build has not ended yet.
    pub(super) running: bool,
}

/// Reasons for a decision, a line for each. `earlier` are the builds before, the newest first; no more of them are
/// looked at than needed.
pub(super) fn reasons(
    now: &StepDecision,
    at: DateTime<Utc>,
    earlier: impl IntoIterator<Item = Earlier>,
) -> Vec<String> {
    let StepVerdict::Miss(missing) = &now.verdict else { return explain(now, None, at) };
    // What a result was made of says most; what was tried without one is better than nothing.
    let (mut failed, mut made, mut tried) = (None, None, None);
    for Earlier { decided, outcome, running } in earlier {
        let RecordedDecision { decision, at: then } = decided;
        if outcome.is_success() && decision.key.is_some() {
            made = Some(decision);
            break;
        }
        let same = decision.key.is_some() && decision.key == now.key;
        if same && *missing == MissReason::NoEntry {
            failed.get_or_insert((then, outcome, running));
        } else {
            tried.get_or_insert(decision);
        }
    }
    let base = made.or(tried);
    let mut lines = Vec::new();
    if let Some((then, outcome, running)) = failed {
        let how = match outcome {
            StepStatus::Failed { .. } => Some("failed"),
            _ if running => None,
            _ => Some("was stopped"),
        };
        lines.push(match how {
            Some(how) => format!("as it is now it {how} {}, and only what succeeds is kept", ago(then, at)),
            None => "another build is running it now".to_owned(),
        });
        if base.is_none() {
            return lines;
        }
    }
    lines.extend(explain(now, base.as_ref(), at));
    lines
}

/// The last build of a pipeline that is over.
///
/// # Errors
/// There is none on record.
pub(super) fn last_build(runs: &Path, project: &Path, pipeline: &str) -> Result<Run, CliError> {
    let mut of_it = Runs::of(runs, project).into_iter().filter(|run| run.header.pipeline == pipeline);
    let no_run = || CliError::NoBuild { pipeline: Some(pipeline.to_owned()) };
    of_it.find(|run| run.state() != RunStatus::Running).ok_or_else(no_run)
}

/// The steps of a plan that did not succeed in the last build of it, and those that are new or others since then. The
/// steps that they build in are not among them.
pub(super) fn unfinished(last: &Run, plan: &Plan) -> BTreeSet<usize> {
    let outcomes = last.outcomes();
    let known: BTreeMap<String, StepMeta> =
        last.steps().into_iter().map(|step| (step.key.clone(), step)).collect();
    let same = |now: &StepMeta| {
        let before = known.get(&now.key);
        before.is_some_and(|before| {
            (&before.cmd, &before.runner, &before.image, &before.parent, &before.settings_digest)
                == (&now.cmd, &now.runner, &now.image, &now.parent, &now.settings_digest)
        })
    };
    let done = |step: &StepMeta| outcomes.get(&step.key).is_some_and(|outcome| outcome.is_success());
    let steps = steps_on_record(plan, plan).into_iter().enumerate();
    steps.filter(|(_, step)| !(done(step) && same(step))).map(|(number, _)| number).collect()
}

fn settings_digest(plan: &Plan, planned: &PlannedStep) -> String {
    let step = &planned.step;
    sha256_hex(json!([plan.env(planned), step.runner_args, step.extra]).to_string().as_bytes())
}

/// The steps of a plan, as the record of a build has them that runs this part of it.
pub(super) fn steps_on_record(plan: &Plan, part: &Plan) -> Vec<StepMeta> {
    let runs: BTreeSet<&str> = part.steps().iter().map(|planned| planned.step.key.as_str()).collect();
    let key = |step: usize| plan.steps()[step].step.key.clone();
    let about = plan.steps().iter().map(|planned| StepMeta {
        key: planned.step.key.clone(),
        label: planned.step.label.clone(),
        cmd: planned.step.cmd.clone(),
        runner: planned.runner.clone(),
        image: planned.image.clone(),
        parent: planned.parent.map(key),
        depends_on: planned.depends_on.iter().copied().map(key).collect(),
        stage: planned.stage,
        settings_digest: settings_digest(plan, planned),
        succeeded_before: !runs.contains(planned.step.key.as_str()),
    });
    about.collect()
}

/// Age of something, in words.
pub(super) fn ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    // What was in the future is so because the clock was set back.
    format!("{} ago", span(u64::try_from((now - then).num_seconds()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use hm_plugin_protocol::BuildEvent;
    use uuid::Uuid;

    use super::*;
    use crate::cache::{KeyInputs, Uncacheable};
    use crate::pipeline::sketch;
    use crate::record::{Recorder, RunMeta};

    fn missed(cmd: &str) -> StepDecision {
        let parts: KeyInputs = serde_json::from_value(serde_json::json!({
            "project": "/p", "cmd": cmd, "env": {}, "image": null, "runner": "local", "plugin": "local 1.0.0",
            "runner_args": null, "fields": {}, "emitter_key": null, "parent": null, "inputs": {}, "machine": null,
        }))
        .unwrap();
        let key = Some(parts.key());
        StepDecision {
            step: "a".into(),
            key,
            inputs: Some(parts),
            verdict: StepVerdict::Miss(MissReason::NoEntry),
        }
    }

    /// Reasons for the miss of `cmd`, after builds with these commands an hour apart, the newest first.
    fn why(cmd: &str, earlier: &[(&str, StepStatus)]) -> Vec<String> {
        let now = Utc::now();
        let hour = chrono::TimeDelta::hours(1);
        let mut at = now;
        let earlier = earlier.iter().map(|(cmd, outcome)| {
            at -= hour;
            Earlier {
                decided: RecordedDecision { decision: missed(cmd), at },
                outcome: *outcome,
                running: false,
            }
        });
        reasons(&missed(cmd), now, earlier)
    }

    #[test]
    fn a_miss_is_compared_with_what_was_kept_last() {
        let (ok, hit, bad) = (StepStatus::Succeeded, StepStatus::Cached, StepStatus::Failed { exit_code: 1 });
        let changed = |from| explain(&missed("new"), Some(&missed(from)), Utc::now());
        assert_ne!(changed("old"), changed("older"));
        assert_eq!(why("new", &[("old", ok), ("older", ok)]), changed("old"));
        assert_eq!(why("new", &[("old", bad), ("older", hit)]), changed("older"));
        assert_eq!(why("new", &[("old", bad), ("older", bad)]), changed("old"), "for want of a better one");
        let failed = |how| vec![format!("as it is now it {how} 1 h ago, and only what succeeds is kept")];
        assert_eq!(why("new", &[("new", bad)]), failed("failed"));
        assert_eq!(why("new", &[("new", StepStatus::Stopped)]), failed("was stopped"));
        assert_eq!(
            why("new", &[("new", bad), ("new", bad), ("old", ok)]),
            [failed("failed"), changed("old")].concat()
        );
        assert_eq!(why("new", &[]).len(), 1);
        assert_eq!(why("new", &[("new", ok)]).len(), 1);
    }

    #[test]
    fn a_step_that_runs_in_another_build_was_not_stopped() {
        let reasons = |cmd, outcome| {
            let decided = RecordedDecision { decision: missed(cmd), at: Utc::now() };
            reasons(&missed("new"), Utc::now(), [Earlier { decided, outcome, running: true }])
        };
        assert_eq!(reasons("new", StepStatus::Stopped), ["another build is running it now"]);
        assert!(reasons("new", StepStatus::Failed { exit_code: 1 })[0].starts_with("as it is now it failed"));
        assert!(reasons("old", StepStatus::Stopped)[0].starts_with("cmd changed"));
    }

    #[test]
    fn a_step_that_was_not_kept_before_says_so() {
        let mut before = missed("old");
        (before.key, before.inputs, before.verdict) =
            (None, None, StepVerdict::Uncacheable(Uncacheable::NoPolicy));
        let decided = RecordedDecision { decision: before, at: Utc::now() };
        let earlier = Earlier { decided, outcome: StepStatus::Succeeded, running: false };
        let reasons = reasons(&missed("new"), Utc::now(), [earlier]);
        assert!(reasons[0].starts_with("no result was kept before"), "{reasons:?}");
    }

    /// A build of a plan in which these steps ended, with these exit codes; the step that is `left_out` had succeeded
    /// before.
    fn built(runs: &Path, plan: &Plan, ends: &[(&str, i32)], left_out: &[&str]) {
        let mut steps = steps_on_record(plan, plan);
        for step in &mut steps {
            step.succeeded_before = left_out.contains(&step.key.as_str());
        }
        let about = RunMeta {
            run_id: Uuid::new_v4(),
            project: PathBuf::from("/no/such/project"),
            pipeline: "ci".into(),
            started_at: Utc::now(),
            version: "1".into(),
            steps,
        };
        let recorder = Recorder::create(runs, about).unwrap();
        for (key, exit_code) in ends {
            let (step_id, exit_code) = (Uuid::new_v4(), *exit_code);
            recorder.event(&BuildEvent::StepQueued { step_id, key: (*key).into(), chain_idx: 0 });
            recorder.event(&BuildEvent::StepStart { step_id, runner: "local".into(), image: None });
            let (snapshot, artifacts) = (None, Vec::new());
            recorder.event(&BuildEvent::StepEnd { step_id, exit_code, duration_ms: 1, snapshot, artifacts });
        }
    }

    #[test]
    fn what_is_left_to_do_is_what_has_not_succeeded_as_it_is_now() {
        let scratch = tempfile::tempdir().unwrap();
        let last = || last_build(scratch.path(), Path::new("/no/such/project"), "ci");
        assert!(matches!(last(), Err(CliError::NoBuild { .. })));
        let plan = sketch::plan("ok bad never | before").unwrap();
        built(scratch.path(), &plan, &[("ok", 0), ("bad", 1)], &["before"]);
        let keys = |plan: &Plan| -> Vec<String> {
            let left = unfinished(&last().unwrap(), plan);
            left.into_iter().map(|step| plan.steps()[step].step.key.clone()).collect()
        };
        assert_eq!(keys(&plan), ["bad", "never"]);
        assert_eq!(keys(&sketch::plan("new ok before").unwrap()), ["new"]);
        assert_eq!(keys(&sketch::plan("before ok<before").unwrap()), ["ok"], "it builds in another step now");
        let other = r#"{"type":"command","key":"ok","cmd":"other"}"#;
        assert_eq!(keys(&sketch::plan_json(other, &crate::pipeline::Overrides::default()).unwrap()), ["ok"]);
        let same = |value: &str| {
            let step = format!(r#"{{"type":"command","key":"ok","cmd":":","env":{{"V":"{value}"}}}}"#);
            sketch::plan_json(&step, &crate::pipeline::Overrides::default()).unwrap()
        };
        built(scratch.path(), &same("1"), &[("ok", 0)], &[]);
        assert!(keys(&same("1")).is_empty());
        assert_eq!(keys(&same("2")), ["ok"], "another environment");
        built(scratch.path(), &plan, &[("ok", 0), ("bad", 1)], &["before"]);
        built(scratch.path(), &plan, &[("bad", 0), ("never", 0)], &["ok", "before"]);
        assert!(keys(&plan).is_empty());
        assert!(last_build(scratch.path(), Path::new("/no/such/project"), "other").is_err());
    }

    #[test]
    fn what_a_part_leaves_out_is_on_record_as_done() {
        let plan = sketch::plan("a b<a c+b").unwrap();
        let steps = steps_on_record(&plan, &plan.subset(&[1].into()));
        let facts: Vec<_> =
            steps.iter().map(|s| (s.key.as_str(), s.parent.as_deref(), s.succeeded_before)).collect();
        assert_eq!(facts, [("a", None, false), ("b", Some("a"), false), ("c", None, true)]);
        assert_eq!(steps[2].depends_on, ["b"]);
    }
}
