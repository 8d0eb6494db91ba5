//! Settings of a run, and of one command in it.

use std::{collections::BTreeMap, path::PathBuf};

use uuid::Uuid;

/// The home directory of every step, kept per project. Without namespaces it is elsewhere; `HOME` always says where.
pub const HOME: &str = "/step";

/// Settings of a [`SandboxRun`](crate::SandboxRun).
#[derive(Clone)]
pub struct SandboxConfig {
    /// This program, or another whose `main` begins with [`helper_main`](crate::helper_main).
    pub helper: PathBuf,
    /// Id of the run; no two runs at the same time have the same.
    pub run_id: Uuid,
    /// The user's environment, from which that of the steps is made.
    pub host_env: BTreeMap<String, String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// True if any step may have the network.
    pub network: bool,
    /// Kind of isolation to be used.
    pub mode: Mode,
}

/// Kind of isolation that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Namespaces where they work, else the fallback.
    #[default]
    Auto,
    /// Namespaces, or an error where there are none.
    Namespaces,
    /// Landlock and a copy of the workspace.
    Fallback,
}

/// One command to run.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// Program, and the arguments that it gets.
    pub argv: Vec<String>,
    /// Added to the environment that every step has.
    pub env: BTreeMap<String, String>,
    /// Directory that it runs in.
    pub workdir: String,
    /// True if it asks for the network.
    pub network: bool,
}
