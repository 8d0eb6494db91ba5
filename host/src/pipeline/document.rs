//! Reads the text of a document: a bare pipeline, or an envelope with several, in either form.
//! The meaning that steps have for each other is the plan's affair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hm_plugin_protocol::{CommandStep, Pipeline, Step};
use serde_json::{Map, Value};

use super::error::PipelineError;
use super::fields::{Search, UnknownFields};
use super::graph;
use super::json::{array, object, place, shape};
use super::names::{DEPENDS_ON, GRAPH, NODES, STEPS};
use super::position::Segment;
use super::unique::Unique;

/// The wire format of a pipeline.
const VERSION: &str = "0";
/// The wire format of an envelope, as `harmont.dump_registry_json()` writes it.
const ENVELOPE_VERSION: &str = "1";

/// A pipeline of a document, not yet checked: in a document of several, one that nobody asked for may be in a form
/// that this version does not read.
#[derive(Debug, Clone)]
pub struct NamedPipeline {
    /// Name for `hm build SLUG`.
    pub slug: String,
    /// The file, or standard input; for messages.
    pub origin: String,
    definition: Map<String, Value>,
    /// Way to the definition in the document.
    at: Vec<Segment>,
    /// None around a bare pipeline.
    envelope: Option<Envelope>,
    /// Text of the document; none if nobody wrote it by hand, so that places in it would say nothing to anybody.
    text: Option<Arc<str>>,
}

/// Fields that stand around the definition of a pipeline.
#[derive(Debug, Clone)]
struct Envelope {
    /// Those around all pipelines.
    document: Arc<Map<String, Value>>,
    /// Those beside this definition.
    entry: Map<String, Value>,
}

/// A pipeline that was read, whichever form it has. What its parts mean to each other is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The environment of every step; a step's own wins.
    pub env: BTreeMap<String, String>,
    /// The image of root steps that name none.
    pub default_image: Option<String>,
    /// Commands and barriers, in order.
    pub steps: Vec<Step>,
    /// Commands, by position in `steps`, each with the key of one that has to succeed before it starts.
    pub(super) depends_on: Vec<(usize, String)>,
    /// Name of the list of steps in the document.
    pub(super) list: &'static str,
    /// True if the build as a whole has a limit of time, which this version does not enforce.
    pub(super) has_time_limit: bool,
    /// The file, or standard input; for messages.
    pub(super) origin: String,
    /// Fields that this version does not know.
    pub(super) unknown: UnknownFields,
}

/// Reads a document. A bare pipeline gets `name` as its slug.
///
/// # Errors
/// Text that is not UTF-8 or not JSON, or that has a name twice in one object (with line and column); an unknown
/// version; JSON that is neither a pipeline nor an envelope.
pub fn parse(bytes: &[u8], origin: &str, name: &str) -> Result<Vec<NamedPipeline>, PipelineError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| PipelineError::NotUtf8 { origin: origin.into(), offset: e.valid_up_to() })?;
    let text = text.trim_start_matches('\u{feff}');
    let Unique(value) = serde_json::from_str(text).map_err(|e| syntax(origin, &e))?;
    let mut document = object(value, origin, "the document")?;
    let text: Option<Arc<str>> = Some(text.into());

    let Some(pipelines) = document.remove("pipelines") else {
        return Ok(vec![NamedPipeline {
            slug: name.into(),
            origin: origin.into(),
            definition: document,
            at: Vec::new(),
            envelope: None,
            text,
        }]);
    };
    version(&document, "schema_version", ENVELOPE_VERSION, origin)?;
    let document = Arc::new(document);
    let pipelines = array(Some(pipelines), origin, "pipelines")?;
    let mut named = Vec::with_capacity(pipelines.len());
    let mut slugs = BTreeSet::new();
    for (index, entry) in pipelines.into_iter().enumerate() {
        let at = format!("pipelines[{index}]");
        let mut entry = object(entry, origin, &at)?;
        let Some(Value::String(slug)) = entry.remove("slug") else {
            return Err(shape(origin, &at, "expected a string field `slug`"));
        };
        let definition =
            entry.remove("definition").ok_or_else(|| shape(origin, &at, "missing field `definition`"))?;
        let definition = object(definition, origin, &format!("{at}.definition"))?;
        if !slugs.insert(slug.clone()) {
            return Err(PipelineError::DuplicatePipeline {
                slug,
                first: origin.into(),
                second: origin.into(),
            });
        }
        let at = vec!["pipelines".into(), index.into(), "definition".into()];
        let envelope = Some(Envelope { document: document.clone(), entry });
        let text = text.clone();
        named.push(NamedPipeline { slug, origin: origin.into(), definition, at, envelope, text });
    }
    Ok(named)
}

