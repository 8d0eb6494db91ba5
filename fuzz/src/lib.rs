//! What the fuzz targets check: functions from bytes to nothing, which may fail only by panicking. The ordinary tests
//! run them over the checked-in corpora.

use hm_host::pipeline::{Overrides, Plan, Runners, parse};

/// Any bytes as a document of pipelines: errors or plans.
pub fn pipeline(data: &[u8]) {
    let known = ["docker", "local"].map(str::to_owned).into();
    let runners = Runners { known, default: "local".into(), for_images: "docker".into() };
    for named in parse(data, "input", "input").into_iter().flatten() {
        let Ok((_, pipeline)) = named.definition() else { continue };
        let steps = pipeline.steps.len();
        if let Ok(plan) = Plan::new(pipeline, &Overrides::default(), &runners) {
            assert!(plan.steps().len() <= steps && plan.summary().chain_count <= steps);
            assert!(
                plan.steps().iter().all(|s| s.parent.is_none_or(|p| plan.steps()[p].segment <= s.segment))
            );
        }
    }
}
