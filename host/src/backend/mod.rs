//! Everything outside of an instance that host functions reach: places where steps run, values that plugins keep and
//! read, people and servers that they talk to. What a plugin may ask of them is the policy's business, which lies
//! above.

pub mod browser;
pub mod callback;
pub(crate) mod config_files;
pub mod keyring;
pub mod kv;
mod local_sandbox;
mod secret_files;
pub(crate) mod socket;
pub mod terminal;

use std::sync::Arc;

use hm_docker::DockerBackend;
use hm_plugin_protocol::ArtifactRef;
use hm_workspace::{Workspace, content::Artifact};

pub use self::local_sandbox::LocalSandbox;

/// The project's files, and the places where the steps of a run can run.
#[derive(Clone)]
pub struct Backends {
    /// The project's files, as all steps get them.
    pub workspace: Arc<Workspace>,
    /// This machine, in sandboxes of ours.
    pub local: Arc<LocalSandbox>,
    /// The containers of an engine.
    pub docker: Arc<DockerBackend>,
}

/// An artifact as plugins hear of it.
#[must_use]
pub fn artifact_ref(artifact: &Artifact) -> ArtifactRef {
    ArtifactRef {
        key: artifact.key.clone(),
        mime: artifact.mime.clone(),
        size_bytes: artifact.content.size_bytes,
    }
}
