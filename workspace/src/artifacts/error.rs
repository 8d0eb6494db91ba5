//! Limits of artifacts, and errors of bringing them out.

use std::io;
use std::path::PathBuf;

use hm_disk::{PathError, TaskError, cannot};

use crate::globs::PatternError;

/// Files of a step, at the most.
pub const MAX_FILES: usize = 10_000;

/// Bytes in all files of a step, at the most.
pub const MAX_BYTES: u64 = 4 << 30;

/// Patterns of a step, at the most.
pub const MAX_PATTERNS: usize = 100;

/// Failure to bring out or to give again what a step produced.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Somebody keeps other things there, which emptying it would destroy.
    #[error(
        "{} has files in it that hm has not put there: artifacts need a directory of their own",
        .0.display()
    )]
    NotOurs(PathBuf),
    /// A pattern does not say what it should.
    #[error("`{pattern}` cannot name artifacts: {reason}")]
    Pattern {
        /// Pattern, as it was written.
        pattern: String,
        /// Reason why it will not do.
        reason: PatternError,
    },
    /// More patterns than anybody needs.
    #[error("there are more than {MAX_PATTERNS} patterns")]
    TooManyPatterns,
    /// More files than a step may produce.
    #[error("more than {MAX_FILES} files match")]
    TooManyFiles,
    /// More bytes than a step may produce.
    #[error("the files that match have more than {} GiB", MAX_BYTES >> 30)]
    TooLarge,
    /// A kept artifact is not there as it was.
    #[error("what was kept of `{0}` is not as it was")]
    NotWhole(String),
    /// Nobody waits for it any more.
    #[error("it was stopped")]
    Stopped,
    /// Work on a thread of ours had no result.
    #[error("a background task failed")]
    Task(#[from] TaskError),
}

impl ArtifactError {
    /// For `map_err`: what was done to which path.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let failed = cannot(what, path);
        move |error| Self::Io(failed(error))
    }
}
