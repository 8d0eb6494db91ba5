//! Simulated builds: random plans, random ends, late and senseless inputs, each from a seed. What must hold in every
//! build is checked against a model that knows only the rules. A failing seed is in the message, and runs alone with
//! it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hm_plugin_protocol::SnapshotRef;

use super::dispatcher::{Action, BuildOptions, Dispatcher, Input, StepOutcome};
use super::exit;
use crate::pipeline::{Plan, sketch};

const BUILDS: u64 = 20_000;

/// A small generator (xorshift64*): good enough to choose with, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("31 bits") % limit
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

fn random_plan(dice: &mut Dice) -> Plan {
    let mut words: Vec<String> = Vec::new();
    let mut keys = 0;
    for _ in 0..1 + dice.below(14) {
        match dice.below(6) {
            0 => words.push(if dice.one_in(2) { "|" } else { "|!" }.into()),
            1 | 2 if keys > 0 => words.push(format!("s{keys}<s{}", dice.below(keys))),
            _ => words.push(format!("s{keys}")),
        }
        let word = words.last_mut().expect("one of the above");
        if word.starts_with('|') {
            continue;
        }
        if keys > 0 && dice.one_in(2) {
            for _ in 0..1 + dice.below(3) {
                word.push_str(&format!("+s{}", dice.below(keys)));
            }
        }
        keys += 1;
    }
    words.push(format!("s{keys}"));
    sketch::plan(&words.join(" ")).expect("parents come first, so it is valid")
}

/// Model of the rules: what they allow after what was seen so far.
struct Model {
    plan: Arc<Plan>,
    options: BuildOptions,
    queued: BTreeSet<usize>,
    started: BTreeSet<usize>,
    running: BTreeSet<usize>,
    succeeded: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    /// Stages in which something failed.
    failed_in: BTreeSet<usize>,
    first_failure: Option<i32>,
    cancelled: bool,
    /// Cancelled or aborted.
    stopped: bool,
    told_to_stop: bool,
    finished: Option<i32>,
}

impl Model {
    fn see(&mut self, actions: &[Action]) {
        for action in actions {
            assert_eq!(self.finished, None, "nothing follows the end");
            match action {
                Action::Queue { step } => assert!(self.queued.insert(*step) && self.started.is_empty()),
                Action::Start { step, parent } => self.start(*step, parent.as_ref()),
                Action::End { step, .. } => {
                    assert!(self.ended.contains(step) && !self.running.contains(step), "told of a true end");
                }
                Action::Fail { exit_code, .. } => assert_ne!(*exit_code, 0),
                Action::StopRunning => {
                    assert!(self.stopped && !self.running.is_empty());
                    self.told_to_stop = true;
                }
                Action::Finish { exit_code } => self.finished = Some(*exit_code),
            }
        }
    }

    fn start(&mut self, step: usize, snapshot: Option<&SnapshotRef>) {
        let planned = &self.plan.steps()[step];
        assert!(!self.stopped, "nothing starts after a cancel");
        assert!(self.started.insert(step), "a step starts once");
        self.running.insert(step);
        assert!(self.running.len() <= self.options.jobs, "no more at once than allowed");
        let beside = self.failed_in.contains(&planned.stage);
        assert!(self.options.keep_going || !beside, "nothing starts after a failure beside it");
        match planned.parent {
            Some(parent) => assert!(self.succeeded.contains(&parent) && snapshot == Some(&saved(parent))),
            None => assert_eq!(snapshot, None),
        }
        let unmet = planned.depends_on.iter().find(|needed| !self.succeeded.contains(needed));
        assert_eq!(unmet, None, "a step waits until what it depends on has succeeded");
        let earlier = |other: &&usize| self.plan.steps()[**other].stage < planned.stage;
        assert_eq!(self.running.iter().find(earlier), None, "a wait waits for all before it");
        assert!(!self.is_stopped_by_a_wait(step), "a wait stops what follows a failure");
    }

    /// True if the wait right before its stage holds a step back for a failure.
    fn is_stopped_by_a_wait(&self, step: usize) -> bool {
        let wait = self.plan.steps()[step].stage.checked_sub(1);
        wait.is_some_and(|wait| !self.plan.waits()[wait] && self.failed_in.range(..=wait).next().is_some())
    }

