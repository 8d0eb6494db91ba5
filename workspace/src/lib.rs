//! A project's files as the steps of a build see them.
//!
//! A [`Workspace`] is one project in one run. It takes a [`snapshot`] of the project when somebody first asks for
//! files. Everybody in the run gets that snapshot, whatever happens to the project meanwhile.
//!
//! Snapshots hold what git would not ignore, without what a `.hmignore` names. A file that has not changed since the
//! last snapshot is a hard link to that one's, so the next snapshot costs little. From the same tree comes the
//! [`archive`], a gzipped tar that is the same, byte for byte, for the same files.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! # let scratch = tempfile::tempdir()?;
//! # let (project, cache) = (scratch.path().join("project"), scratch.path().join("cache"));
//! # std::fs::create_dir(&project)?;
//! use hm_workspace::Workspace;
//!
//! std::fs::write(project.join("main.c"), "int main() {}")?;
//! std::fs::write(project.join(".hmignore"), "*.key\n")?;
//! std::fs::write(project.join("my.key"), "secret")?;
//!
//! let workspace = Workspace::new(&project, &cache);
//! let tree = workspace.tree().await?;
//! assert!(tree.join("main.c").is_file() && !tree.join("my.key").exists());
//!
//! // It stays as it was, and is packed as it was.
//! std::fs::write(project.join("main.c"), "changed")?;
//! assert_eq!(std::fs::read_to_string(tree.join("main.c"))?, "int main() {}");
//! assert!(workspace.archive().await?.size() > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The other modules are the tools for this, useful wherever files come from somebody else. [`tree`] copies trees with
//! what matters to a build, and [`untar`] reads a stranger's tars. [`globs`] and [`artifacts`] bring the files that
//! patterns name into a directory that nothing leads out of.
#![forbid(unsafe_code)]

pub mod archive;
pub mod artifacts;
pub mod content;
mod error;
mod git_index;
pub mod globs;
mod hmignore;
mod projects;
pub mod snapshot;
mod stat_manifest;
pub mod tree;
pub mod untar;
mod walk;
mod workspace;

pub use self::error::WorkspaceError;
pub use self::projects::{Discarded, Project, vanished};
pub use self::workspace::Workspace;

/// The directory at which steps see the project.
pub const WORKSPACE: &str = "/workspace";

/// The prefix of the tag of a snapshot that outlives its run; 32 hexadecimal digits follow.
pub const CACHE_TAG_PREFIX: &str = "hm-cache:";

/// The reason why no step can start from what is kept under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotProblem {
    /// Nothing is kept under that tag any more.
    Gone,
    /// Its files, or those that describe it, cannot be read in full.
    Damaged,
    /// This image name now means a different image than the one that the snapshot was made from, or that holds it.
    OtherImage(String),
    /// Steps have changed something at this path of the project, and the project has something else there now.
    Covered(String),
    /// For this reason, it cannot be looked for, or cannot be used.
    Other(String),
}