impl NamedPipeline {
    /// Marks the document as written by a program, so that messages give no places in its text.
    pub(crate) fn without_text(&mut self) {
        self.text = None;
    }

    fn unknown_fields(&self) -> UnknownFields {
        let mut search = Search::default();
        if let Some(Envelope { document, entry }) = &self.envelope {
            search.envelope(document);
            search.entry(entry, &self.at[..2], &self.slug);
        }
        search.pipeline(&self.definition, &self.at);
        search.located(self.text.as_deref())
    }

    /// Reads the definition.
    ///
    /// # Errors
    /// An unknown version or form, or a field of the wrong type; a step at fault is named by position and key.
    pub fn definition(self) -> Result<(String, Definition), PipelineError> {
        let unknown = self.unknown_fields();
        let Self { slug, origin, mut definition, .. } = self;
        version(&definition, "version", VERSION, &origin)?;
        let (steps, graph) = (definition.remove(STEPS), definition.remove(GRAPH));
        let has_time_limit = definition.get("timeout_seconds").is_some_and(|limit| !limit.is_null());
        // What both forms have around their steps.
        definition.insert(STEPS.into(), Value::Array(Vec::new()));
        let whole: Pipeline = serde_json::from_value(Value::Object(definition))
            .map_err(|e| shape(&origin, "the pipeline", e.to_string()))?;
        let mut read = Definition {
            env: whole.env.unwrap_or_default(),
            default_image: whole.default_image,
            steps: Vec::new(),
            depends_on: Vec::new(),
            list: STEPS,
            has_time_limit,
            origin: origin.clone(),
            unknown,
        };
        match (steps, graph) {
            (Some(_), Some(_)) => {
                return Err(shape(&origin, "the pipeline", "it has both `steps` and `graph`"));
            }
            (None, None) => {
                return Err(shape(&origin, "the pipeline", "missing field `steps` or `graph`"));
            }
            (Some(steps), None) => {
                // Step by step, so that a message can say which one it is about.
                for (index, step) in array(Some(steps), &origin, STEPS)?.into_iter().enumerate() {
                    let at = place(STEPS, index, &step);
                    let mut step =
                        serde_json::from_value(step).map_err(|e| shape(&origin, &at, e.to_string()))?;
                    if let Step::Command(step) = &mut step {
                        let keys = dependencies(step).map_err(|reason| shape(&origin, &at, reason))?;
                        read.depends_on.extend(keys.into_iter().map(|key| (index, key)));
                    }
                    read.steps.push(step);
                }
            }
            (None, Some(value)) => {
                let graph = graph::read(value, &origin)?;
                let key = |step: usize| graph.steps[step].key.clone();
                read.depends_on =
                    graph.depends_on.iter().map(|&(before, after)| (after, key(before))).collect();
                read.steps = graph.steps.into_iter().map(|step| Step::Command(Box::new(step))).collect();
                read.list = NODES;
            }
        }
        Ok((slug, read))
    }
}

/// Takes the keys out of a step that it names in `depends_on`: they are the plan's affair, and not the runner's.
fn dependencies(step: &mut CommandStep) -> Result<Vec<String>, String> {
    let keys: Option<Vec<String>> = match step.extra.remove(DEPENDS_ON) {
        None => None,
        Some(value) => serde_json::from_value(value)
            .map_err(|error| format!("`{DEPENDS_ON}` is no list of keys: {error}"))?,
    };
    let keys = keys.unwrap_or_default();
    let mut seen = BTreeSet::new();
    match keys.iter().find(|key| !seen.insert(key.as_str())) {
        Some(key) => Err(format!("`{DEPENDS_ON}` names `{key}` twice")),
        None => Ok(keys),
    }
}

fn version(
    map: &Map<String, Value>,
    field: &'static str,
    known: &'static str,
    origin: &str,
) -> Result<(), PipelineError> {
    match map.get(field) {
        Some(Value::String(found)) if found == known => Ok(()),
        Some(found) => Err(PipelineError::UnknownVersion {
            origin: origin.into(),
            field,
            found: found.to_string(),
            known,
        }),
        None => Err(shape(origin, "the document", format!("missing field `{field}`"))),
    }
}

