//! Errors of a workspace, for people: a file operation with its path, and what is wrong with a project's own files.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::archive::ArchiveError;

/// Characters shown at either end of a path that is longer than both.
const SHOWN: usize = 100;

/// A file operation that failed: "cannot read /path".
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", shorten(path))]
pub struct PathError {
    /// The operation, as a verb.
    pub what: &'static str,
    /// The path that it was about.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// An argument for `map_err`: the operation on this path failed.
    pub fn on(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { what, path, source }
    }
}

/// Why a project's files cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A file operation of ours failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// A file with the rules of git would hang us or fill our memory.
    #[error("{} is no file of at most 1 MiB, as one that says what git ignores has to be", shorten(.0))]
    IgnoreFile(PathBuf),
    /// A line of a `.hmignore` makes no sense: what it is there to keep out would come in.
    #[error("{}, line {line}: {reason}", shorten(path))]
    IgnoreLine {
        /// The ignore file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's complaint.
        reason: String,
    },
    /// The project could not be packed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Work on a thread of ours ended in a panic, or the runtime is going down.
    #[error("a background task of the workspace failed")]
    Task(#[source] tokio::task::JoinError),
}

impl WorkspaceError {
    /// An argument for `map_err`: the operation on this path failed.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io(PathError { what, path, source })
    }
}

/// A path for people. Steps make some that fill screens.
#[must_use]
pub fn shorten(path: &Path) -> String {
    let path = path.display().to_string();
    let count = path.chars().count();
    if count <= 2 * SHOWN {
        return path;
    }
    path.chars().take(SHOWN).chain(['…']).chain(path.chars().skip(count - SHOWN)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_said_in_short() {
        let path = format!("/first{}/last", "/ä".repeat(2000));
        let text = WorkspaceError::io("read", path)(io::ErrorKind::NotFound.into()).to_string();
        assert!(text.starts_with("cannot read /first/ä/ä"), "{text}");
        assert!(text.contains('…') && text.ends_with("/ä/last") && text.chars().count() < 250, "{text}");
        assert_eq!(shorten(Path::new("/short")), "/short");
    }
}
