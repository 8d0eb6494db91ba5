//! The fields that a pipeline may have, and those in a document that are none of them: each with its place and the
//! known name that is nearest to it. Names that begin with `x-` are anybody's; a runner's arguments are its schema's
//! affair.

use std::fmt;

use serde_json::{Map, Value};

use super::caching::Caching;
use super::names::{GRAPH, NODES, STEPS};
use super::position::{Position, Segment, position_of};

/// Names of fields that are nobody's but the author's begin with this.
const OWN: &str = "x-";

/// Fields that are told of in one document, at the most.
const MAX_TOLD: usize = 10;

const DOCUMENT: &[&str] = &["schema_version", "pipelines"];
const ENTRY: &[&str] = &["slug", "name", "allow_manual", "triggers", "definition"];
const PIPELINE: &[&str] = &["version", "env", "default_image", "timeout_seconds", STEPS, GRAPH];
const GRAPH_FIELDS: &[&str] = &["nodes", "node_holes", "edge_property", "edges"];
const NODE: &[&str] = &["step", "env"];
const WAIT: &[&str] = &["type", "continue_on_failure"];
const COMMAND: &[&str] = &[
    "type",
    "key",
    "label",
    "cmd",
    "builds_in",
    "depends_on",
    "image",
    "env",
    "timeout_seconds",
    "cache",
    "runner",
    "runner_args",
];
/// Edges say the rest.
const NODE_STEP: &[&str] = &[
    "key",
    "label",
    "cmd",
    "builds_in",
    "image",
    "env",
    "timeout_seconds",
    "cache",
    "runner",
    "runner_args",
];

/// Words of other CI systems, each with the field that comes nearest to what it means there.
const FOREIGN: &[(&str, &str)] = &[
    ("needs", "depends_on"),
    ("requires", "depends_on"),
    ("dependencies", "depends_on"),
    ("allow_failure", "continue_on_failure"),
    ("run", "cmd"),
    ("script", "cmd"),
    ("commands", "cmd"),
    ("name", "key"),
    ("id", "key"),
    ("variables", "env"),
    ("environment", "env"),
    ("container", "image"),
    ("parent", "builds_in"),
    ("artifacts", "runner_args.artifacts"),
    ("shell", "runner_args.shell"),
    ("network", "runner_args.network"),
    ("jobs", "steps"),
    ("stages", "steps"),
];

/// Likeness, from 0 to 1, from which a word may be meant by another one.
const ALIKE: f64 = 0.75;

/// A field that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Part of the pipeline that has it, such as ``step `test` ``.
    pub part: String,
    /// Name of the field.
    pub field: String,
    /// Place in the text; none for pipelines that a program wrote.
    pub position: Option<Position>,
    /// Known name that is nearest.
    pub near: Option<String>,
}

/// The fields of a document that this version does not know, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnknownFields {
    /// The first of them.
    pub told: Vec<UnknownField>,
    /// Number of the others.
    pub more: usize,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, field, position, near } = self;
        f.write_str(part)?;
        if let Some(Position { line, column }) = position {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": hm does not know the field `{field}`{}", did_you_mean(near.as_deref()))
    }
}

impl fmt::Display for UnknownFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, field) in self.told.iter().enumerate() {
            let between = if number == 0 { "" } else { "\n" };
            write!(f, "{between}{field}")?;
        }
        if self.more > 0 { write!(f, "\nand {} more", self.more) } else { Ok(()) }
    }
}

/// Search for unknown fields.
#[derive(Debug, Default)]
pub(super) struct Search {
    found: Vec<(Vec<Segment>, UnknownField)>,
    more: usize,
}

impl Search {
    /// The fields around the pipelines of an envelope.
    pub(super) fn envelope(&mut self, document: &Map<String, Value>) {
        self.among(document, DOCUMENT, &[], || "the document".into());
    }

    /// The fields around one pipeline of an envelope.
    pub(super) fn entry(&mut self, entry: &Map<String, Value>, at: &[Segment], slug: &str) {
        self.among(entry, ENTRY, at, || format!("the entry of `{slug}`"));
    }

