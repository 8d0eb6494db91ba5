//! Errors of rendering, for the author of the pipelines.

use std::path::PathBuf;
use std::time::Duration;

use hm_step_sandbox::SandboxError;

use crate::pipeline::PipelineError;

/// Time that rendering may take: files of pipelines say what is to be done, and do not do it.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// Error of pipelines in Python that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A variable says which interpreter to take, and it is not there.
    #[error("{variable} is `{value}`, and there is no Python")]
    NotThere { variable: &'static str, value: String },
    /// No variable says anything, and no Python is where one is expected.
    #[error("there are pipelines in Python, and no python3 to render them")]
    NoPython,
    /// The project's Python is somewhere else, where a project must not lead us.
    #[error("{} leads to {}, which is no Python that this machine's user is known to have", path.display(), real.display())]
    Foreign {
        /// The link, or what is behind one.
        path: PathBuf,
        real: PathBuf,
    },
    /// The package is missing.
    #[error("the package harmont is not installed for {} (Python {version})", python.display())]
    NoHarmont { python: PathBuf, version: String },
    /// The package is there, but not for this Python.
    #[error("{} (Python {version}) cannot import its package harmont", python.display())]
    BrokenHarmont { python: PathBuf, version: String, source: Raised },
    /// A file is in the project, and not in the snapshot of it.
    #[error("{} is not part of the project as steps see it: git or a .hmignore ignores it", file.display())]
    LeftOut { file: PathBuf },
    /// A file, or a pipeline in it, is wrong.
    #[error("the pipelines in {} cannot be rendered", folder.display())]
    Raised { folder: PathBuf, source: Raised },
    /// It did not end.
    #[error("the pipelines in {} were not rendered within {} s", folder.display(), LIMIT.as_secs())]
    TooLong { folder: PathBuf },
    /// It wrote without end.
    #[error("rendering the pipelines in {} gave more than {max} bytes of {what}", folder.display())]
    TooMuch { folder: PathBuf, what: &'static str, max: usize },
    /// The interpreter ended in the middle of it.
    #[error("rendering the pipelines in {} ended early: {} exited with {code}", folder.display(), python.display())]
    Ended {
        folder: PathBuf,
        python: PathBuf,
        /// Its exit code: 128 + n for signal n.
        code: i32,
    },
    /// No file registers a pipeline.
    #[error("no file in {} registers a pipeline", folder.display())]
    NoPipeline { folder: PathBuf },
    /// A document of harmont's that is not right.
    #[error("what harmont made of the pipelines in {} is not right", folder.display())]
    Document { folder: PathBuf, source: Box<PipelineError> },
    /// The sandbox could not be used.
    #[error("cannot render pipelines in the sandbox")]
    Sandbox(#[from] SandboxError),
}

/// An exception as Python tells it, with those parts of its traceback that are in the project.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(pub(super) String);
