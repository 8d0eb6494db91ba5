//! Errors of working with an engine, for people. A command that ran and failed is no error: its exit code is a result.

use std::path::PathBuf;

use bollard::errors::Error as EngineError;
use hm_disk::TaskError;
use hm_workspace::WorkspaceError;
use hm_workspace::archive::ArchiveError;
use hm_workspace::artifacts::ArtifactError;

use crate::endpoint::EndpointError;
use crate::pull::PullError;

/// Failure to make, use or keep something on an engine.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// No engine can be reached.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The engine was there, and is not any more.
    #[error("the Docker Engine at {endpoint} is gone: cannot {what}")]
    Lost {
        /// Address of the engine.
        endpoint: String,
        /// Work that was to be done, from its verb on.
        what: String,
        /// Error of the connection.
        source: EngineError,
    },
    /// The engine refuses to do it.
    #[error("the Docker Engine cannot {what}: {message}")]
    Refused {
        /// Work that was to be done, from its verb on.
        what: String,
        /// Words of the answer.
        message: String,
    },
    /// A program that puts a workspace in order says no.
    #[error("`{program}` failed in a container: {said}")]
    Tool {
        /// Name of the program.
        program: String,
        /// Words of the answer.
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
        /// Name of the image.
        image: String,
        /// Directory of its volume.
        volume: String,
        /// Directory of the workspace.
        workdir: String,
    },
    /// The run is coming to its end.
    #[error("it was stopped")]
    Stopped,
    /// Two steps call their snapshots the same.
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
    /// Artifacts of a step could not be brought out.
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

/// True if the engine says that what was asked about is not there.
pub(crate) fn is_missing(error: &EngineError) -> bool {
    status(error) == Some(404)
}

/// HTTP status of the engine's answer, if it answered.
pub(crate) fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

impl DockerError {
    /// True if the caller could have known better.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::TagTaken(_))
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
