//! Decides what happens next in a build. A pure state machine: the same inputs give the same actions, so that it can
//! be simulated. It knows no clock, no task and no plugin; carrying out its actions is `run`'s affair.

use std::collections::BTreeSet;
use std::sync::Arc;

use hm_plugin_protocol::SnapshotRef;

use super::exit;
use crate::pipeline::Plan;

/// Input of the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A step that it started has come to its end.
    Ended { step: usize, outcome: StepOutcome },
    /// A step that it wanted started was not, since the build was to stop by then; it has been told of that before.
    NotStarted { step: usize },
    /// The user wants it to stop.
    Cancel,
    /// A hook wants it to stop.
    Abort,
}

/// Outcome of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    /// Its command succeeded; children start from the snapshot, if the runner makes any.
    Succeeded { snapshot: Option<SnapshotRef> },
    /// Its command exited with another code than 0, or was stopped after its time.
    Failed { exit_code: i32, message: String },
    /// Something that it needs is not to be had, such as its image or room on the disk.
    Unavailable { message: String },
    /// The plugin that should run it failed.
    PluginFailed { message: String },
    /// It was stopped because the build was.
    Cancelled,
}

/// Action that the dispatcher wants done. The order matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Announce that a step is part of the build.
    Queue { step: usize },
    /// Start a step, or have its result taken from the cache.
    Start {
        step: usize,
        /// Snapshot that its parent left.
        parent: Option<SnapshotRef>,
    },
    /// Announce the end of a step.
    End {
        step: usize,
        /// Exit code of its command, or what stands for it.
        exit_code: i32,
        snapshot: Option<SnapshotRef>,
    },
    /// Announce the failure of a step.
    Fail { step: usize, exit_code: i32, message: String },
    /// Stop all running steps; each still has to be reported as ended.
    StopRunning,
    /// The build is over. The last action.
    Finish {
        /// Exit code of `hm build`.
        exit_code: i32,
    },
}

/// The exit code that stands for a step that lacked something it needs (`EX_UNAVAILABLE`).
pub(super) const UNAVAILABLE: i32 = 69;

/// The exit code that stands for a step whose plugin failed (`EX_SOFTWARE`).
pub(super) const PLUGIN_FAILED: i32 = 70;

#[derive(Debug, Clone, PartialEq, Eq)]
enum StepState {
    Pending,
    Running,
    Succeeded(Option<SnapshotRef>),
    /// Failed, stopped, or never to be run.
    Ended,
}

/// Options of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BuildOptions {
    /// Number of steps that run at once.
    pub(crate) jobs: usize,
    /// Set if steps that need nothing of a step that failed are still started. A wait holds back what follows all the
    /// same.
    pub(crate) keep_going: bool,
}

/// The state of a build. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    plan: Arc<Plan>,
    options: BuildOptions,
    status: Vec<StepState>,
    /// Number of needed steps that have not succeeded, for each step.
    missing: Vec<usize>,
    /// Steps that may start now, first things first.
    ready: BTreeSet<usize>,
    running: usize,
    /// The steps of each stage (what stands between two waits).
    stages: Vec<Vec<usize>>,
    stage: usize,
    /// Number of steps of the current stage that have not come to their end.
    open: usize,
    /// Nothing more is started in the current stage.
    halted: bool,
    /// Nothing more is started at all.
    stopped: bool,
    exit_code: i32,
    finished: bool,
}

impl Dispatcher {
    /// A build of this plan, and its first actions.
    #[must_use]
    pub(crate) fn new(plan: Arc<Plan>, options: BuildOptions) -> (Self, Vec<Action>) {
        let mut stages = vec![Vec::new(); plan.waits().len() + 1];
        for (index, step) in plan.steps().iter().enumerate() {
            stages[step.stage].push(index);
        }
        let mut actions: Vec<Action> = (0..plan.steps().len()).map(|step| Action::Queue { step }).collect();
        let mut this = Self {
            status: vec![StepState::Pending; plan.steps().len()],
            missing: plan.steps().iter().map(|step| step.needs().count()).collect(),
            options: BuildOptions { jobs: options.jobs.max(1), ..options },
            ready: BTreeSet::new(),
            running: 0,
            open: 0,
            stages,
            stage: 0,
            halted: false,
            stopped: false,
            exit_code: exit::OK,
            finished: false,
            plan,
        };
        this.open_stage();
        this.advance(&mut actions);
        (this, actions)
    }