fn syntax(origin: &str, error: &serde_json::Error) -> PipelineError {
    let text = error.to_string();
    // serde_json appends the place to its message; the error has it in fields of its own.
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
    PipelineError::Syntax { origin: origin.into(), line: error.line(), column: error.column(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let parsed = parse(text.as_bytes(), "p.json", "p").and_then(|mut all| all.remove(0).definition());
        parsed.expect_err("must be refused").to_string()
    }

    #[test]
    fn bad_documents_name_the_place() {
        for (text, expected) in [
            (
                "{\"version\": \"0\",\n \"steps\": [}",
                "p.json is not valid JSON at line 2, column 12: expected value",
            ),
            ("", "p.json is not valid JSON at line 1, column 0: EOF while parsing a value"),
            ("[]", "p.json: the document is not valid: expected a JSON object"),
            ("{}", "p.json: the document is not valid: missing field `version`"),
            (r#"{"version":"7","steps":[]}"#, r#"p.json: version is "7", and only "0" is known"#),
            (r#"{"version":0,"steps":[]}"#, r#"p.json: version is 0, and only "0" is known"#),
            (
                r#"{"schema_version":"2","pipelines":[]}"#,
                r#"p.json: schema_version is "2", and only "1" is known"#,
            ),
            (r#"{"version":"0"}"#, "p.json: the pipeline is not valid: missing field `steps` or `graph`"),
            (
                r#"{"version":"0","steps":[],"graph":{}}"#,
                "p.json: the pipeline is not valid: it has both `steps` and `graph`",
            ),
            (r#"{"version":"0","steps":{}}"#, "p.json: steps is not valid: expected an array"),
            (
                r#"{"version":"0","steps":[{"type":"wait"},{"type":"command","key":"a"}]}"#,
                "p.json: steps[1] (key `a`) is not valid: missing field `cmd`",
            ),
            (
                r#"{"version":"0","steps":[{"type":"dance","key":"a"}]}"#,
                "p.json: steps[0] (key `a`) is not valid: unknown variant `dance`, expected `command` or `wait`",
            ),
            (
                "{\"version\": \"0\",\n \"steps\": [{\"key\": {\"a\": 1, \"\\u0061\": 2}}]}",
                "p.json is not valid JSON at line 2, column 36: the name \"a\" is there twice in one object",
            ),
            (
                r#"{"version":"0","steps":[{"type":"command","key":"a","cmd":"c","depends_on":"b"}]}"#,
                "p.json: steps[0] (key `a`) is not valid: `depends_on` is no list of keys: invalid type: string \"b\", expected a sequence",
            ),
            (
                r#"{"version":"0","steps":[{"type":"command","key":"a","cmd":"c","depends_on":["b","b"]}]}"#,
                "p.json: steps[0] (key `a`) is not valid: `depends_on` names `b` twice",
            ),
            (r#"{"version":"0","graph":[]}"#, "p.json: graph is not valid: expected a JSON object"),
            (r#"{"version":"0","graph":{}}"#, "p.json: graph is not valid: missing field `nodes`"),
            (
                r#"{"schema_version":"1","pipelines":[{"slug":"x"}]}"#,
                "p.json: pipelines[0] is not valid: missing field `definition`",
            ),
        ] {
            assert_eq!(error(text), expected, "for {text}");
        }
        let not_text = parse(b"{\"version\": \"\xff\"}", "p.json", "p").expect_err("not UTF-8").to_string();
        assert_eq!(not_text, "p.json is not UTF-8: invalid byte at offset 13");
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(error(&"[".repeat(100_000)).contains("recursion limit exceeded"));
    }

    #[test]
    fn an_envelope_keeps_its_pipelines_apart() {
        let text = r#"{"schema_version":"1","pipelines":[
            {"slug":"a","definition":{"version":"0","notify":[],
                "steps":[{"type":"command","key":"k","cmd":"c","future":1}]}},
            {"slug":"b","definition":{"version":"0","graph":{}}}]}"#;
        let all = parse(text.as_bytes(), "p.json", "p").expect("an envelope");
        assert_eq!(all.iter().map(|p| p.slug.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let (_, pipeline) = super::super::choose(all, Some("a")).expect("a is readable although b is not");
        let Step::Command(step) = &pipeline.steps[0] else { panic!("a command") };
        assert_eq!(step.extra["future"], 1);
        let unknown =
            pipeline.unknown.told.iter().map(|unknown| (unknown.part.as_str(), unknown.field.as_str()));
        assert_eq!(unknown.collect::<Vec<_>>(), [("the pipeline", "notify"), ("step `k`", "future")]);
    }
}
