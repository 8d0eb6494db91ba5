//! Plans for unit tests, written as a line of words.

use super::{Overrides, PipelineError, Plan, Runners, choose, parse};

/// The runners of all sketched plans.
pub(crate) fn runners() -> Runners {
    Runners { known: ["local".to_owned()].into(), default: "local".into(), for_images: "docker".into() }
}

/// Plans `a` (a step), `b<a` (a step that builds in `a`), `|` (a wait), `|!` (a wait that continues after a failure).
pub(crate) fn plan(text: &str) -> Result<Plan, PipelineError> {
    let steps: Vec<String> = text
        .split_whitespace()
        .map(|word| match word.split_once('<') {
            _ if word == "|" => r#"{"type":"wait"}"#.to_owned(),
            _ if word == "|!" => r#"{"type":"wait","continue_on_failure":true}"#.to_owned(),
            Some((key, parent)) => {
                format!(r#"{{"type":"command","key":"{key}","cmd":":","builds_in":"{parent}"}}"#)
            }
            None => format!(r#"{{"type":"command","key":"{word}","cmd":":"}}"#),
        })
        .collect();
    plan_json(&steps.join(","), &Overrides::default())
}

/// Plans these steps, in a pipeline with an environment of its own.
pub(crate) fn plan_json(steps: &str, overrides: &Overrides) -> Result<Plan, PipelineError> {
    let text = format!(r#"{{"version":"0","env":{{"A":"pipeline","B":"pipeline"}},"steps":[{steps}]}}"#);
    let (_, pipeline) = choose(parse(text.as_bytes(), "p", "p")?, None)?;
    Plan::new(pipeline, overrides, &runners())
}