    /// Takes an input and says what to do about it. Inputs that make no sense any more change nothing.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Cancel | Input::Abort if self.finished => {}
            Input::Cancel | Input::Abort => {
                self.exit_code = match (input, self.exit_code) {
                    (Input::Cancel, _) => exit::INTERRUPTED,
                    (_, exit::OK) => exit::FAILED,
                    (_, exit_code) => exit_code,
                };
                self.stopped = true;
                self.halt();
                if self.running > 0 {
                    actions.push(Action::StopRunning);
                }
            }
            Input::Ended { step, .. } | Input::NotStarted { step }
                if self.status.get(step) != Some(&StepState::Running) => {}
            Input::NotStarted { step } => {
                self.status[step] = StepState::Ended;
                self.running -= 1;
                self.open -= 1;
            }
            Input::Ended { step, outcome } => self.ended(step, outcome, &mut actions),
        }
        self.advance(&mut actions);
        actions
    }

    fn ended(&mut self, step: usize, outcome: StepOutcome, actions: &mut Vec<Action>) {
        self.running -= 1;
        self.open -= 1;
        let (exit_code, message, snapshot) = match outcome {
            StepOutcome::Succeeded { snapshot } => {
                self.status[step] = StepState::Succeeded(snapshot.clone());
                for follower in self.plan.steps()[step].followers() {
                    self.missing[follower] -= 1;
                    let here = self.plan.steps()[follower].stage == self.stage;
                    if self.missing[follower] == 0 && here && !self.halted {
                        self.ready.insert(follower);
                    }
                }
                (0, None, snapshot)
            }
            StepOutcome::Failed { exit_code, message } => {
                self.fail(step, exit::FAILED);
                (exit_code, Some(message), None)
            }
            StepOutcome::Unavailable { message } => {
                self.fail(step, exit::UNAVAILABLE);
                (UNAVAILABLE, Some(message), None)
            }
            StepOutcome::PluginFailed { message } => {
                self.fail(step, exit::PLUGIN);
                (PLUGIN_FAILED, Some(message), None)
            }
            StepOutcome::Cancelled => {
                self.status[step] = StepState::Ended;
                (exit::INTERRUPTED, None, None)
            }
        };
        actions.push(Action::End { step, exit_code, snapshot });
        if let Some(message) = message {
            actions.push(Action::Fail { step, exit_code, message });
        }
    }

    /// The first failure decides the exit code, unless the user interrupts.
    fn fail(&mut self, step: usize, code: i32) {
        self.status[step] = StepState::Ended;
        if self.exit_code == exit::OK {
            self.exit_code = code;
        }
        if self.options.keep_going {
            self.never(self.plan.steps()[step].followers().collect());
        } else {
            self.halt();
        }
    }

    /// Starts nothing more in this stage.
    fn halt(&mut self) {
        self.halted = true;
        self.ready.clear();
        for &step in &self.stages[self.stage] {
            if self.status[step] == StepState::Pending {
                self.status[step] = StepState::Ended;
                self.open -= 1;
            }
        }
    }

    /// Starts what may start; passes waits that are over; finishes when nothing is left.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        while self.open == 0 && !self.finished {
            match self.plan.waits().get(self.stage) {
                Some(continue_on_failure) if !self.stopped => {
                    self.stage += 1;
                    if self.exit_code == exit::OK || *continue_on_failure {
                        self.halted = false;
                        self.open_stage();
                    } else {
                        // What stands behind a later wait that continues may still run.
                        self.skip_stage();
                    }
                }
                _ => {
                    self.finished = true;
                    actions.push(Action::Finish { exit_code: self.exit_code });
                }
            }
        }
        while self.running < self.options.jobs {
            let Some(step) = self.ready.pop_first() else { break };
            self.status[step] = StepState::Running;
            self.running += 1;
            let parent = match self.plan.steps()[step].parent.map(|p| &self.status[p]) {
                Some(StepState::Succeeded(snapshot)) => snapshot.clone(),
                _ => None,
            };
            actions.push(Action::Start { step, parent });
        }
    }

    /// Gives up all of the current stage.
    fn skip_stage(&mut self) {
        for &step in &self.stages[self.stage] {
            self.status[step] = StepState::Ended;
        }
    }

    /// Makes the current stage's steps ready, as far as what they need succeeded; those that need a step that did
    /// not will never run.
    fn open_stage(&mut self) {
        let planned = self.plan.steps();
        let steps = &self.stages[self.stage];
        self.open = steps.len();
        let mut never = Vec::new();
        for &step in steps {
            if self.missing[step] == 0 {
                self.ready.insert(step);
            } else if planned[step].needs().any(|needed| self.status[needed] == StepState::Ended) {
                never.push(step);
            }
        }
        self.never(never);
    }

    /// Gives up these steps of the current stage, and those that need them.
    fn never(&mut self, mut steps: Vec<usize>) {
        while let Some(step) = steps.pop() {
            let planned = &self.plan.steps()[step];
            if self.status[step] == StepState::Pending && planned.stage == self.stage {
                self.status[step] = StepState::Ended;
                self.open -= 1;
                steps.extend(planned.followers());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::sketch;

    fn build(text: &str, options: BuildOptions) -> (Dispatcher, String) {
        let plan = sketch::plan(text).expect("a plan");
        let (dispatcher, actions) = Dispatcher::new(Arc::new(plan), options);
        let shown = show(&dispatcher, &actions);
        (dispatcher, shown)
    }

    fn show(dispatcher: &Dispatcher, actions: &[Action]) -> String {
        let key = |step: &usize| dispatcher.plan.steps()[*step].step.key.as_str();
        let words: Vec<String> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Queue { .. } | Action::End { .. } => None,
                Action::Start { step, parent: None } => Some(format!("start {}", key(step))),
                Action::Start { step, parent: Some(SnapshotRef(parent)) } => {
                    Some(format!("start {} in {parent}", key(step)))
                }
                Action::Fail { step, exit_code, .. } => Some(format!("fail {} {exit_code}", key(step))),
                Action::StopRunning => Some("stop".into()),
                Action::Finish { exit_code } => Some(format!("finish {exit_code}")),
            })
            .collect();
        words.join(", ")
    }

    /// Ends steps one after the other (`a` succeeds, `a!` fails, `a?` plugin failure, `^` cancel, `!` abort, `a^`
    /// cancelled, `a-` not started).
    fn after(text: &str, jobs: usize, ends: &str) -> Vec<String> {
        after_in(text, BuildOptions { jobs, keep_going: false }, ends)
    }

    fn after_in(text: &str, options: BuildOptions, ends: &str) -> Vec<String> {
        let (mut dispatcher, first) = build(text, options);
        let mut shown = vec![first];
        for end in ends.split_whitespace() {
            let key = end.trim_end_matches(['!', '?', '0', '^', '-']);
            let step = dispatcher.plan.steps().iter().position(|s| s.step.key == key).unwrap_or(usize::MAX);
            let message = "why".to_owned();
            let input = match &end[key.len()..] {
                "!" if key.is_empty() => Input::Abort,
                "!" => Input::Ended { step, outcome: StepOutcome::Failed { exit_code: 3, message } },
                "?" => Input::Ended { step, outcome: StepOutcome::PluginFailed { message } },
                "0" => Input::Ended { step, outcome: StepOutcome::Unavailable { message } },
                "^" if key.is_empty() => Input::Cancel,
                "^" => Input::Ended { step, outcome: StepOutcome::Cancelled },
                "-" => Input::NotStarted { step },
                _ => Input::Ended {
                    step,
                    outcome: StepOutcome::Succeeded { snapshot: Some(SnapshotRef(format!("[{key}]"))) },
                },
            };
            let actions = dispatcher.handle(input);
            shown.push(show(&dispatcher, &actions));
        }
        shown
    }

    #[test]
    fn forks_start_together_up_to_the_number_of_jobs() {
        assert_eq!(
            after("a b<a c<a d", 2, "a b c d"),
            ["start a, start d", "start b in [a]", "start c in [a]", "", "finish 0"]
        );
        assert_eq!(
            after("a b<a c<a d", 1, "a b c d"),
            ["start a", "start b in [a]", "start c in [a]", "start d", "finish 0"]
        );
    }

    #[test]
    fn a_failure_lets_running_steps_end_and_starts_nothing_more() {
        assert_eq!(after("a b c d<b", 2, "a! b"), ["start a, start b", "fail a 3", "finish 1"]);
        assert_eq!(after("a | b", 2, "a!"), ["start a", "fail a 3, finish 1"]);
        assert_eq!(after("a b<a", 2, "a?"), ["start a", "fail a 70, finish 6"]);
        assert_eq!(after("a b", 2, "a? b!"), ["start a, start b", "fail a 70", "fail b 3, finish 6"]);
        assert_eq!(after("a b", 2, "a0 b?"), ["start a, start b", "fail a 69", "fail b 70, finish 4"]);
    }

    #[test]
    fn a_step_waits_for_all_that_it_depends_on() {
        assert_eq!(
            after("a b c+a+b d<a+b", 9, "a b c d"),
            ["start a, start b", "", "start c, start d in [a]", "", "finish 0"]
        );
        assert_eq!(after("a b<a+a c+b", 9, "a b c"), ["start a", "start b in [a]", "start c", "finish 0"]);
        assert_eq!(after("late+early early", 9, "early late"), ["start early", "start late", "finish 0"]);
    }

    #[test]
    fn what_depends_on_a_failure_does_not_run() {
        assert_eq!(after("a b c+a d+c", 9, "a! b"), ["start a, start b", "fail a 3", "finish 1"]);
        assert_eq!(
            after("a b |! c+a d+b e+c f+d g+d+c", 9, "a! b d f"),
            ["start a, start b", "fail a 3", "start d", "start f", "finish 1"],
            "behind a wait that continues, only that"
        );
    }

    #[test]
    fn waits_hold_back_all_that_follows() {
        assert_eq!(
            after("a b | c<a | | d", 9, "a b c d"),
            ["start a, start b", "", "start c in [a]", "start d", "finish 0"]
        );
        assert_eq!(after("| x | |", 1, "x"), ["start x", "finish 0"]);
    }

    #[test]
    fn a_wait_that_continues_runs_what_can_still_run() {
        assert_eq!(
            after("t1 t2 |! report child<t1 grand<child", 1, "t1! report"),
            ["start t1", "fail t1 3, start report", "finish 1"]
        );
        assert_eq!(after("a |! b | c", 1, "a! b"), ["start a", "fail a 3, start b", "finish 1"]);
        assert_eq!(
            after("a | b |! c d<b", 1, "a! c"),
            ["start a", "fail a 3, start c", "finish 1"],
            "each wait speaks for what stands right behind it"
        );
        assert_eq!(
            after("a |! b<a", 1, "a!"),
            ["start a", "fail a 3, finish 1"],
            "nothing is left that could run"
        );
    }

    #[test]
    fn cancelling_stops_what_runs_and_passes_no_wait() {
        assert_eq!(after("a b c |! d", 2, "^ a^ b^"), ["start a, start b", "stop", "", "finish 130"]);
        assert_eq!(after("a", 1, "a ^"), ["start a", "finish 0", ""], "too late");
        assert_eq!(after("a b", 2, "a! ^ b^"), ["start a, start b", "fail a 3", "stop", "finish 130"]);
    }

    #[test]
    fn aborting_stops_what_runs_and_fails_the_build() {
        assert_eq!(after("a b c |! d", 2, "! a^ b^"), ["start a, start b", "stop", "", "finish 1"]);
        assert_eq!(after("a b", 2, "a? ! b^"), ["start a, start b", "fail a 70", "stop", "finish 6"]);
        assert_eq!(after("a", 1, "! ^ a^"), ["start a", "stop", "stop", "finish 130"]);
        assert_eq!(after("a", 1, "a !"), ["start a", "finish 0", ""], "too late");
    }

    #[test]
    fn who_keeps_going_runs_what_needs_nothing_that_failed() {
        let going = |text, ends| after_in(text, BuildOptions { jobs: 1, keep_going: true }, ends);
        assert_eq!(
            going("a b<a c+b d e<d", "a! d e"),
            ["start a", "fail a 3, start d", "start e in [d]", "finish 1"]
        );
        assert_eq!(going("a b | c", "a! b"), ["start a", "fail a 3, start b", "finish 1"], "a wait waits");
        assert_eq!(
            going("a b |! c<a d<b", "a? b d"),
            ["start a", "fail a 70, start b", "start d in [b]", "finish 6"]
        );
        assert_eq!(going("a b", "a! ^ b^"), ["start a", "fail a 3, start b", "stop", "finish 130"]);
    }

    #[test]
    fn what_was_not_started_has_no_end() {
        assert_eq!(after("a b |! c", 2, "! a- b-"), ["start a, start b", "stop", "", "finish 1"]);
        assert_eq!(after("a b c", 2, "a ^ c- b^"), ["start a, start b", "start c", "stop", "", "finish 130"]);
        let (mut dispatcher, _) = build("a", BuildOptions { jobs: 1, keep_going: false });
        dispatcher.handle(Input::Abort);
        let finish = Action::Finish { exit_code: exit::FAILED };
        assert_eq!(dispatcher.handle(Input::NotStarted { step: 0 }), [finish]);
    }

    #[test]
    fn inputs_about_steps_that_do_not_run_change_nothing() {
        assert_eq!(after("a b<a", 1, "b a a b"), ["start a", "", "start b in [a]", "", "finish 0"]);
        assert_eq!(after("a b<a", 1, "b- a a- b b-"), ["start a", "", "start b in [a]", "", "finish 0", ""]);
    }

    #[test]
    fn a_fork_of_10_000_is_dispatched_in_order() {
        let text: Vec<String> =
            (0..10_000).map(|i| if i == 0 { "s0".into() } else { format!("s{i}<s0") }).collect();
        let (mut dispatcher, _) = build(&text.join(" "), BuildOptions { jobs: 1, keep_going: false });
        let mut last = 0;
        for step in 0..10_000 {
            let done = StepOutcome::Succeeded { snapshot: None };
            for action in dispatcher.handle(Input::Ended { step, outcome: done }) {
                if let Action::Start { step, .. } = action {
                    last = step;
                }
            }
        }
        assert_eq!(last, 9_999);
    }
}
