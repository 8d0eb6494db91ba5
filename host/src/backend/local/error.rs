//! What can go wrong in the local sandbox, said for people.
//! A command that ran and failed is no error: its exit code is a result.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::backend::{archive::ArchiveError, artifacts::ArtifactError};

/// Of a longer path, this many characters at either end are said.
const SHOWN: usize = 100;

/// Why a sandbox could not be made, used or kept.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This operating system has no local sandbox.
    #[error("the local sandbox needs Linux")]
    Unsupported,
    /// A file operation of ours failed.
    #[error("cannot {what} {}", shorten(path))]
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// What it was about.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A path has to be UTF-8 and is not.
    #[error("the path {} is not UTF-8", shorten(.0))]
    NotUtf8(PathBuf),
    /// What says which files git ignores would hang us or fill our memory.
    #[error("{} is no file of at most 1 MiB, as one that says what git ignores has to be", shorten(.0))]
    IgnoreFile(PathBuf),
    /// A line of an ignore file of ours makes no sense: what it is there to keep out would come in.
    #[error("{}, line {line}: {reason}", shorten(path))]
    IgnoreLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The project could not be packed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What a step produced could not be brought out.
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
        /// Why namespaces do not.
        namespaces: String,
        /// Why Landlock does not.
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
    /// What is to be kept was made from what the project is not any more.
    #[error("the project has changed while it ran, and another hm has seen that")]
    Outdated,
    /// What is kept cannot stand on what goes with the run.
    #[error("nothing can be kept that stands on the snapshot `{0}`, which is not kept itself")]
    NotKept(String),
    /// One command at a time.
    #[error("the sandbox `{0}` is running a command")]
    Busy(String),
    /// Work on a thread of ours ended in a panic, or the runtime is going down.
    #[error("a background task of the sandbox failed")]
    Task(#[source] tokio::task::JoinError),
}

impl SandboxError {
    /// Whether whoever asked could have known.
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
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// A path for people. Steps make some that fill screens.
fn shorten(path: &Path) -> String {
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
        let text = SandboxError::io("read", path)(io::ErrorKind::NotFound.into()).to_string();
        assert!(text.starts_with("cannot read /first/ä/ä"), "{text}");
        assert!(text.contains('…') && text.ends_with("/ä/last") && text.chars().count() < 250, "{text}");
        assert_eq!(shorten(Path::new("/short")), "/short");
    }
}
