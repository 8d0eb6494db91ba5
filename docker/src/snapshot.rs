//! Things that containers can start from: images of the engine, and snapshots that steps have saved.

use std::sync::Arc;

use crate::changes::Changes;
use crate::manifest::Manifest;

/// Origin of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Snapshot that a step has saved, by its tag. Never an image of the engine, even if that is called the same.
    Snapshot(String),
    /// An image of the engine, by its name. Never a snapshot.
    Named(String),
}

impl Image {
    /// Tag of the snapshot, or name of the image.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Snapshot(name) | Self::Named(name) => name,
        }
    }
}

/// A snapshot that containers can start from.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Image on the engine.
    pub(crate) image: String,
    /// User of commands in it, if its makers named one.
    pub(crate) user: Option<String>,
    /// Directories whose content is not part of what is saved.
    pub(crate) volumes: Vec<String>,
    pub(crate) lineage: Arc<Lineage>,
}

/// Knowledge of a snapshot's workspace.
#[derive(Debug)]
pub(crate) struct Lineage {
    /// The image that it all began with, by name and by id.
    pub(crate) base: (String, String),
    pub(crate) workdir: String,
    pub(crate) files: ProjectFiles,
    /// Changes that steps have made since; `None` if they are not known.
    pub(crate) changes: Option<Changes>,
}

/// The project's files in a workspace.
#[derive(Debug)]
pub(crate) enum ProjectFiles {
    /// The workspace has none of them.
    Absent,
    /// It has them as they are in this run.
    Current,
    /// It has them as they were in another run.
    Stale(Manifest),
}
