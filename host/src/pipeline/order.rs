//! In which order the steps of a plan can come to their turn, or the circle that leaves none.
//! Without recursion, since chains may be 100,000 steps deep.

use std::collections::HashMap;

use super::planned_step::PlannedStep;

/// All steps, each after what it needs.
///
/// # Errors
/// The steps of a circle, each of which needs the next; the first one is repeated at the end.
pub(super) fn in_order(steps: &[PlannedStep]) -> Result<Vec<usize>, Vec<usize>> {
    let mut missing: Vec<usize> = steps.iter().map(|step| step.needs().count()).collect();
    let mut order: Vec<usize> = (0..steps.len()).filter(|&step| missing[step] == 0).collect();
    let mut next = 0;
    while let Some(&step) = order.get(next) {
        for follower in steps[step].followers() {
            missing[follower] -= 1;
            if missing[follower] == 0 {
                order.push(follower);
            }
        }
        next += 1;
    }
    if order.len() == steps.len() { Ok(order) } else { Err(circle(steps, &missing)) }
}

/// Whatever was not reached is in a circle or needs something that is: going up from it ends in the circle.
fn circle(steps: &[PlannedStep], missing: &[usize]) -> Vec<usize> {
    let unreached = |step: &usize| missing[*step] > 0;
    let mut path = Vec::new();
    let mut seen = HashMap::new();
    let mut at = (0..steps.len()).find(unreached);
    while let Some(step) = at {
        if let Some(start) = seen.insert(step, path.len()) {
            path.drain(..start);
            break;
        }
        path.push(step);
        at = steps[step].needs().find(unreached);
    }
    path.extend(path.first().copied());
    path
}
