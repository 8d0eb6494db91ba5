//! What host functions reach outside of their instance: where steps run, what plugins keep and read, and whom they talk to.
//! What a plugin may ask of them is the policy's business, which lies above.

pub mod archive;
pub mod artifacts;
pub mod browser;
pub mod callback;
pub mod config_files;
pub mod docker;
pub mod keyring;
pub mod kv;
pub mod local;
mod secret_files;
pub mod socket;
pub mod terminal;
pub mod untar;

use std::sync::Arc;

use self::docker::DockerBackend;
use self::local::LocalBackend;

/// Where the steps of a run can run.
#[derive(Clone)]
pub struct Backends {
    /// On this machine, in sandboxes of ours. It has the project's files.
    pub local: Arc<LocalBackend>,
    /// In containers.
    pub docker: Arc<DockerBackend>,
}

/// Why no step can start from what is kept under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It is gone.
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
