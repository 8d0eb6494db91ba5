//! Checks that a step names only what is its own in its calls. Each refusal is one of [`NotItsOwn`].

use hm_abi::HostError;
use hm_docker::Container;
use hm_plugin_protocol::{ArchiveId, CacheDecision, SnapshotRef};
use hm_workspace::CACHE_TAG_PREFIX;

use super::StepContext;

/// A name of something that does not belong to the step.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotItsOwn {
    /// The sandbox is not one that this step has started.
    #[error("`{0}` is not a sandbox of this step")]
    Sandbox(String),
    /// The container is not one that this step has started.
    #[error("`{0}` is not a container of this step")]
    Container(String),
    /// The image is not one that this step has saved.
    #[error("`{0}` is not an image that this step has saved")]
    Image(String),
    /// The snapshot is kept for later builds, and is neither this step's nor its parent's.
    #[error("the snapshot `{0}` is neither this step's nor its parent's")]
    Snapshot(String),
    /// The name is not the one that the host has given the step to keep its files under.
    #[error("this step is not to keep its files as `{0}`")]
    Name(String),
    /// The archive is not the one that this step was given.
    #[error("the archive is not the one that this step was given")]
    Archive,
}

impl From<NotItsOwn> for HostError {
    fn from(error: NotItsOwn) -> Self {
        Self::failed(error)
    }
}

impl StepContext {
    /// Checks that a sandbox belongs to this step.
    pub(super) fn check_sandbox(&self, id: &str) -> Result<(), NotItsOwn> {
        if self.sandboxes.contains(id) { Ok(()) } else { Err(NotItsOwn::Sandbox(id.to_owned())) }
    }

    /// A container of this step.
    pub(super) fn container(&mut self, id: &str) -> Result<&mut Container, NotItsOwn> {
        self.containers.get_mut(id).ok_or_else(|| NotItsOwn::Container(id.to_owned()))
    }

    /// Checks that the archive is the one that this step was given.
    pub(super) fn check_archive(&self, id: ArchiveId) -> Result<(), NotItsOwn> {
        if id == self.scope.archive { Ok(()) } else { Err(NotItsOwn::Archive) }
    }

    /// Checks that a snapshot, if it is one that outlives builds, is one that this step was told of.
    pub(super) fn check_snapshot(&self, snapshot: &SnapshotRef) -> Result<(), NotItsOwn> {
        let told = match &self.scope.cache {
            CacheDecision::Hit { tag } | CacheDecision::MissBuildAs { tag } => Some(tag),
            CacheDecision::MissNoCommit => None,
        };
        let own = [told, self.scope.parent.as_ref()].contains(&Some(snapshot));
        if own || !snapshot.0.starts_with(CACHE_TAG_PREFIX) {
            Ok(())
        } else {
            Err(NotItsOwn::Snapshot(snapshot.0.clone()))
        }
    }

    /// True if a name is the one under which this step is to keep its files. No other may look like such a one.
    pub(super) fn is_name_to_keep(&self, name: &SnapshotRef) -> Result<bool, NotItsOwn> {
        match &self.scope.cache {
            CacheDecision::MissBuildAs { tag } if tag == name => Ok(true),
            _ if name.0.starts_with(CACHE_TAG_PREFIX) => Err(NotItsOwn::Name(name.0.clone())),
            _ => Ok(false),
        }
    }
}
