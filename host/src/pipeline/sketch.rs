//! Plans for unit tests, written as a line of words.

use super::{Definition, Overrides, PipelineError, Plan, Runners, choose, parse};

/// The runners of all sketched plans.
pub(crate) fn runners() -> Runners {
    Runners { known: ["local".to_owned()].into(), default: "local".into(), for_images: "docker".into() }
}

/// Plans `a` (a step), `b<a` (a step that builds in `a`), `c+a+b` (a step that depends on both), `d<a+b`, `|` (a wait),
/// `|!` (a wait that continues after a failure).
pub(crate) fn plan(text: &str) -> Result<Plan, PipelineError> {
    let (mut steps, mut depends_on) = (Vec::new(), Vec::new());
    for (position, word) in text.split_whitespace().enumerate() {
        let mut names = word.split('+');
        let step = names.next().unwrap_or_default();
        let (key, parent) = match step.split_once('<') {
            Some((key, parent)) => (key, format!(r#","builds_in":"{parent}""#)),
            None => (step, String::new()),
        };
        steps.push(match key {
            "|" => r#"{"type":"wait"}"#.to_owned(),
            "|!" => r#"{"type":"wait","continue_on_failure":true}"#.to_owned(),
            _ => format!(r#"{{"type":"command","key":"{key}","cmd":":"{parent}}}"#),
        });
        depends_on.extend(names.map(|name| (position, name.to_owned())));
    }
    let mut definition = definition(&steps.join(","))?;
    definition.depends_on = depends_on;
    Plan::new(definition, &Overrides::default(), &runners())
}

/// Plans these steps, in a pipeline with an environment of its own.
pub(crate) fn plan_json(steps: &str, overrides: &Overrides) -> Result<Plan, PipelineError> {
    Plan::new(definition(steps)?, overrides, &runners())
}

fn definition(steps: &str) -> Result<Definition, PipelineError> {
    let text = format!(r#"{{"version":"0","env":{{"A":"pipeline","B":"pipeline"}},"steps":[{steps}]}}"#);
    choose(parse(text.as_bytes(), "p", "p")?, None).map(|(_, definition)| definition)
}
