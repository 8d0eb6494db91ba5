//! Foresight of a build: the cache's decision about each step of a plan, if the plan were run now. Nothing is run,
//! locked or kept for it, and no plugin is called.

use hm_plugin_protocol::SnapshotRef;

use super::context::BuildContext;
use super::decide::{ParentStep, Resolution, StepQuery};
use super::step_cache::StepCache;
use crate::cache::StepDecision;

/// Stands for a result that has yet to be made: nothing has ever been built on it.
const NOT_MADE: &str = "not made yet";

/// Decisions as a build would make them, one for each step, in the order of the plan.
pub(crate) async fn predict(build: &BuildContext, cache: &StepCache) -> Vec<StepDecision> {
    let steps = build.plan.steps();
    let mut decisions: Vec<Option<StepDecision>> = steps.iter().map(|_| None).collect();
    let mut results: Vec<Option<SnapshotRef>> = vec![None; steps.len()];
    let mut open: Vec<usize> = (0..steps.len()).filter(|&step| steps[step].parent.is_none()).collect();
    while let Some(step) = open.pop() {
        let planned = &steps[step];
        open.extend(&planned.children);
        let parent = planned.parent.map(|parent| ParentStep {
            key: steps[parent].step.key.clone(),
            result: results[parent].clone(),
        });
        let keyed = cache.identify(StepQuery::of(build, planned), parent).await;
        let resolution = cache.decide(&keyed).await;
        results[step] = match &resolution {
            Resolution::Hit(result) => Some(result.meta.tag.clone()),
            Resolution::Miss(_) => Some(SnapshotRef(NOT_MADE.to_owned())),
            Resolution::Uncacheable(_) => None,
        };
        decisions[step] = Some(keyed.decision(&resolution));
    }
    // Every step has a parent that leads to a root, or is one.
    decisions.into_iter().flatten().collect()
}