    /// Ends what was running, and tells the dispatcher with which outcome.
    fn end(&mut self, step: usize, dice: &mut Dice) -> Input {
        self.running.remove(&step);
        self.ended.insert(step);
        let message = "why".to_owned();
        let outcome = match dice.below(10) {
            _ if self.told_to_stop => StepOutcome::Cancelled,
            0 => StepOutcome::Failed { exit_code: 3, message },
            1 if dice.one_in(2) => StepOutcome::PluginFailed { message },
            1 => StepOutcome::Unavailable { message },
            _ => StepOutcome::Succeeded { snapshot: Some(saved(step)) },
        };
        let code = match &outcome {
            StepOutcome::Failed { .. } => Some(exit::FAILED),
            StepOutcome::PluginFailed { .. } => Some(exit::PLUGIN),
            StepOutcome::Unavailable { .. } => Some(exit::UNAVAILABLE),
            StepOutcome::Succeeded { .. } => {
                self.succeeded.insert(step);
                None
            }
            StepOutcome::Cancelled => None,
        };
        if code.is_some() {
            self.failed_in.insert(self.plan.steps()[step].stage);
            self.first_failure = self.first_failure.or(code);
        }
        Input::Ended { step, outcome }
    }

    /// It was to stop before the step could start.
    fn not_started(&mut self, step: usize) -> Input {
        self.running.remove(&step);
        self.started.remove(&step);
        Input::NotStarted { step }
    }

    fn check_end(&self) {
        assert_eq!(self.queued.len(), self.plan.steps().len(), "every step was announced");
        assert!(self.running.is_empty() && self.ended == self.started, "each start has one end");
        let expected =
            if self.cancelled { exit::INTERRUPTED } else { self.first_failure.unwrap_or(exit::OK) };
        assert_eq!(self.finished, Some(expected));
        for (step, planned) in self.plan.steps().iter().enumerate() {
            let kept = self.stopped
                || (self.failed_in.contains(&planned.stage) && !self.options.keep_going)
                || self.is_stopped_by_a_wait(step)
                || planned.needs().any(|needed| !self.succeeded.contains(&needed));
            assert!(kept || self.started.contains(&step), "what could run has run");
        }
    }
}

fn saved(step: usize) -> SnapshotRef {
    SnapshotRef(format!("of {step}"))
}

fn simulate(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let plan = Arc::new(random_plan(&mut dice));
    let options = BuildOptions { jobs: 1 + dice.below(4), keep_going: dice.one_in(3) };
    let may_cancel = dice.one_in(4);
    let (mut dispatcher, actions) = Dispatcher::new(plan.clone(), options);
    let none = BTreeSet::new;
    let mut model = Model {
        plan,
        options,
        queued: none(),
        started: none(),
        running: none(),
        succeeded: none(),
        ended: none(),
        failed_in: none(),
        first_failure: None,
        cancelled: false,
        stopped: false,
        told_to_stop: false,
        finished: None,
    };
    model.see(&actions);
    while model.finished.is_none() {
        let input = match dice.below(12) {
            0 if may_cancel => {
                model.stopped = true;
                if dice.one_in(2) {
                    model.cancelled = true;
                    Input::Cancel
                } else {
                    model.first_failure = model.first_failure.or(Some(exit::FAILED));
                    Input::Abort
                }
            }
            // About a step that is not running, or not there at all.
            1 => {
                let step = dice.below(20);
                if model.running.contains(&step) {
                    continue;
                }
                if dice.one_in(2) {
                    Input::NotStarted { step }
                } else {
                    Input::Ended {
                        step,
                        outcome: StepOutcome::Failed { exit_code: 9, message: String::new() },
                    }
                }
            }
            _ => {
                assert!(!model.running.is_empty(), "a build that is not over has something to wait for");
                let pick = dice.below(model.running.len());
                let step = model.running.iter().copied().nth(pick).expect("one of them");
                if model.stopped && dice.one_in(4) {
                    model.not_started(step)
                } else {
                    model.end(step, &mut dice)
                }
            }
        };
        model.see(&dispatcher.handle(input));
    }
    model.check_end();
    assert_eq!(dispatcher.handle(Input::Cancel), [], "too late");
}

#[test]
fn the_rules_hold_in_every_simulated_build() {
    for seed in 0..BUILDS {
        let outcome = std::panic::catch_unwind(|| simulate(seed));
        assert!(outcome.is_ok(), "seed {seed} breaks a rule; the panic above says which");
    }
}
