//! A part of a plan, as a plan of its own: for builds that leave out what has succeeded before.

use std::collections::BTreeSet;

use super::{Plan, PlannedStep};

impl Plan {
    /// A plan of these steps and those that they build in, in the same order and with the same waits. What a step needs
    /// of the others counts as met. The steps are numbered anew.
    #[must_use]
    pub fn subset(&self, keep: &BTreeSet<usize>) -> Self {
        let mut kept = vec![false; self.steps.len()];
        for &step in keep {
            let lineage =
                std::iter::successors(self.steps.get(step).map(|_| step), |&at| self.steps[at].parent);
            for step in lineage {
                if std::mem::replace(&mut kept[step], true) {
                    break;
                }
            }
        }
        let mut numbers = Vec::with_capacity(kept.len());
        let mut next = 0;
        for &kept in &kept {
            numbers.push(kept.then_some(next));
            next += usize::from(kept);
        }
        let renumbered = |steps: &[usize]| steps.iter().filter_map(|&step| numbers[step]).collect();
        let remaining = self.steps.iter().zip(&kept).filter(|(_, kept)| **kept);
        let steps = remaining.map(|(step, _)| PlannedStep {
            parent: step.parent.and_then(|parent| numbers[parent]),
            children: renumbered(&step.children),
            depends_on: renumbered(&step.depends_on),
            dependents: renumbered(&step.dependents),
            ..step.clone()
        });
        let mut part = Self { steps: steps.collect(), chains: 0, ..self.clone() };
        part.number_chains();
        part
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::{Plan, sketch};

    fn subset_of(text: &str, keep: &[usize]) -> Plan {
        sketch::plan(text).expect("a plan").subset(&keep.iter().copied().collect())
    }

    fn keys(plan: &Plan, steps: &[usize]) -> Vec<String> {
        steps.iter().map(|&step| plan.steps()[step].step.key.clone()).collect()
    }

    #[test]
    fn what_a_step_builds_in_stays_and_what_it_waits_for_may_go() {
        let part = subset_of("a b<a c<b d<b | x | e<c+d", &[4, 5]);
        assert_eq!(part.steps().len(), 5, "{part:?}");
        let names: Vec<String> = keys(&part, &[0, 1, 2, 3, 4]);
        assert_eq!(names, ["a", "b", "c", "x", "e"]);
        let [a, b, c, x, e] = part.steps() else { panic!("{part:?}") };
        assert_eq!(
            (a.parent, b.parent, c.parent, x.parent, e.parent),
            (None, Some(0), Some(1), None, Some(2))
        );
        assert_eq!(keys(&part, &b.children), ["c"]);
        assert!(e.depends_on.is_empty() && x.dependents.is_empty());
        assert_eq!((c.stage, x.stage, e.stage, part.waits().len()), (0, 1, 2, 2));
        assert_eq!((a.chain, b.chain, c.chain, e.chain, x.chain), (0, 0, 0, 0, 1));
        assert_eq!((part.summary().step_count, part.summary().chain_count), (5, 2));
    }

    #[test]
    fn dependencies_among_the_kept_stay() {
        let part = subset_of("a b c+a+b d+c", &[0, 2, 3, 99]);
        assert_eq!(keys(&part, &[0, 1, 2]), ["a", "c", "d"]);
        assert_eq!(part.steps()[1].depends_on, [0]);
        assert_eq!(part.steps()[2].depends_on, [1]);
        assert_eq!((&part.steps()[0].dependents[..], &part.steps()[1].dependents[..]), (&[1][..], &[2][..]));
    }

    #[test]
    fn all_of_a_plan_is_the_plan() {
        let plan = sketch::plan("a b<a c<a d+c |! e<b").expect("a plan");
        assert_eq!(plan.subset(&(0..plan.steps().len()).collect()), plan);
    }

    #[test]
    fn the_end_of_a_deep_chain_is_found_without_recursion() {
        let mut text = String::from("s0");
        for step in 1..100_000 {
            text.push_str(&format!(" s{step}<s{}", step - 1));
        }
        let plan = sketch::plan(&text).expect("a plan");
        assert_eq!(plan.subset(&[99_999].into()), plan);
        assert_eq!(plan.subset(&[50, 9].into()).steps().len(), 51);
    }
}
