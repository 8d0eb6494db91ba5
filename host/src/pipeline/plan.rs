//! A [`Plan`]: the steps of a pipeline as a graph that cannot be invalid. Keys are unique, parents exist, nothing
//! waits for itself, every runner that a step names is there. Running it is the orchestrator's affair.

mod startable;
mod subset;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use hm_plugin_protocol::{PlanSummary, Step};

use super::caching::Caching;
use super::document::Definition;
use super::error::PipelineError;
use super::fields::{UnknownFields, nearest};
use super::order::in_order;
use super::planned_step::PlannedStep;
use startable::{check, check_env};

/// The runners that plugins provide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runners {
    /// Names of all runners.
    pub known: BTreeSet<String>,
    /// For steps that name none.
    pub default: String,
    /// For steps that name none but an image.
    pub for_images: String,
}

/// Additions of the command line and the configuration to a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Wins over the environment of pipeline and step.
    pub env: BTreeMap<String, String>,
    /// Runs every step that names no runner itself.
    pub runner: Option<DefaultRunner>,
    /// True to plan pipelines with fields that nobody knows.
    pub lenient: bool,
}

/// A runner for all steps that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRunner {
    /// Name of the runner.
    pub name: String,
    /// Option or file that asks for it.
    pub by: String,
}

/// A pipeline that can be run. See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<PlannedStep>,
    /// The environment of every step; a step's own wins.
    env: BTreeMap<String, String>,
    /// Variables that were typed; they win over both.
    typed_env: BTreeMap<String, String>,
    /// For each wait, whether what follows runs although something before failed.
    waits: Vec<bool>,
    chains: usize,
    default_runner: String,
    /// True if the pipeline gives the build as a whole a limit of time.
    has_time_limit: bool,
    /// Fields that nobody knows.
    unknown: UnknownFields,
}

impl Plan {
    /// Checks a pipeline and orders its steps.
    ///
    /// # Errors
    /// Any of the errors that name a step, [`PipelineError::UnknownFields`] and [`PipelineError::Empty`].
    pub fn new(
        pipeline: Definition,
        overrides: &Overrides,
        runners: &Runners,
    ) -> Result<Self, PipelineError> {
        if let Some(DefaultRunner { name, by }) = &overrides.runner {
            known_runner(by, name, runners)?;
        }
        if !(overrides.lenient || pipeline.unknown.told.is_empty()) {
            let (origin, fields) = (pipeline.origin, pipeline.unknown);
            return Err(PipelineError::UnknownFields { origin, fields });
        }
        let mut steps = Vec::new();
        let mut waits = Vec::new();
        let mut by_key: HashMap<String, (usize, usize)> = HashMap::new();
        // For each position in the document, the step's number in the plan.
        let mut numbers = Vec::new();
        let env = pipeline.env;
        check_env(&env).map_err(|reason| PipelineError::BadEnv { of: "the pipeline".into(), reason })?;
        check_env(&overrides.env).map_err(|reason| PipelineError::BadEnv { of: "--env".into(), reason })?;
        for (position, step) in pipeline.steps.into_iter().enumerate() {
            numbers.push(steps.len());
            let step = match step {
                Step::Wait(wait) => {
                    waits.push(wait.continue_on_failure);
                    continue;
                }
                Step::Command(step) => *step,
            };
            check(&step, pipeline.list, position)?;
            let caching = Caching::of(step.cache.as_ref())
                .map_err(|reason| PipelineError::BadStep { key: step.key.clone(), reason })?;
            if let Some((_, first)) = by_key.insert(step.key.clone(), (steps.len(), position)) {
                let (key, list) = (step.key, pipeline.list);
                return Err(PipelineError::DuplicateKey { key, list, first, second: position });
            }
            let timeout = step.timeout_seconds.map(|s| Duration::from_secs(s.into()));
            let stage = waits.len();
            let (runner, image) = (String::new(), None);
            steps.push(PlannedStep {
                step,
                parent: None,
                children: Vec::new(),
                depends_on: Vec::new(),
                dependents: Vec::new(),
                stage,
                chain: 0,
                runner,
                image,
                timeout,
                caching,
            });
        }
        if steps.is_empty() {
            return Err(PipelineError::Empty { what: "the pipeline".into() });
        }
        let mut plan = Self {
            steps,
            env,
            typed_env: overrides.env.clone(),
            waits,
            chains: 0,
            default_runner: runners.default.clone(),
            has_time_limit: pipeline.has_time_limit,
            unknown: pipeline.unknown,
        };
        plan.link_parents(&by_key)?;
        for (position, needed) in pipeline.depends_on {
            plan.link_dependency(numbers[position], &needed, &by_key)?;
        }
        let order = in_order(&plan.steps).map_err(|circle| plan.cycle(&circle))?;
        plan.number_chains();
        plan.choose_runners(&order, pipeline.default_image.as_deref(), overrides, runners)?;
        Ok(plan)
    }