    /// The fields of a pipeline and all its parts. Parts of another type than they should have are passed over.
    pub(super) fn pipeline(&mut self, pipeline: &Map<String, Value>, at: &[Segment]) {
        self.among(pipeline, PIPELINE, at, || "the pipeline".into());
        for (index, step) in items(pipeline, STEPS) {
            let at = below(at, [STEPS.into(), index.into()]);
            match step.get("type").and_then(Value::as_str) {
                Some("wait") => self.among(step, WAIT, &at, || format!("the wait {STEPS}[{index}]")),
                _ => self.step(step, COMMAND, &at, &format!("{STEPS}[{index}]")),
            }
        }
        let Some(Value::Object(graph)) = pipeline.get(GRAPH) else { return };
        self.among(graph, GRAPH_FIELDS, &below(at, [GRAPH.into()]), || "the graph".into());
        for (index, node) in items(graph, "nodes") {
            let at = below(at, [GRAPH.into(), "nodes".into(), index.into()]);
            let position = format!("{NODES}[{index}]");
            let step = node.get("step").and_then(Value::as_object);
            let name = step.map_or_else(|| position.clone(), |step| named(step, &position));
            self.among(node, NODE, &at, || format!("the node of {name}"));
            if let Some(step) = step {
                self.step(step, NODE_STEP, &below(&at, ["step".into()]), &position);
            }
        }
    }

    fn step(&mut self, step: &Map<String, Value>, known: &[&str], at: &[Segment], position: &str) {
        self.among(step, known, at, || named(step, position));
        if let Some(cache) = step.get("cache").and_then(Value::as_object) {
            self.cache(cache, &below(at, ["cache".into()]), &|| named(step, position));
        }
    }

    fn cache(&mut self, cache: &Map<String, Value>, at: &[Segment], step: &dyn Fn() -> String) {
        let policy = cache.get("policy").and_then(Value::as_str).unwrap_or_default();
        self.among(cache, Caching::fields(policy), at, || format!("`cache` of {}", step()));
        for (index, part) in items(cache, "sub_policies") {
            self.cache(part, &below(at, ["sub_policies".into(), index.into()]), step);
        }
    }

    fn among(
        &mut self,
        fields: &Map<String, Value>,
        known: &[&str],
        at: &[Segment],
        part: impl Fn() -> String,
    ) {
        for field in fields.keys().filter(|field| !known.contains(&field.as_str()) && !field.starts_with(OWN))
        {
            if self.found.len() == MAX_TOLD {
                self.more += 1;
                continue;
            }
            let near = nearest_field(field, known);
            let unknown = UnknownField { part: part(), field: field.clone(), position: None, near };
            self.found.push((below(at, [field.as_str().into()]), unknown));
        }
    }

    /// The fields that were found, with their places in the text, if that is there.
    pub(super) fn located(self, text: Option<&str>) -> UnknownFields {
        let place = |(path, mut unknown): (Vec<Segment>, UnknownField)| {
            unknown.position = text.and_then(|text| position_of(text, &path));
            unknown
        };
        let mut told: Vec<UnknownField> = self.found.into_iter().map(place).collect();
        told.sort_by_key(|unknown| unknown.position);
        UnknownFields { told, more: self.more }
    }
}

/// The objects in a list, with their positions.
fn items<'v>(
    of: &'v Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = (usize, &'v Map<String, Value>)> {
    let items = of.get(list).and_then(Value::as_array).into_iter().flatten();
    items.enumerate().filter_map(|(index, item)| Some((index, item.as_object()?)))
}

/// Name of a step, for a message.
fn named(step: &Map<String, Value>, position: &str) -> String {
    match step.get("key").and_then(Value::as_str) {
        Some(key) => format!("step `{key}`"),
        None => position.to_owned(),
    }
}

fn below<const N: usize>(at: &[Segment], more: [Segment; N]) -> Vec<Segment> {
    at.iter().cloned().chain(more).collect()
}

fn nearest_field(typed: &str, known: &[&str]) -> Option<String> {
    let typed = typed.to_lowercase().replace('-', "_");
    let is_known = |name: &str| known.contains(&name.split('.').next().unwrap_or(name));
    let foreign = FOREIGN.iter().find(|(word, field)| *word == typed && is_known(field));
    foreign.map(|(_, field)| (*field).to_owned()).or_else(|| nearest(&typed, known.iter().copied()))
}

/// The known name that is most like the one that was typed, if one is much like it.
pub(super) fn nearest<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let likeness = |name: &'n str| (strsim::jaro(typed, name), name);
    let best = known.map(likeness).max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name.to_owned())
}

