//! Errors of the local sandbox, for people.
//! A command that ran and failed is no error: its exit code is a result.

use std::{io, path::PathBuf};

use hm_disk::{PathError, TaskError, cannot, shortened};
use hm_workspace::{WorkspaceError, artifacts::ArtifactError};

/// Failure to make, use or keep a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file operation of ours failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The project's files cannot be had.
    #[error(transparent)]
    Workspace(WorkspaceError),
    /// A path has to be UTF-8 and is not.
    #[error("the path {} is not UTF-8", shortened(.0))]
    NotUtf8(PathBuf),
    /// Artifacts of a step could not be brought out.
    #[error("cannot bring out artifacts")]
    Artifacts(#[from] ArtifactError),
    /// The isolation could not be set up.
    #[error("cannot set up the sandbox: {0}")]
    Setup(String),
    /// Neither namespaces nor Landlock work on this machine.
    #[error(
        "this machine can isolate no step: namespaces do not work ({namespaces}), nor does Landlock ({landlock})"
    )]
    NoIsolation {
        /// Reason of the namespaces.
        namespaces: String,
        /// Reason why Landlock does not work.
        landlock: String,
    },
    /// The sandbox is fine, but the command could not be started in it.
    #[error("cannot start the command: {0}")]
    Command(String),
    /// The processes that look after a step ended without saying how it went.
    #[error("the step's supervisor died")]
    SupervisorDied,
    /// There is no such sandbox in this run.
    #[error("there is no sandbox `{0}` in this run")]
    UnknownSandbox(String),
    /// There is no such snapshot, in this run or kept by a former one.
    #[error("there is no snapshot `{0}`")]
    UnknownSnapshot(String),
    /// A kept snapshot cannot be called that.
    #[error("`{0}` is no name for a snapshot that is kept: it takes `hm-cache:` and 32 hexadecimal digits")]
    NotATag(String),
    /// The project has changed since a snapshot that is to be kept was begun.
    #[error("the project has changed while it ran, and another hm has seen that")]
    Outdated,
    /// A snapshot that is kept cannot stand on one that goes with the run.
    #[error("nothing can be kept that stands on the snapshot `{0}`, which is not kept itself")]
    NotKept(String),
    /// One command at a time.
    #[error("the sandbox `{0}` is running a command")]
    Busy(String),
    /// Work on a thread of ours had no result.
    #[error("a background task of the sandbox failed")]
    Task(#[from] TaskError),
}

impl SandboxError {
    /// True if the caller could have known better.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::UnknownSandbox(_)
                | Self::UnknownSnapshot(_)
                | Self::NotATag(_)
                | Self::NotKept(_)
                | Self::Busy(_)
        )
    }

    /// For `map_err`: what was done to which path.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let failed = cannot(what, path);
        move |error| Self::Io(failed(error))
    }
}

impl From<WorkspaceError> for SandboxError {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::Io(error) => Self::Io(error),
            error => Self::Workspace(error),
        }
    }
}

/// Does work that waits for the disk, on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static, E: Into<SandboxError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SandboxError> {
    hm_disk::blocking(work).await?.map_err(Into::into)
}