    /// The steps, in the order of the pipeline.
    #[must_use]
    pub fn steps(&self) -> &[PlannedStep] {
        &self.steps
    }

    /// The environment of a step: the pipeline's, the step's, what was typed; the later wins.
    #[must_use]
    pub fn env(&self, step: &PlannedStep) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        env.extend(step.step.env.iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        env.extend(self.typed_env.clone());
        env
    }

    /// For each wait, in order, whether what follows runs although something before it failed.
    #[must_use]
    pub fn waits(&self) -> &[bool] {
        &self.waits
    }

    /// Summary of this plan for `build_start`.
    #[must_use]
    pub fn summary(&self) -> PlanSummary {
        PlanSummary {
            step_count: self.steps.len(),
            chain_count: self.chains,
            default_runner: self.default_runner.clone(),
        }
    }

    /// The fields that this version does not know: none, unless [`Overrides::lenient`] let them pass.
    #[must_use]
    pub fn unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    /// True if the pipeline gives the build as a whole a limit of time, as harmont 0.0.9 can. This version has none.
    #[must_use]
    pub fn has_time_limit(&self) -> bool {
        self.has_time_limit
    }

    /// Steps that name an image and start from something else: each with that image, and the step that it builds in.
    #[must_use]
    pub fn unused_images(&self) -> Vec<(&str, &str, &str)> {
        let mut roots: Vec<Option<usize>> = vec![None; self.steps.len()];
        for step in 0..self.steps.len() {
            let (mut path, mut at) = (vec![step], step);
            while let (None, Some(parent)) = (roots[at], self.steps[at].parent) {
                path.push(parent);
                at = parent;
            }
            let root = roots[at].unwrap_or(at);
            path.into_iter().for_each(|step| roots[step] = Some(root));
        }
        let unused = self.steps.iter().zip(roots).filter_map(|(planned, root)| {
            let (image, parent) = (planned.step.image.as_deref()?, &self.steps[planned.parent?]);
            let is_used = self.steps[root?].image.as_deref() == Some(image);
            (!is_used).then_some((planned.step.key.as_str(), image, parent.step.key.as_str()))
        });
        unused.collect()
    }

    /// Checks that the plugins that are there can run this plan: a plan may be valid and need more than this machine
    /// has.
    ///
    /// # Errors
    /// [`PipelineError::NoImageRunner`] and [`PipelineError::RunnerChange`].
    pub fn check_runners(&self, runners: &Runners) -> Result<(), PipelineError> {
        for step in &self.steps {
            let key = || step.step.key.clone();
            if let (false, Some(image)) = (runners.known.contains(&step.runner), &step.image) {
                return Err(PipelineError::NoImageRunner {
                    key: key(),
                    image: image.clone(),
                    runner: step.runner.clone(),
                });
            }
        }
        for step in &self.steps {
            let Some(parent) = step.parent.map(|p| &self.steps[p]) else { continue };
            if parent.runner != step.runner {
                return Err(PipelineError::RunnerChange {
                    key: step.step.key.clone(),
                    runner: step.runner.clone(),
                    parent: parent.step.key.clone(),
                    parent_runner: parent.runner.clone(),
                });
            }
        }
        Ok(())
    }

