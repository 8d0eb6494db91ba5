//! Errors of a pipeline that cannot be read, chosen or planned, for its author.

use std::path::PathBuf;

use hm_disk::PathError;

use super::fields::{UnknownFields, did_you_mean};

/// Error of reading, choosing or planning a pipeline. Every variant names the file or the step that is at fault.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// The project's directory belongs to somebody else.
    #[error("{} belongs to another user (uid {owner})", folder.display())]
    ForeignProject {
        /// Path of the directory.
        folder: PathBuf,
        /// User id of its owner.
        owner: u32,
    },
    /// Neither `.hm/` nor `.harmont/` is there.
    #[error("no pipeline found: there is no .hm/ or .harmont/ folder with a .py or .json file in {}", dir.display())]
    NoProject {
        /// Directory in which the search began.
        dir: PathBuf,
    },
    /// The bytes are not text.
    #[error("{origin} is not UTF-8: invalid byte at offset {offset}")]
    NotUtf8 {
        /// The file, or standard input.
        origin: String,
        /// Number of valid bytes before it.
        offset: usize,
    },
    /// The text is not JSON.
    #[error("{origin} is not valid JSON at line {line}, column {column}: {reason}")]
    Syntax {
        /// The file, or standard input.
        origin: String,
        /// Number of the line, from 1.
        line: usize,
        /// Number of the column, from 1; 0 at the start of a line.
        column: usize,
        /// Words of the parser.
        reason: String,
    },
    /// The JSON is no pipeline.
    #[error("{origin}: {at} is not valid: {reason}")]
    Shape {
        /// The file, or standard input.
        origin: String,
        /// The place within the document, such as ``steps[3] (key `test`)``.
        at: String,
        /// Reason in words, for this place.
        reason: String,
    },
    /// A version that this program does not know.
    #[error("{origin}: {field} is {found}, and only {known:?} is known")]
    UnknownVersion {
        /// The file, or standard input.
        origin: String,
        /// Name of the field: `version` or `schema_version`.
        field: &'static str,
        /// Value of the field, as JSON.
        found: String,
        /// Value that is known here.
        known: &'static str,
    },
    /// No pipeline of that name.
    #[error("there is no pipeline `{wanted}`; there is: {}", known.join(", "))]
    UnknownPipeline {
        /// Name that was asked for.
        wanted: String,
        /// Names that there are.
        known: Vec<String>,
    },
    /// Several pipelines and no choice.
    #[error("there are {} pipelines: {}", known.len(), known.join(", "))]
    Ambiguous {
        /// Names that there are.
        known: Vec<String>,
    },
    /// The same name twice.
    #[error("pipeline `{slug}` is defined twice, in {first} and in {second}")]
    DuplicatePipeline {
        /// Name of the pipeline.
        slug: String,
        /// Place of the first.
        first: String,
        /// Place of the second.
        second: String,
    },
    /// A document without any pipeline, or a pipeline without any command.
    #[error("{what} is empty: there is nothing to run")]
    Empty {
        /// The document or the pipeline.
        what: String,
    },
    /// Two steps share a key.
    #[error("step key `{key}` is used twice, by {list}[{first}] and {list}[{second}]")]
    DuplicateKey {
        /// Key that both have.
        key: String,
        /// Name of the list of steps in the document.
        list: &'static str,
        /// Position of one, from 0.
        first: usize,
        /// Position of the other.
        second: usize,
    },
    /// A key or an environment variable that cannot be used.
    #[error("step `{key}`: {reason}")]
    BadStep {
        /// The step's key, or its position.
        key: String,
        /// Reason as the end of a sentence.
        reason: String,
    },
    /// An environment variable that cannot be set, of no step in particular.
    #[error("{of}: {reason}")]
    BadEnv {
        /// Origin of the variable, for a message.
        of: String,
        /// Reason as the end of a sentence.
        reason: String,
    },
    /// Fields that this program does not know.
    #[error("{origin}: {fields}")]
    UnknownFields {
        /// The file, or standard input.
        origin: String,
        /// Each with its place.
        fields: UnknownFields,
    },
    /// A step needs one that is not there.
    #[error("step `{key}` {how} `{named}`, and there is no such step{}", did_you_mean(near.as_deref()))]
    UnknownStep {
        /// Key of the step.
        key: String,
        /// `builds in` or `depends on`.
        how: &'static str,
        /// Key that it names.
        named: String,
        /// Key that is much like it.
        near: Option<String>,
    },
    /// Steps need each other.
    #[error("steps {how} each other in a circle: {}", cycle.join(" -> "))]
    Cycle {
        /// `build in`, or `wait for`, if not all of them do.
        how: &'static str,
        /// The keys, the first one repeated at the end.
        cycle: Vec<String>,
    },
    /// A step needs one that a barrier holds back until it has ended itself.
    #[error("step `{key}` {how} `{later}`, which comes after a wait that waits for `{key}`")]
    BehindWait {
        /// Key of the step.
        key: String,
        /// `builds in` or `depends on`.
        how: &'static str,
        /// Key of the later step.
        later: String,
    },
    /// A runner that no plugin provides.
    #[error("{who} asks for runner `{runner}`, which no plugin provides; there is: {}", known.join(", "))]
    UnknownRunner {
        /// The step, or the option or the file that names it.
        who: String,
        /// Name of the runner.
        runner: String,
        /// Names of the runners that there are.
        known: Vec<String>,
    },
    /// A step wants an image, and there is nothing to run images with.
    #[error(
        "step `{key}` wants image `{image}`, which needs the `{runner}` runner, and no plugin provides it"
    )]
    NoImageRunner {
        /// Key of the step.
        key: String,
        /// Name of the image.
        image: String,
        /// The runner for steps with an image.
        runner: String,
    },
    /// A snapshot would have to move from one runner to another.
    #[error(
        "step `{key}` runs on `{runner}` but builds in `{parent}`, which runs on `{parent_runner}`: a step runs where the step that it builds in ran"
    )]
    RunnerChange {
        /// Key of the step.
        key: String,
        /// Name of its runner.
        runner: String,
        /// Key of its parent.
        parent: String,
        /// Name of the parent's runner.
        parent_runner: String,
    },
    /// A step says something to its runner that the runner does not take.
    #[error("step `{key}`: {at} is not what runner `{runner}` takes: {reason}")]
    BadArguments {
        /// Key of the step.
        key: String,
        /// The field, such as `runner_args.network`.
        at: String,
        /// Name of the step's runner.
        runner: String,
        /// Reason as the end of a sentence.
        reason: String,
    },
    /// A runner's description of what it takes cannot be used, which is its plugin's fault.
    #[error("runner `{runner}` describes its runner_args with a schema that cannot be used: {reason}")]
    BadSchema {
        /// Name of the runner.
        runner: String,
        /// Reason in words, as the end of a sentence.
        reason: String,
    },
}
