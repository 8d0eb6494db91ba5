//! Commands in sandboxes of their own, without root's rights, on copy-on-write layers of a project's files.
//!
//! A [`SandboxRun`] holds the sandboxes and the snapshots of one run:
//!
//! - [`start`](SandboxRun::start) makes a sandbox on the project or on a snapshot.
//! - [`exec`](SandboxRun::exec) runs commands in it.
//! - [`commit`](SandboxRun::commit) makes it a snapshot that other sandboxes can start from, side by side.
//!
//! Each sandbox writes into an overlay layer of its own, so neither copying nor cleaning up costs anything. A layer can
//! be kept for later runs ([`CachedLayers`]).
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
mod cached_layers;
mod config;
mod confine;
mod error;
mod exec;
mod init;
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
mod snapshots;
mod supervisor;
mod tools;
mod view;
mod wire;

use std::{ffi::OsString, process::ExitCode};

pub use self::{
    cached_layers::{CachedLayer, CachedLayers, Removed},
    config::{ExecSpec, HOME, Mode, SandboxConfig},
    error::SandboxError,
    projects::{empty_trash, forget_vanished},
    run::SandboxRun,
};

/// Acts as one of the helper processes, if the arguments say so (the first is the program's name). Call it before
/// anything else in `main`: a helper must not have threads.
pub fn helper_main(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    match arguments.into_iter().nth(1)?.to_str()? {
        wire::SUPERVISOR => Some(supervisor::main()),
        wire::INIT => Some(init::main()),
        _ => None,
    }
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
