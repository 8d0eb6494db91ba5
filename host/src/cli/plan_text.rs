//! A plan as text: its steps with what they build in and wait for, who runs each, and what the cache will say. Nothing
//! is decided here.

use hm_plugin_protocol::CommandStep;
use serde_json::{Value, json};

use super::text::quoted_list;
use super::wrap::wrap;
use crate::cache::{StepDecision, StepVerdict};
use crate::pipeline::{Plan, PlannedStep};

/// Steps that are further down are not moved further to the right, but say what they build in.
const MAX_DEPTH: usize = 10;

/// Reasons that are shown of a step, at the most.
const REASONS: usize = 5;

/// Prediction of the cache's decision about a step.
pub(super) struct Outlook {
    pub(super) decision: StepDecision,
    pub(super) reasons: Vec<String>,
}

impl Outlook {
    fn word(&self) -> &'static str {
        match self.decision.verdict {
            StepVerdict::Hit { .. } => "hit",
            StepVerdict::Miss(_) => "miss",
            StepVerdict::Uncacheable(_) => "not cached",
        }
    }
}

/// The plan for a person. There is an outlook for each step.
pub(super) fn as_text(pipeline: &str, plan: &Plan, outlooks: &[Outlook]) -> String {
    let mut text = wrap("", &title(pipeline, plan, outlooks));
    // For each stage, the steps that nothing in it leads to.
    let mut heads = vec![Vec::new(); plan.waits().len() + 1];
    for (number, planned) in plan.steps().iter().enumerate() {
        if parent_here(plan, planned).is_none() {
            heads[planned.stage].push(number);
        }
    }
    for (stage, heads) in heads.into_iter().enumerate() {
        if let Some(before) = stage.checked_sub(1) {
            let on = if plan.waits()[before] { ", also after a failure" } else { "" };
            text.push_str(&format!("-- wait{on} --\n"));
        }
        let mut open: Vec<(usize, usize, char)> =
            heads.into_iter().rev().map(|step| (step, 0, '-')).collect();
        while let Some((number, depth, mark)) = open.pop() {
            let planned = &plan.steps()[number];
            text.push_str(&step(plan, planned, &outlooks[number], depth, mark));
            let children = planned.children.iter().filter(|&&child| plan.steps()[child].stage == stage);
            match planned.children[..] {
                [_] => open.extend(children.map(|&only| (only, depth, '|'))),
                _ => open.extend(children.rev().map(|&child| (child, depth + 1, '-'))),
            }
        }
    }
    text
}

fn title(pipeline: &str, plan: &Plan, outlooks: &[Outlook]) -> String {
    let hits = outlooks.iter().filter(|outlook| outlook.word() == "hit").count();
    let steps = match plan.steps().len() {
        1 => "1 step".to_owned(),
        many => format!("{many} steps"),
    };
    format!("`{pipeline}`: {steps}, {hits} in the cache")
}

/// The step that this one builds in, if no wait is between them.
fn parent_here<'a>(plan: &'a Plan, planned: &PlannedStep) -> Option<&'a PlannedStep> {
    planned.parent.map(|parent| &plan.steps()[parent]).filter(|parent| parent.stage == planned.stage)
}

fn step(plan: &Plan, planned: &PlannedStep, outlook: &Outlook, depth: usize, mark: char) -> String {
    let CommandStep { key, .. } = &planned.step;
    let mut head = format!("{key} ({}", planned.runner);
    if let Some(image) = &planned.image {
        head.push_str(&format!(", {image}"));
    }
    head.push(')');
    let hidden = mark == '-' && (depth > MAX_DEPTH || parent_here(plan, planned).is_none());
    if let Some(parent) = planned.parent.filter(|_| hidden) {
        head.push_str(&format!(" in `{}`", plan.steps()[parent].step.key));
    }
    if !planned.depends_on.is_empty() {
        let needed: Vec<String> =
            planned.depends_on.iter().map(|&needed| plan.steps()[needed].step.key.clone()).collect();
        head.push_str(&format!(" after {}", quoted_list(&needed)));
    }
    let indent = "  ".repeat(depth.min(MAX_DEPTH));
    let first = format!("{indent}{mark} ");
    match &outlook.reasons[..] {
        [] => wrap(&first, &format!("{head}: {}", outlook.word())),
        [only] => wrap(&first, &format!("{head}: {}, {only}", outlook.word())),
        several => {
            let mut text = wrap(&first, &format!("{head}: {}", outlook.word()));
            for reason in several.iter().take(REASONS) {
                text.push_str(&wrap(&format!("{indent}      "), reason));
            }
            if let Some(more) = several.len().checked_sub(REASONS).filter(|more| *more > 0) {
                text.push_str(&format!("{indent}      and {more} more\n"));
            }
            text
        }
    }
}

