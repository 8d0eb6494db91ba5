//! Everything outside of an instance that host functions reach: places where steps run, values that plugins keep and read, people and
//! servers that they talk to. What a plugin may ask of them is the policy's business, which lies above.

pub mod archive;
pub mod artifacts;
pub mod browser;
pub mod callback;
pub(crate) mod config_files;
pub mod docker;
pub mod keyring;
pub mod kv;
pub mod local;
mod secret_files;
pub(crate) mod socket;
pub mod terminal;
pub mod untar;

use std::sync::Arc;

use self::docker::DockerBackend;
use self::local::LocalBackend;

/// Back ends in which the steps of a run can run.
#[derive(Clone)]
pub struct Backends {
    /// On this machine, in sandboxes of ours. It has the project's files.
    pub local: Arc<LocalBackend>,
    /// Containers of the Docker Engine.
    pub docker: Arc<DockerBackend>,
}

/// Reason that no step can start from the snapshot with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// The snapshot has vanished.
    Gone,
    /// It cannot be read, or not all of it.
    Damaged,
    /// This name means another image now than the one that it was made from, or that it is.
    OtherImage(String),
    /// Steps have changed something at this path of the project, where there is something else now.
    Covered(String),
    /// It cannot be asked for, or not be used; why, in words.
    Other(String),
}
