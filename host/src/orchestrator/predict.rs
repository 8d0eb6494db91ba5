//! What the cache will say of each step of a plan, if the plan were run now. Nothing is run, locked or kept for it, and
//! no plugin is called.

use hm_plugin_protocol::SnapshotRef;

use super::keeping::{Keeping, Parent};
use crate::cache::{Decision, Verdict};
use crate::pipeline::Plan;
use crate::plugin::Plugins;

/// Stands for a result that has yet to be made: nothing has ever been built on it.
const NOT_MADE: &str = "not made yet";

/// Decides about each step as a build would, one for each, in the order of the plan.
pub async fn predict(plan: &Plan, plugins: &Plugins, keeping: &Keeping) -> Vec<Decision> {
    let steps = plan.steps();
    let mut decisions: Vec<Option<Decision>> = steps.iter().map(|_| None).collect();
    let mut kept: Vec<Option<SnapshotRef>> = vec![None; steps.len()];
    let mut open: Vec<usize> = (0..steps.len()).filter(|&step| steps[step].parent.is_none()).collect();
    while let Some(step) = open.pop() {
        let planned = &steps[step];
        open.extend(&planned.children);
        let parent = planned
            .parent
            .map(|parent| Parent { key: steps[parent].step.key.clone(), kept: kept[parent].clone() });
        let plugin = plugins.runner(&planned.runner);
        let plugin = plugin.map(|plugin| &**plugin);
        let parts = keeping.parts(planned, &plan.env(planned), plugin, parent).await;
        let (key, parts, verdict) = match parts {
            Err(never) => (None, None, Verdict::Never(never)),
            Ok(parts) => {
                let key = parts.key();
                let found = match keeping.look(&key, planned.caching.longest()) {
                    Ok(entry) => keeping.check(plugin, &entry.tag).await.map(|()| entry),
                    Err(missing) => Err(missing),
                };
                let (tag, verdict) = match found {
                    Ok(entry) => (entry.tag.clone(), Verdict::Hit { tag: entry.tag, made_at: entry.made_at }),
                    Err(missing) => (SnapshotRef(NOT_MADE.to_owned()), Verdict::Miss(missing)),
                };
                kept[step] = Some(tag);
                (Some(key), Some(parts), verdict)
            }
        };
        decisions[step] = Some(Decision { step: planned.step.key.clone(), key, parts, verdict });
    }
    // Every step has a parent that leads to a root, or is one.
    decisions.into_iter().flatten().collect()
}
