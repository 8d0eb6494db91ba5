//! Pipelines as real emitters write them: all of it is read, and nothing is lost on the way to a plugin.
//! The graph form and the envelope are the host's to read.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use hm_plugin_protocol::{CommandStep, Pipeline, Step};
use serde_json::{Value, json};

/// The bare pipelines of the corpus, by name.
fn corpus() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("data/corpus_v0.json")).unwrap()
}

/// True if all of `part` is found in `whole`, which may have more fields.
fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| is_within(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_within(part, whole))
        }
        _ => part == whole,
    }
}

fn is_kept(definition: &Value) {
    let pipeline: Pipeline = serde_json::from_value(definition.clone()).unwrap();
    let written = serde_json::to_value(&pipeline).unwrap();
    assert!(is_within(definition, &written), "{definition}\nbecame\n{written}");
    assert_eq!(serde_json::from_value::<Pipeline>(written).unwrap(), pipeline);
}

#[test]
fn what_emitters_write_is_kept() {
    let corpus = corpus();
    assert_eq!(corpus.len(), 12);
    for definition in corpus.values() {
        is_kept(definition);
    }
    let envelope: Value = serde_json::from_str(include_str!("data/demo_envelope_v0.json")).unwrap();
    is_kept(&envelope["pipelines"][0]["definition"]);
}

#[test]
fn a_graph_is_not_mistaken_for_steps() {
    let envelope: Value = serde_json::from_str(include_str!("data/graph_0.0.9.json")).unwrap();
    let definition = &envelope["pipelines"][0]["definition"];
    let error = serde_json::from_value::<Pipeline>(definition.clone()).unwrap_err().to_string();
    assert!(error.contains("missing field `steps`"), "{error}");
    let node: CommandStep = serde_json::from_value(definition["graph"]["nodes"][0]["step"].clone()).unwrap();
    assert_eq!(node.image.as_deref(), Some("ubuntu:24.04"), "but its steps are steps");
}

#[test]
fn parameters_of_cache_policies_are_kept() {
    let pipeline: Pipeline = serde_json::from_value(corpus()["cache_all"].clone()).unwrap();
    let extras: Vec<Value> = pipeline
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Command(step) => step.cache.as_ref().map(|cache| json!(cache.extra)),
            Step::Wait(_) => None,
        })
        .collect();
    assert_eq!(extras[1], json!({"duration_seconds": 21600, "env_keys": []}));
    assert_eq!(extras[2], json!({"paths": ["go.mod", "Cargo.toml"]}));
    assert_eq!(extras[4]["sub_policies"][1], json!({"policy": "on_change", "paths": ["go.mod"]}));
}

#[test]
fn unknown_fields_are_kept_at_every_level() {
    let definition = json!({
        "version": "0",
        "steps": [
            {"type": "command", "key": "k", "cmd": "c", "retries": {"max": 2}},
            {"type": "wait", "until": "noon"},
        ],
        "notify": ["me"],
    });
    is_kept(&definition);
    let pipeline: Pipeline = serde_json::from_value(definition).unwrap();
    assert_eq!(json!(pipeline.extra), json!({"notify": ["me"]}));
    let [Step::Command(command), Step::Wait(wait)] = &pipeline.steps[..] else {
        panic!("{:?}", pipeline.steps)
    };
    assert_eq!(json!(command.extra), json!({"retries": {"max": 2}}), "and the tag is none of them");
    assert_eq!(json!(wait.extra), json!({"until": "noon"}));
}