    fn link_parents(&mut self, by_key: &HashMap<String, (usize, usize)>) -> Result<(), PipelineError> {
        for index in 0..self.steps.len() {
            let Some(parent_key) = self.steps[index].step.builds_in.clone() else { continue };
            let parent = self.needed(index, "builds in", &parent_key, by_key)?;
            self.steps[index].parent = Some(parent);
            self.steps[parent].children.push(index);
        }
        Ok(())
    }

    fn link_dependency(
        &mut self,
        after: usize,
        needed: &str,
        by_key: &HashMap<String, (usize, usize)>,
    ) -> Result<(), PipelineError> {
        let before = self.needed(after, "depends on", needed, by_key)?;
        self.steps[after].depends_on.push(before);
        self.steps[before].dependents.push(after);
        Ok(())
    }

    /// The step that another one needs. A wait may not hold it back until that one has ended itself.
    fn needed(
        &self,
        index: usize,
        how: &'static str,
        needed: &str,
        by_key: &HashMap<String, (usize, usize)>,
    ) -> Result<usize, PipelineError> {
        let step = &self.steps[index];
        let key = || step.step.key.clone();
        let Some(&(number, _)) = by_key.get(needed) else {
            let others = self.steps.iter().map(|other| other.step.key.as_str());
            let near = nearest(needed, others.filter(|other| *other != step.step.key));
            return Err(PipelineError::UnknownStep { key: key(), how, named: needed.into(), near });
        };
        if self.steps[number].stage > step.stage {
            return Err(PipelineError::BehindWait { key: key(), how, later: needed.into() });
        }
        Ok(number)
    }

    fn cycle(&self, circle: &[usize]) -> PipelineError {
        let only_parents = circle.windows(2).all(|pair| self.steps[pair[0]].parent == Some(pair[1]));
        let how = if only_parents { "build in" } else { "wait for" };
        PipelineError::Cycle { how, cycle: circle.iter().map(|&i| self.steps[i].step.key.clone()).collect() }
    }

    fn number_chains(&mut self) {
        for head in 0..self.steps.len() {
            let continues = self.steps[head].parent.is_some_and(|p| self.steps[p].children.len() == 1);
            if continues {
                continue;
            }
            let mut at = head;
            self.steps[at].chain = self.chains;
            while let [only] = self.steps[at].children[..] {
                at = only;
                self.steps[at].chain = self.chains;
            }
            self.chains += 1;
        }
    }

    fn choose_runners(
        &mut self,
        order: &[usize],
        default_image: Option<&str>,
        overrides: &Overrides,
        runners: &Runners,
    ) -> Result<(), PipelineError> {
        for &index in order {
            let planned = &self.steps[index];
            let parent = planned.parent.map(|p| &self.steps[p]);
            // A parent's snapshot wins over an image, so only roots have one.
            let for_all = overrides.runner.as_ref().map(|for_all| &for_all.name);
            let named = planned.step.runner.as_ref().or(for_all);
            // Who names the runner without images knows what that means.
            let default_image = default_image.filter(|_| named.is_none_or(|named| *named != runners.default));
            let image = match parent {
                None => planned.step.image.as_deref().or(default_image).map(str::to_owned),
                Some(_) => None,
            };
            let runner = match (&planned.step.runner, for_all, parent) {
                (Some(named), _, _) => {
                    known_runner(&format!("step `{}`", planned.step.key), named, runners)?;
                    named.clone()
                }
                (None, Some(forced), _) => forced.clone(),
                (None, None, Some(parent)) => parent.runner.clone(),
                (None, None, None) if image.is_some() => runners.for_images.clone(),
                (None, None, None) => runners.default.clone(),
            };
            self.steps[index].runner = runner;
            self.steps[index].image = image;
        }
        Ok(())
    }
}