/// The plan for programs.
pub(super) fn as_json(pipeline: &str, plan: &Plan, outlooks: &[Outlook]) -> Value {
    let key = |step: &usize| plan.steps()[*step].step.key.clone();
    let steps = plan.steps().iter().zip(outlooks).map(|(planned, outlook)| {
        json!({
            "key": planned.step.key,
            "label": planned.step.label,
            "cmd": planned.step.cmd,
            "runner": planned.runner,
            "image": planned.image,
            "builds_in": planned.parent.as_ref().map(key),
            "depends_on": planned.depends_on.iter().map(key).collect::<Vec<_>>(),
            "segment": planned.stage,
            "chain": planned.chain,
            "cache": outlook.word(),
            "reasons": outlook.reasons,
        })
    });
    json!({
        "pipeline": pipeline,
        "steps": steps.collect::<Vec<_>>(),
        "waits": plan.waits().iter().map(|on| json!({ "continue_on_failure": on })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{MissReason, Uncacheable};
    use crate::cli::wrap::COLUMNS;
    use crate::pipeline::sketch;

    fn outlooks(plan: &Plan) -> Vec<Outlook> {
        let outlook = |step: &PlannedStep| {
            let (verdict, reasons) = match step.step.key.as_str() {
                "a" => (StepVerdict::Miss(MissReason::NoEntry), vec!["cmd changed: x".to_owned(); 7]),
                "b" => (StepVerdict::Miss(MissReason::NoEntry), vec!["env X changed".to_owned(); 2]),
                _ => (
                    StepVerdict::Uncacheable(Uncacheable::NoPolicy),
                    vec!["it has no cache policy".to_owned()],
                ),
            };
            let decision = StepDecision { step: step.step.key.clone(), key: None, inputs: None, verdict };
            Outlook { decision, reasons }
        };
        plan.steps().iter().map(outlook).collect()
    }

    #[test]
    fn chains_go_down_and_forks_go_right() {
        let plan = sketch::plan("a b<a c<b d<b e<d f | g<e h+c+f |! i").expect("a plan");
        let expected = "\
`p`: 9 steps, 0 in the cache
- a (local): miss
      cmd changed: x
      cmd changed: x
      cmd changed: x
      cmd changed: x
      cmd changed: x
      and 2 more
| b (local): miss
      env X changed
      env X changed
  - c (local): not cached, it has no cache policy
  - d (local): not cached, it has no cache policy
  | e (local): not cached, it has no cache policy
- f (local): not cached, it has no cache policy
-- wait --
- g (local) in `e`: not cached, it has no cache policy
- h (local) after `c`, `f`: not cached, it has no cache policy
-- wait, also after a failure --
- i (local): not cached, it has no cache policy
";
        assert_eq!(as_text("p", &plan, &outlooks(&plan)), expected);
        let json = as_json("p", &plan, &outlooks(&plan));
        assert_eq!(json["steps"][6]["builds_in"], "e");
        assert_eq!(json["steps"][7]["depends_on"], json!(["c", "f"]));
        assert_eq!(json["waits"], json!([{"continue_on_failure": false}, {"continue_on_failure": true}]));
    }

    #[test]
    fn deep_and_wide_plans_fit_as_well() {
        let deep: String = (1..10_000).map(|n| format!(" s{n}<s{} x{n}<s{}", n - 1, n - 1)).collect();
        let wide: String = (1..2_000).map(|n| format!(" x{n}")).collect();
        let chain: String = (1..10_000).map(|n| format!(" s{n}<s{}", n - 1)).collect();
        let join: String = (1..2_000).map(|n| format!("+x{n}")).collect();
        for text in [format!("s0{deep}"), format!("s0{chain}"), format!("s0{wide} {}{join}", "k".repeat(300))]
        {
            let plan = sketch::plan(&text).expect("a plan");
            let drawn = as_text("p", &plan, &outlooks(&plan));
            assert!(drawn.lines().count() > plan.steps().len());
            for line in drawn.lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
            }
        }
    }
}
