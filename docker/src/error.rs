//! What can go wrong with an engine, said for people. A command that ran and failed is no error: its exit code is a result.

use std::path::PathBuf;

use bollard::errors::Error as EngineError;
use hm_disk::TaskError;
use hm_workspace::WorkspaceError;
use hm_workspace::archive::ArchiveError;
use hm_workspace::artifacts::ArtifactError;

use crate::endpoint::EndpointError;
use crate::pull::PullError;

/// Why something on an engine could not be made, used or kept.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No engine can be reached.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The engine was there, and is not any more.
    #[error("the Docker Engine at {endpoint} is gone: cannot {what}")]
    Lost {
        /// Where it was.
        endpoint: String,
        /// What was to be done.
        what: String,
        /// How that was noticed.
        source: EngineError,
    },
    /// The engine refuses.
    #[error("the Docker Engine cannot {what}: {message}")]
    Refused {
        /// What was to be done.
        what: String,
        /// What it says.
        message: String,
    },
    /// A program that puts a workspace in order says no.
    #[error("`{program}` failed in a container: {said}")]
    Tool {
        /// The program.
        program: String,
        /// What it says.
        said: String,
    },
    /// An image is not there.
    #[error("there is no image `{0}` on the Docker Engine")]
    NoImage(String),
    /// An image could not be pulled.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The container has come to its end.
    #[error("the container `{0}` has ended")]
    Ended(String),
    /// The step's own mistake, such as a program that does not exist.
    #[error("{0}")]
    Command(String),
    /// The image keeps the workspace out of what can be saved.
    #[error("the image `{image}` has a volume at `{volume}`, so what steps do in {workdir} would be lost")]
    Volume {
        /// The image.
        image: String,
        /// Where its volume is.
        volume: String,
        /// Where the workspace is.
        workdir: String,
    },
    /// The run is coming to its end.
    #[error("it was stopped")]
    Stopped,
    /// Two steps call their states the same.
    #[error("another step of this build has saved its state as `{0}`")]
    TagTaken(String),
    /// The project's files cannot be had.
    #[error(transparent)]
    Project(#[from] WorkspaceError),
    /// The project has a file that no image can have.
    #[error("steps in containers cannot have files named `.wh.*`, and the project has {}", .0.display())]
    Marked(PathBuf),
    /// The project's files cannot be packed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What a step produced could not be brought out.
    #[error("cannot bring out artifacts")]
    Artifacts(#[from] ArtifactError),
    /// A file of ours.
    #[error("cannot {what}")]
    Io {
        /// The work, from its verb on.
        what: String,
        /// The file operation that failed, or the system's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Work on a thread of ours had no result.
    #[error("a background task failed")]
    Task(#[from] TaskError),
}

/// Whether the engine says that what was asked about is not there.
pub(crate) fn is_missing(error: &EngineError) -> bool {
    status(error) == Some(404)
}

/// What the engine answers, if it does.
pub(crate) fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

impl DockerError {
    /// Whether whoever asked could have known.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::TagTaken(_) => true,
            _ => false,
        }
    }

    /// For `map_err`: what was to be done on the engine at this place.
    pub(crate) fn engine(endpoint: &str, what: impl Into<String>) -> impl FnOnce(EngineError) -> Self {
        let endpoint = endpoint.to_owned();
        move |source| {
            let what = what.into();
            match source {
                EngineError::DockerResponseServerError { message, .. } => {
                    Self::Refused { what, message: message.trim().to_owned() }
                }
                EngineError::DockerStreamError { error } => Self::Refused { what, message: error },
                source => Self::Lost { endpoint, what, source },
            }
        }
    }

    /// For `map_err`: what was to be done with a file of ours.
    pub(crate) fn io<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let what = what.into();
        |source| Self::Io { what, source: source.into() }
    }
}