fn known_runner(who: &str, runner: &str, runners: &Runners) -> Result<(), PipelineError> {
    if runners.known.contains(runner) {
        return Ok(());
    }
    let known = runners.known.iter().cloned().collect();
    Err(PipelineError::UnknownRunner { who: who.into(), runner: runner.into(), known })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::sketch::{self, runners};

    fn plan(text: &str) -> Result<Plan, String> {
        sketch::plan(text).map_err(|e| e.to_string())
    }

    fn plan_with(steps: &str, overrides: &Overrides) -> Result<Plan, String> {
        sketch::plan_json(steps, overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn graphs_that_cannot_be_are_refused() {
        for (text, expected) in [
            ("", "the pipeline is empty: there is nothing to run"),
            ("| |", "the pipeline is empty: there is nothing to run"),
            ("a | a", "step key `a` is used twice, by steps[0] and steps[2]"),
            ("a<b", "step `a` builds in `b`, and there is no such step"),
            ("a<a", "steps build in each other in a circle: a -> a"),
            ("x a<c b<a c<b d<c", "steps build in each other in a circle: a -> c -> b -> a"),
            ("a<b | b", "step `a` builds in `b`, which comes after a wait that waits for `a`"),
            ("a+b | b", "step `a` depends on `b`, which comes after a wait that waits for `a`"),
            (
                "build test<buidl",
                "step `test` builds in `buidl`, and there is no such step; did you mean `build`?",
            ),
            (
                "build test+buidl",
                "step `test` depends on `buidl`, and there is no such step; did you mean `build`?",
            ),
            ("a+b", "step `a` depends on `b`, and there is no such step"),
            ("a+a", "steps wait for each other in a circle: a -> a"),
            ("x a<x+c b<a c+b d<c", "steps wait for each other in a circle: a -> c -> b -> a"),
        ] {
            assert_eq!(plan(text).expect_err(text), expected);
        }
    }

    #[test]
    fn fields_that_nobody_knows_are_refused_unless_they_may_be_there() {
        let step = r#"{"type":"command","key":"k","cmd":"c","needs":["a"]}"#;
        let error = plan_with(step, &Overrides::default()).expect_err("refused");
        let told =
            "step `k`, line 1, column 101: hm does not know the field `needs`; did you mean `depends_on`?";
        assert_eq!(error, format!("p: {told}"));
        let lenient = Overrides { lenient: true, ..Overrides::default() };
        let plan = plan_with(step, &lenient).expect("let pass");
        assert_eq!(plan.unknown_fields().told[0].to_string(), told);
    }

    #[test]
    fn steps_wait_for_those_that_they_name() {
        let steps = r#"{"type":"command","key":"a","cmd":"c","depends_on":["b","c"]},
            {"type":"command","key":"b","cmd":"c","depends_on":null}, {"type":"command","key":"c","cmd":"c","depends_on":[]}"#;
        let plan = plan_with(steps, &Overrides::default()).expect("valid");
        assert_eq!(plan.steps()[0].depends_on, [1, 2]);
        assert!(
            plan.steps().iter().all(|planned| planned.step.extra.is_empty()),
            "runners have no use for it"
        );
        let later = plan_with(
            r#"{"type":"command","key":"a","cmd":"c","depends_on":["b"]},{"type":"wait"},{"type":"command","key":"b","cmd":"c"}"#,
            &Overrides::default(),
        );
        assert_eq!(
            later.expect_err("refused"),
            "step `a` depends on `b`, which comes after a wait that waits for `a`"
        );
    }

    #[test]
    fn chains_end_where_a_step_has_several_children() {
        let plan = plan("setup a1<setup a2<a1 b1<setup | c own<c").expect("valid");
        let chains: Vec<usize> = plan.steps().iter().map(|s| s.chain).collect();
        assert_eq!(chains, [0, 1, 1, 2, 3, 3]);
        assert_eq!(plan.summary().chain_count, 4);
        assert_eq!(plan.steps().iter().map(|s| s.stage).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn dependencies_make_no_chains() {
        let plan = plan("a b+a c<a+b").expect("valid");
        assert_eq!(plan.steps().iter().map(|s| s.chain).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!(plan.steps()[2].needs().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(plan.steps()[0].followers().collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_parent_may_stand_below_its_child() {
        let plan = plan("child<parent parent").expect("valid");
        assert_eq!(plan.steps()[0].parent, Some(1));
    }

    #[test]
    fn environments_merge_from_the_general_to_the_particular() {
        let step = r#"{"type":"command","key":"k","cmd":"c","env":{"B":"step","C":"step","D":""}}"#;
        let overrides =
            Overrides { env: [("C".to_owned(), "typed".to_owned())].into(), ..Overrides::default() };
        let plan = plan_with(step, &overrides).expect("valid");
        let env = plan.env(&plan.steps()[0]);
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, [("A", "pipeline"), ("B", "step"), ("C", "typed"), ("D", "")]);
    }

    #[test]
    fn steps_that_cannot_be_started_are_named() {
        let long = "x".repeat(1 << 20);
        for (field, expected) in [
            (format!(r#""cmd":"{long}""#), "its command is 1048576 bytes long"),
            (r#""cmd":"a\u0000b""#.to_owned(), "its command contains a NUL character"),
            (r#""cmd":"""#.to_owned(), "its command is empty"),
            (r#""cmd":" \n""#.to_owned(), "its command is empty"),
            (r#""cmd":"c","env":{"A=B":"x"}"#.to_owned(), r#""A=B" cannot be the name"#),
            (r#""cmd":"c","env":{"A":"\u0000"}"#.to_owned(), "variable A contains a NUL character"),
            (format!(r#""cmd":"c","env":{{"A":"{long}"}}"#), "variable A is longer than"),
            (r#""cmd":"c","timeout_seconds":0"#.to_owned(), "timeout_seconds is 0"),
            (
                r#""cmd":"c","runner":"mars""#.to_owned(),
                "asks for runner `mars`, which no plugin provides; there is: local",
            ),
        ] {
            let error =
                plan_with(&format!(r#"{{"type":"command","key":"k",{field}}}"#), &Overrides::default())
                    .expect_err("refused");
            assert!(error.starts_with("step `k`") && error.contains(expected), "{error}");
        }
        let error = plan_with(r#"{"type":"command","key":"","cmd":"c"}"#, &Overrides::default())
            .expect_err("refused");
        assert_eq!(error, "step `steps[0]`: its key is empty");
    }

    #[test]
    fn images_choose_a_runner_for_roots_and_their_descendants() {
        let steps = r#"{"type":"command","key":"root","cmd":"c","image":"alpine"},
            {"type":"command","key":"child","cmd":"c","builds_in":"root","image":"ignored"},
            {"type":"command","key":"lint","cmd":"c","builds_in":"root","runner":"local"}"#;
        let plan = plan_with(steps, &Overrides::default()).expect("valid, though not runnable here");
        let shown: Vec<_> = plan.steps().iter().map(|s| (s.runner.as_str(), s.image.as_deref())).collect();
        assert_eq!(shown, [("docker", Some("alpine")), ("docker", None), ("local", None)]);
        assert_eq!(plan.unused_images(), [("child", "ignored", "root")]);
        let message = |r: &Runners| plan.check_runners(r).expect_err("not runnable").to_string();
        assert_eq!(
            message(&runners()),
            "step `root` wants image `alpine`, which needs the `docker` runner, and no plugin provides it"
        );
        let mut both = runners();
        both.known.insert("docker".into());
        assert!(
            message(&both)
                .starts_with("step `lint` runs on `local` but builds in `root`, which runs on `docker`")
        );

        let runner = Some(DefaultRunner { name: "local".into(), by: "--runner".into() });
        let forced = Overrides { runner, ..Overrides::default() };
        let plan = plan_with(steps, &forced).expect("valid");
        plan.check_runners(&runners()).expect("all local");
    }

    #[test]
    fn a_chain_of_100_000_steps_is_planned() {
        let text: Vec<String> =
            (0..100_000).map(|i| if i == 0 { "s0".into() } else { format!("s{i}<s{}", i - 1) }).collect();
        assert_eq!(plan(&text.join(" ")).expect("valid").summary().chain_count, 1);
    }
}