/// End of a message that names something much like what was meant.
pub(super) fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{PipelineError, choose, parse};

    fn unknown(text: &str) -> Vec<String> {
        let read = parse(text.as_bytes(), "p", "p").and_then(|all| choose(all, None)).expect(text);
        read.1.unknown.told.iter().map(ToString::to_string).collect()
    }

    fn with_field(field: &str) -> Vec<String> {
        unknown(&format!(
            "{{\"version\":\"0\",\"steps\":[\n  {{\"type\":\"command\",\"key\":\"a\",\"cmd\":\":\", {field}}}]}}"
        ))
    }

    #[test]
    fn each_is_told_with_its_place_and_the_nearest_name() {
        for (field, near) in [
            ("timeout", Some("timeout_seconds")),
            ("needs", Some("depends_on")),
            ("depends-on", Some("depends_on")),
            ("builds-in", Some("builds_in")),
            ("Image", Some("image")),
            ("artifacts", Some("runner_args.artifacts")),
            ("script", Some("cmd")),
            ("lable", Some("label")),
            ("retry", None),
            ("if", None),
            ("services", None),
            ("matrix", None),
            ("secrets", None),
            ("allow_failure", None),
        ] {
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let expected = format!("step `a`, line 2, column 42: hm does not know the field `{field}`{near}");
            assert_eq!(with_field(&format!("\"{field}\": 1")), [expected]);
        }
        assert!(with_field(r#""x-owner": "me", "x-": {"a": 1}"#).is_empty());
        assert!(with_field(r#""runner_args": {"any": 1}"#).is_empty(), "those are the schema's affair");
        let wait =
            unknown(r#"{"version":"0","steps":[{"type":"wait","allow_failure":true,"timeout_seconds":1}]}"#);
        assert_eq!(
            wait,
            [
                "the wait steps[0], line 1, column 40: hm does not know the field `allow_failure`; did you mean `continue_on_failure`?",
                "the wait steps[0], line 1, column 61: hm does not know the field `timeout_seconds`",
            ]
        );
    }

    #[test]
    fn parts_of_policies_graphs_and_envelopes_are_searched() {
        assert_eq!(
            with_field(
                r#""cache": {"policy":"compose","sub_policies":[{"policy":"ttl","duration_seconds":1,"paths":["a"]}], "x-a":1, "key":"k"}"#
            ),
            ["`cache` of step `a`, line 2, column 124: hm does not know the field `paths`"]
        );
        let text = r#"{"schema_version":"1","made_by":"me","pipelines":[{"slug":"ci","nam":"ci","x-a":1,"definition":
{"version":"0","timeout_seconds":60,"graph":{"name":"g","nodes":[
{"step":{"key":"a","cmd":":","type":"command"},"weight":1,"env":{"any":"thing"}}],"edges":[]}}}]}"#;
        let expected = [
            "the document, line 1, column 23: hm does not know the field `made_by`",
            "the entry of `ci`, line 1, column 64: hm does not know the field `nam`; did you mean `name`?",
            "the graph, line 2, column 46: hm does not know the field `name`; did you mean `nodes`?",
            "step `a`, line 3, column 30: hm does not know the field `type`",
            "the node of step `a`, line 3, column 48: hm does not know the field `weight`",
        ];
        let found = unknown(text);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                found.starts_with(expected.split("; did").next().expect("a start")),
                "{found}: {expected}"
            );
        }
    }

    #[test]
    fn not_more_than_anybody_reads_are_told() {
        let fields: Vec<String> = (0..13).map(|n| format!("\"field{n}\": 1")).collect();
        let text = format!("{{\"version\":\"0\",\"steps\":[],{}}}", fields.join(","));
        let (_, read) = choose(parse(text.as_bytes(), "p", "p").expect("JSON"), None).expect("a pipeline");
        assert_eq!((read.unknown.told.len(), read.unknown.more), (10, 3));
        let error = PipelineError::UnknownFields { origin: "p".into(), fields: read.unknown }.to_string();
        assert!(error.starts_with("p: the pipeline, line 1, column 27: ") && error.ends_with("\nand 3 more"));
    }

    #[test]
    fn all_known_fields_are_those_of_the_wire_format() {
        let schema = include_str!("../../../protocol/schemas/pipeline.json");
        let schema: Value = serde_json::from_str(schema).expect("a schema");
        let known = |schema: &Value, known: &[&str], beside: &[&str]| {
            let fields = schema["properties"].as_object().expect("fields").keys().map(String::as_str);
            let mut fields: Vec<&str> = fields.chain(beside.iter().copied()).collect();
            let mut known = known.to_vec();
            fields.sort_unstable();
            known.sort_unstable();
            assert_eq!(known, fields);
        };
        known(&schema["$defs"]["CommandStep"], COMMAND, &["type", "depends_on"]);
        known(&schema["$defs"]["CommandStep"], NODE_STEP, &[]);
        known(&schema["$defs"]["WaitStep"], WAIT, &["type"]);
        known(&schema, PIPELINE, &["graph", "timeout_seconds"]);
    }
}
