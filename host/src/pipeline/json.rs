//! Parts of a document as JSON, and errors that name the place of one that is not as it should be.

use serde_json::{Map, Value};

use super::error::PipelineError;

/// Place of a step, for a message.
pub(super) fn place(list: &str, index: usize, step: &Value) -> String {
    match step.get("key").and_then(Value::as_str) {
        Some(key) => format!("{list}[{index}] (key `{key}`)"),
        None => format!("{list}[{index}]"),
    }
}

/// The array of a field that has to be there; `at` is its path.
pub(super) fn array(value: Option<Value>, origin: &str, at: &str) -> Result<Vec<Value>, PipelineError> {
    match (value, at.rsplit_once('.')) {
        (Some(Value::Array(array)), _) => Ok(array),
        (Some(_), _) => Err(shape(origin, at, "expected an array")),
        (None, of) => {
            let (of, field) = of.unwrap_or(("the document", at));
            Err(shape(origin, of, format!("missing field `{field}`")))
        }
    }
}

/// The object that a value has to be; `at` is its path.
pub(super) fn object(value: Value, origin: &str, at: &str) -> Result<Map<String, Value>, PipelineError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(shape(origin, at, "expected a JSON object")),
    }
}

/// The error of a part of another form.
pub(super) fn shape(origin: &str, at: &str, reason: impl Into<String>) -> PipelineError {
    PipelineError::Shape { origin: origin.into(), at: at.into(), reason: reason.into() }
}
