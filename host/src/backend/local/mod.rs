//! The local sandbox: runs a step's command on the developer's own machine, in namespaces of its own, on a
//! copy-on-write workspace. Which step runs when, and whether it may, is decided above.

mod error;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
#[path = "unsupported.rs"]
mod linux;

use std::{collections::BTreeMap, path::PathBuf};

use hm_plugin_protocol::SnapshotRef;
use uuid::Uuid;

pub use self::{
    error::SandboxError,
    linux::{KeptLayers, LocalBackend, empty_trash, forget_vanished, helper_main},
};

/// Where a command finds the project. Without namespaces it is elsewhere; a working directory below is translated.
pub const WORKSPACE: &str = "/workspace";

/// The home directory of every step, kept per project. Without namespaces it is elsewhere; `HOME` always says where.
pub const HOME: &str = "/step";

/// What the names of snapshots begin with that outlive their run; 32 hexadecimal digits follow.
pub const KEPT: &str = "hm-cache:";

/// What one step has changed in the workspace, kept for later runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLayer {
    /// Its name.
    pub tag: SnapshotRef,
    /// How much of the disk it takes.
    pub bytes: u64,
    /// What it stands on; none: the project.
    pub below: Option<SnapshotRef>,
}

/// What was given up in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many layers, or directories of a project.
    pub layers: usize,
    /// How much of the disk they took.
    pub bytes: u64,
}

/// What a [`LocalBackend`] has to know.
#[derive(Clone)]
pub struct LocalConfig {
    /// This program, or another whose `main` begins with [`helper_main`].
    pub helper: PathBuf,
    /// The tree that steps without a parent start from. It is never written.
    pub project: PathBuf,
    /// Where layers, snapshots and home directories are kept; made if it is not there.
    pub cache: PathBuf,
    /// The run; no two at a time have the same.
    pub run_id: Uuid,
    /// The developer's environment, from which that of the steps is made.
    pub host_env: BTreeMap<String, String>,
    /// The developer's home directory.
    pub home: Option<PathBuf>,
    /// Whether any step may have the network.
    pub network: bool,
    /// How to isolate.
    pub mode: Mode,
}

/// How commands are isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Namespaces where they work, else the fallback.
    #[default]
    Auto,
    /// Namespaces or nothing.
    Namespaces,
    /// Landlock and a copy of the workspace.
    Fallback,
}

/// One command to run.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the environment that every step has.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub workdir: String,
    /// Whether it asks for the network.
    pub network: bool,
}
