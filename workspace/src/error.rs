//! Errors of a workspace, for people: a file operation with its path, and what is wrong with a project's own files.

use std::{io, path::PathBuf};

use hm_disk::{PathError, TaskError, cannot, shortened};

use crate::archive::ArchiveError;

/// Failure to get a project's files.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A file operation of ours failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A file with the rules of git would hang us or fill our memory.
    #[error("{} is no file of at most 1 MiB, as one that says what git ignores has to be", shortened(.0))]
    IgnoreFile(PathBuf),
    /// A line of a `.hmignore` makes no sense: what it is there to keep out would come in.
    #[error("{}, line {line}: {reason}", shortened(path))]
    IgnoreLine {
        /// Path of the ignore file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Complaint of the parser.
        reason: String,
    },
    /// The project could not be packed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Work on a thread of ours had no result.
    #[error("a background task of the workspace failed")]
    Task(#[from] TaskError),
}

impl WorkspaceError {
    /// An argument for `map_err`: the operation on this path failed.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let failed = cannot(what, path);
        move |error| Self::Io(failed(error))
    }
}
