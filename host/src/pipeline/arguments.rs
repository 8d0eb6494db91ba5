//! Checks the `runner_args` of steps, and other values, against the JSON Schema that a plugin gives. Schema and values
//! are both somebody else's, so what checking may cost is counted before it is done, and nothing outside of a schema is
//! ever read.

use std::collections::HashMap;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use super::{PipelineError, Plan};

/// Most weight of a schema, with a copy of what it refers to at each place that does. Real ones weigh a few hundred.
const SCHEMA: usize = 10_000;
/// Deepest nesting of a schema, references followed.
const DEPTH: usize = 128;
/// Weight of a pattern, for it is tried on each byte.
const PATTERN: usize = 100;
/// Most bytes of a compiled pattern.
const PATTERN_BYTES: usize = 64 * 1024;
/// Most weight of a schema times that of the arguments, for a step.
const STEP: usize = 10_000_000;
/// The same for all steps of a build together.
const BUILD: usize = 1_000_000_000;
/// Arguments that weigh more are not repeated in messages.
const SHOWN: usize = 200;

/// Error in a value: its place, as in `.a.0`, and what is wrong there.
type Fault = (String, String);

/// A plugin's schema, ready for use.
pub struct Checker {
    validator: Validator,
    weight: usize,
    /// Answer for a step without arguments.
    nothing: Result<(), Fault>,
}

impl Plan {
    /// Checks that each step says to its runner what that takes. `schema` gives a runner's schema, if it has one. A
    /// step without arguments is right if `{}` or `null` is.
    ///
    /// # Errors
    /// [`PipelineError::BadArguments`] names step and field; [`PipelineError::BadSchema`] blames the runner.
    pub fn check_arguments<'s>(
        &self,
        schema: impl Fn(&str) -> Option<&'s Value>,
    ) -> Result<(), PipelineError> {
        let mut checkers: HashMap<&str, Option<Checker>> = HashMap::new();
        let mut work = 0;
        for planned in self.steps() {
            let runner = planned.runner.as_str();
            let bad = |(at, reason): Fault| PipelineError::BadArguments {
                key: planned.step.key.clone(),
                at: format!("runner_args{at}"),
                runner: runner.into(),
                reason,
            };
            if !checkers.contains_key(runner) {
                let checker = schema(runner).map(Checker::new).transpose();
                let bad_schema = |reason| PipelineError::BadSchema { runner: runner.into(), reason };
                checkers.insert(runner, checker.map_err(bad_schema)?);
            }
            if let Some(Some(checker)) = checkers.get(runner) {
                checker.check(planned.step.runner_args.as_ref(), &mut work).map_err(bad)?;
            }
        }
        Ok(())
    }
}

impl Checker {
    /// Reads a schema.
    ///
    /// # Errors
    /// Reason why it cannot be used, in words.
    pub fn new(schema: &Value) -> Result<Self, String> {
        let mut schema = schema.clone();
        // Under another name of its own, its references to itself would be references to that.
        schema.as_object_mut().and_then(|fields| fields.remove("$id"));
        let mut weight = 0;
        weigh_schema(&schema, &schema, 0, &mut weight)?;
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(false)
            // This engine's time is linear in the text; the default one's is not.
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES))
            .build(&schema)
            .map_err(|error| error.to_string())?;
        let nothing = match validator.validate(&json!({})) {
            Err(_) if validator.is_valid(&Value::Null) => Ok(()),
            result => result.map_err(|error| fault(&error, true)),
        };
        Ok(Self { validator, weight, nothing })
    }

    /// Checks a value that may be secret.
    ///
    /// # Errors
    /// Place where something is wrong, as a key or an index, and what, without the value itself; no key stands for the
    /// value as a whole.
    pub fn check_secret(&self, value: &Value) -> Result<(), (Option<String>, String)> {
        if weigh(value).saturating_mul(self.weight) > STEP {
            return Err((None, "it is too large to be checked".into()));
        }
        self.validator.validate(value).map_err(|error| {
            let path = error.instance_path().as_str().split('/').nth(1);
            (path.map(|key| key.replace("~1", "/").replace("~0", "~")), error.masked().to_string())
        })
    }

    /// Checks the arguments of a step; `work` counts what a build has cost so far.
    fn check(&self, arguments: Option<&Value>, work: &mut usize) -> Result<(), Fault> {
        let Some(arguments) = arguments.filter(|arguments| !arguments.is_null()) else {
            return self.nothing.clone();
        };
        let weight = weigh(arguments);
        let cost = weight.saturating_mul(self.weight);
        *work = work.saturating_add(cost);
        if cost > STEP || *work > BUILD {
            let whose = if cost > STEP { "they are" } else { "those of all steps together are" };
            return Err((String::new(), format!("{whose} too large to be checked")));
        }
        self.validator.validate(arguments).map_err(|error| fault(&error, weight <= SHOWN))
    }
}

