//! Commands in sandboxes of their own, without root's rights, on copy-on-write layers of a project's files.
//!
//! A [`SandboxRun`] holds the sandboxes and the snapshots of one run:
//!
//! - [`start`](SandboxRun::start) makes a sandbox on the project or on a snapshot.
//! - [`exec`](SandboxRun::exec) runs commands in it.
//! - [`commit`](SandboxRun::commit) makes it a snapshot that other sandboxes can start from, side by side.
//!
//! Each sandbox writes into an overlay layer of its own, so neither copying nor cleaning up costs anything. A layer can
//! be kept for later runs ([`KeptLayers`]).
//!
//! A command sees the workspace at `/workspace`, a home directory and a `/tmp` of its own, and the machine's programs
//! read-only. It sees none of the machine's secrets, processes or sockets, and it has the network only if it is given
//! it. Where the kernel has no namespaces for ordinary users, Landlock and a copy of the workspace take their place.
//! [`notice`](SandboxRun::notice) then says what is lost.
//!
//! The namespaces are made in helper processes: the program's `main` begins with [`helper_main`].
//!
//! ```no_run
//! use std::{collections::BTreeMap, process::ExitCode, sync::Arc};
//!
//! use hm_step_sandbox::{ExecSpec, Mode, SandboxConfig, SandboxRun, helper_main};
//! use hm_workspace::{WORKSPACE, Workspace};
//! use tokio::sync::mpsc;
//!
//! fn main() -> ExitCode {
//!     helper_main(std::env::args_os()).unwrap_or_else(program)
//! }
//!
//! # fn program() -> ExitCode {
//! #     tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! #     ExitCode::SUCCESS
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let workspace = Arc::new(Workspace::new("/home/me/project".as_ref(), "/home/me/.cache/ci".as_ref()));
//! let config = SandboxConfig {
//!     helper: "/proc/self/exe".into(),
//!     run_id: uuid::Uuid::new_v4(),
//!     host_env: std::env::vars().collect(),
//!     home: Some("/home/me".into()),
//!     network: false,
//!     mode: Mode::Auto,
//! };
//! let run = SandboxRun::open(config, workspace).await?;
//! let sandbox = run.start(None).await?;
//! let command = ExecSpec {
//!     argv: ["make", "test"].map(str::to_owned).to_vec(),
//!     env: BTreeMap::new(),
//!     workdir: WORKSPACE.to_owned(),
//!     network: false,
//! };
//! let (output, mut chunks) = mpsc::channel(16);
//! let exec = run.exec(&sandbox, command, output);
//! let shown = async { while let Some((stream, bytes)) = chunks.recv().await { /* … */ } };
//! let (exit_code, ()) = tokio::join!(exec, shown);
//! assert_eq!(exit_code?, 0);
//! let snapshot = run.commit(&sandbox, None).await?;
//! run.close().await?;
//! # Ok(()) }
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!(
    "hm-step-sandbox is made of Linux's namespaces, overlays and Landlock; there is none of it elsewhere"
);

mod artifacts;
mod confine;
mod error;
mod exec;
mod init;
mod kept;
mod keyring;
mod layer_stack;
mod loopback;
mod merge;
mod process;
mod projects;
mod read_only;
mod root;
mod run;
mod run_directory;
mod sandbox_template;
mod shadowed;
mod supervisor;
mod tools;
mod view;
mod wire;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, process::ExitCode};

use hm_plugin_protocol::SnapshotRef;
use uuid::Uuid;

pub use self::{
    error::SandboxError,
    kept::KeptLayers,
    projects::{empty_trash, forget_vanished},
    run::SandboxRun,
};

/// The home directory of every step, kept per project. Without namespaces it is elsewhere; `HOME` always says where.
pub const HOME: &str = "/step";

/// Acts as one of the helper processes, if the arguments say so (the first is the program's name). Call it before
/// anything else in `main`: a helper must not have threads.
pub fn helper_main(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    match arguments.into_iter().nth(1)?.to_str()? {
        wire::SUPERVISOR => Some(supervisor::main()),
        wire::INIT => Some(init::main()),
        _ => None,
    }
}

/// Does work that waits for the disk, on a thread that may block.
async fn blocking<T: Send + 'static, E: Into<SandboxError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SandboxError> {
    hm_disk::blocking(work).await?.map_err(Into::into)
}

/// Changes of one step in the workspace, kept for later runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLayer {
    /// Tag of the layer.
    pub tag: SnapshotRef,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// Layer that it stands on; `None` if that is the project.
    pub below: Option<SnapshotRef>,
}

/// Things removed from the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Number of layers, or of directories of a project.
    pub layers: usize,
    /// Bytes that they took on the disk.
    pub bytes: u64,
}

/// Settings of a [`SandboxRun`].
#[derive(Clone)]
pub struct SandboxConfig {
    /// This program, or another whose `main` begins with [`helper_main`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_left_to_the_program() {
        for arguments in [&["hm"][..], &[], &["hm", "build"], &["__step-init"]] {
            assert!(helper_main(arguments.iter().map(OsString::from)).is_none(), "{arguments:?}");
        }
    }
}