fn fault(error: &ValidationError<'_>, show: bool) -> Fault {
    let at = error.instance_path().as_str().replace('/', ".");
    (at, if show { error.to_string() } else { error.masked().to_string() })
}

/// Number of values, and of bytes of text.
fn weigh(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weigh).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weigh(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Adds the weight of part of a schema, references followed; refuses what has no bound.
fn weigh_schema(root: &Value, value: &Value, depth: usize, weight: &mut usize) -> Result<(), String> {
    *weight += 1 + own_weight(value);
    if *weight > SCHEMA {
        return Err("it is too large, references followed".into());
    }
    if depth > DEPTH {
        return Err(format!("it is nested deeper than {DEPTH} levels, or refers to itself"));
    }
    match value {
        Value::Array(values) => {
            values.iter().try_for_each(|value| weigh_schema(root, value, depth + 1, weight))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            match (name.as_str(), value) {
                ("$ref", Value::String(target)) => {
                    weigh_schema(root, within(root, target)?, depth + 1, weight)?;
                }
                // What these cost, or where they lead, cannot be seen from the schema alone.
                ("$dynamicRef" | "$recursiveRef" | "unevaluatedItems" | "unevaluatedProperties", _) => {
                    return Err(format!("hm does not know `{name}`"));
                }
                ("$id", Value::String(_)) => return Err("a part of it has an `$id`".into()),
                ("$schema", Value::String(_)) if depth > 0 => {
                    return Err("a part of it has a `$schema`".into());
                }
                ("$schema", Value::String(version)) if version.contains("draft-04") => {
                    return Err("it is of draft 4, and hm knows those from draft 6 on".into());
                }
                _ => {}
            }
            weigh_schema(root, value, depth + 1, weight)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Weight of a part of a schema apart from what is in it.
fn own_weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() / 16,
        Value::Object(fields) => {
            let patterns = match fields.get("patternProperties") {
                Some(Value::Object(patterns)) => patterns.len(),
                _ => 0,
            };
            let patterns = patterns + usize::from(fields.get("pattern").is_some_and(Value::is_string));
            fields.keys().map(|name| name.len() / 16).sum::<usize>() + PATTERN * patterns
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Part of a schema that a reference names.
fn within<'s>(root: &'s Value, target: &str) -> Result<&'s Value, String> {
    // A percent sign would be an escape, which nobody who writes such names needs.
    let pointer =
        target.strip_prefix('#').filter(|p| (p.is_empty() || p.starts_with('/')) && !p.contains('%'));
    let Some(pointer) = pointer else {
        return Err(format!("it refers to {target:?}, and hm follows references of the form `#/…` alone"));
    };
    root.pointer(pointer).ok_or_else(|| format!("it refers to {target:?}, which it does not have"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Overrides, sketch};

    /// Checks one step with these arguments; nothing for a step without any.
    fn check(schema: &Value, arguments: Option<Value>) -> Result<(), String> {
        let mut step = json!({"type": "command", "key": "k", "cmd": ":"});
        if let Some(arguments) = arguments {
            step["runner_args"] = arguments;
        }
        let plan = sketch::plan_json(&step.to_string(), &Overrides::default()).expect("valid");
        plan.check_arguments(|runner| (runner == "local").then_some(schema)).map_err(|e| e.to_string())
    }

    fn refused(schema: &Value) -> String {
        let error = check(schema, None).expect_err("the schema is refused");
        let start = "runner `local` describes its runner_args with a schema that cannot be used: ";
        error.strip_prefix(start).unwrap_or_else(|| panic!("{error}")).to_owned()
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "network": {"type": "boolean"},
                "mounts": {"type": "array", "items": {"$ref": "#/definitions/Mount"}},
                "name": {"type": "string", "pattern": "^[a-z]+$"},
            },
            "required": ["network"],
            "additionalProperties": false,
            "definitions": {"Mount": {"type": "object", "properties": {"path": {"type": "string"}}}},
        });
        assert_eq!(check(&schema, Some(json!({"network": true, "mounts": [{"path": "/a"}]}))), Ok(()));
        for (arguments, expected) in [
            (
                json!({"network": "yes"}),
                r#"runner_args.network is not what runner `local` takes: "yes" is not of type "boolean""#,
            ),
            (
                json!({"network": true, "mounts": [{}, {"path": 1}]}),
                r#"runner_args.mounts.1.path is not what runner `local` takes: 1 is not of type "string""#,
            ),
            (
                json!({"network": true, "name": "A"}),
                r#"runner_args.name is not what runner `local` takes: "A" does not match "^[a-z]+$""#,
            ),
            (
                json!({"network": true, "netwrok": true}),
                "runner_args is not what runner `local` takes: Additional properties are not allowed ('netwrok' was unexpected)",
            ),
            (json!([]), r#"runner_args is not what runner `local` takes: [] is not of type "object""#),
            (
                json!({"network": "x".repeat(1000)}),
                r#"runner_args.network is not what runner `local` takes: value is not of type "boolean""#,
            ),
        ] {
            assert_eq!(check(&schema, Some(arguments)), Err(format!("step `k`: {expected}")));
        }
        let missing =
            r#"step `k`: runner_args is not what runner `local` takes: "network" is a required property"#;
        assert_eq!(check(&schema, None), Err(missing.to_owned()));
        assert_eq!(check(&schema, Some(Value::Null)), Err(missing.to_owned()));
        assert_eq!(check(&json!({"type": "null"}), None), Ok(()), "which is nothing as well");
    }

    #[test]
    fn schemas_that_cannot_be_used_are_the_plugins_fault() {
        assert!(refused(&json!({"type": "dance"})).contains("dance"));
        assert!(refused(&json!(7)).contains('7'));
        assert!(refused(&json!({"pattern": "("})).contains('('));
        assert_eq!(
            refused(&json!({"$ref": "#/$defs/gone"})),
            r##"it refers to "#/$defs/gone", which it does not have"##
        );
        for outside in ["http://localhost:1/s", "file:///etc/passwd", "other.json", "#anchor", "#/a%25b"] {
            assert_eq!(
                refused(&json!({"properties": {"a": {"$ref": outside}}})),
                format!("it refers to {outside:?}, and hm follows references of the form `#/…` alone")
            );
        }
        assert!(refused(&json!({"$schema": "http://localhost:1/meta"})).contains("localhost"));
        assert!(refused(&json!({"$schema": "http://json-schema.org/draft-04/schema#"})).contains("draft 4"));
        let own_name =
            json!({"$id": "http://localhost:1/s", "$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}});
        assert_eq!(check(&own_name, None), Ok(()));
        assert!(refused(&json!({"$defs": {"a": {"$id": "http://localhost:1/s"}}})).contains("`$id`"));
    }

    #[test]
    fn schemas_that_would_cost_too_much_are_refused() {
        let circle = "it is nested deeper than 128 levels, or refers to itself";
        assert_eq!(refused(&json!({"$ref": "#"})), circle);
        assert_eq!(refused(&json!({"$ref": "#/a", "a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}})), circle);
        assert_eq!(refused(&json!({"properties": {"more": {"$ref": "#"}}})), circle);
        // Each refers twice to the next: 2^40 in the end.
        let mut twice = json!({"$ref": "#/0"});
        for n in 0..40 {
            let next = json!({"$ref": format!("#/{}", n + 1)});
            twice[n.to_string()] = json!({"allOf": [next, next]});
        }
        twice["40"] = json!(true);
        assert_eq!(refused(&twice), "it is too large, references followed");
        let mut long = json!({"$ref": "#/0"});
        for n in 0..5_000 {
            long[n.to_string()] = json!({"$ref": format!("#/{}", n + 1)});
        }
        long["5000"] = json!(true);
        assert_eq!(refused(&long), circle, "a long way is a deep one");
        for keyword in ["unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"] {
            assert_eq!(refused(&json!({keyword: false})), format!("hm does not know `{keyword}`"));
        }
        assert_eq!(refused(&json!({"pattern": "x".repeat(1 << 20)})), "it is too large, references followed");
        assert!(refused(&json!({"pattern": "(((a{100}){100}){100}){100}"})).contains("a{100}"));
        assert!(refused(&json!({"patternProperties": {r"\p{L}{500}": true}})).contains("{500}"));
        assert!(
            refused(&json!({"pattern": "(?=a)"})).contains("(?=a)"),
            "needs an engine that is not linear"
        );
    }

    #[test]
    fn arguments_that_would_cost_too_much_are_refused() {
        let schema = json!({"properties": {"a": {"pattern": "^(a|aa)+$"}}, "items": {"uniqueItems": true}});
        let slow = json!({"a": format!("{}b", "a".repeat(40_000))});
        let error = check(&schema, Some(slow)).expect_err("does not match");
        assert!(error.contains("runner_args.a") && error.contains("^(a|aa)+$"), "{error}");
        let error = check(&schema, Some(json!({"a": "a".repeat(1 << 20)}))).expect_err("too large");
        assert!(error.ends_with("they are too large to be checked"), "{error}");

        let step =
            json!({"type": "command", "key": "k", "cmd": ":", "runner_args": {"a": "a".repeat(50_000)}});
        let steps: Vec<String> = (0..500)
            .map(|n| {
                let mut step = step.clone();
                step["key"] = json!(format!("k{n}"));
                step.to_string()
            })
            .collect();
        let plan = sketch::plan_json(&steps.join(","), &Overrides::default()).expect("valid");
        let error = plan.check_arguments(|_| Some(&schema)).expect_err("too much").to_string();
        assert!(error.ends_with("those of all steps together are too large to be checked"), "{error}");
    }

    /// Any JSON made of the words that a schema has a meaning for.
    fn random_schema(next: &mut impl FnMut(usize) -> usize, depth: usize) -> Value {
        const WORDS: [&str; 34] = [
            "$ref",
            "$defs",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "properties",
            "patternProperties",
            "additionalProperties",
            "propertyNames",
            "required",
            "items",
            "prefixItems",
            "contains",
            "minContains",
            "maxContains",
            "uniqueItems",
            "type",
            "enum",
            "const",
            "minimum",
            "multipleOf",
            "maxLength",
            "pattern",
            "format",
            "dependentSchemas",
            "dependentRequired",
            "dependencies",
            "contentMediaType",
            "$anchor",
            "a",
        ];
        let values = [
            json!(true),
            json!(-1),
            json!(1e308),
            json!(5e-324),
            json!("object"),
            json!("#"),
            json!("#/$defs/a"),
            json!("[a-z]+$"),
            json!("a"),
            json!(null),
            json!(["a", "a"]),
            json!({}),
            json!(0),
        ];
        match next(if depth == 0 { 1 } else { 5 }) {
            0 => values[next(values.len())].clone(),
            1 => (0..next(4)).map(|_| random_schema(next, depth - 1)).collect(),
            _ => {
                let fields =
                    (0..next(5)).map(|_| (WORDS[next(34)].to_owned(), random_schema(next, depth - 1)));
                Value::Object(fields.collect())
            }
        }
    }

    #[test]
    fn no_schema_and_no_arguments_are_a_crash() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits") % limit
        };
        let (mut usable, mut wrong) = (0, 0);
        for _ in 0..20_000 {
            let (schema, arguments) = (random_schema(&mut next, 5), random_schema(&mut next, 4));
            if let Ok(checker) = Checker::new(&schema) {
                usable += 1;
                wrong += usize::from(checker.check(Some(&arguments), &mut 0).is_err());
            }
        }
        assert!(usable > 1000 && wrong > 100, "{usable} schemas could be used, {wrong} arguments were wrong");
    }
}
