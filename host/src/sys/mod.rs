//! Things that the process gets from the system: environment, folders, streams, cores. Only this module and `cli` ask
//! for it; everything else is handed what it needs.

mod sanitize;

pub use sanitize::{Sanitizer, printable};

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The environment and the places that follow from it.
#[derive(Debug, Clone)]
pub(crate) struct System {
    /// Environment variables; those that are not UTF-8 are left out.
    pub(crate) env: BTreeMap<String, String>,
    /// Directory in which the process was started.
    pub(crate) current_dir: PathBuf,
    /// Effective user ID of the process.
    pub user: u32,
    /// The user's home directory.
    pub(crate) home: Option<PathBuf>,
    /// `harmont` below `$XDG_CONFIG_HOME`, else `~/.config`.
    pub(crate) config: PathBuf,
    /// `harmont` below `$XDG_CACHE_HOME`, else `~/.cache`.
    pub(crate) cache: PathBuf,
    /// `harmont` below `$XDG_STATE_HOME`, else `~/.local/state`.
    pub(crate) state: PathBuf,
    /// This program, to be started again as a step's supervisor.
    pub(crate) program: PathBuf,
}

/// Error of a process that cannot know where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    /// The current directory is gone or cannot be read.
    #[error("cannot find the current directory")]
    CurrentDir(#[source] std::io::Error),
    /// Neither `HOME` nor the `XDG_*_HOME` variables say where files belong.
    #[error(
        "cannot tell where caches and configuration belong: neither HOME nor {0} is set to an absolute path"
    )]
    NoHome(&'static str),
}

impl System {
    /// Reads the environment and the current directory.
    ///
    /// # Errors
    /// [`SystemError`]
    pub(crate) fn read() -> Result<Self, SystemError> {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let current_dir = std::env::current_dir().map_err(SystemError::CurrentDir)?;
        let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let home = absolute("HOME");
        let place = |variable: &'static str, below_home: &str| {
            absolute(variable)
                .or_else(|| home.as_ref().map(|h| h.join(below_home)))
                .map(|p| p.join("harmont"))
                .ok_or(SystemError::NoHome(variable))
        };
        let (config, cache, state) = (
            place("XDG_CONFIG_HOME", ".config")?,
            place("XDG_CACHE_HOME", ".cache")?,
            place("XDG_STATE_HOME", ".local/state")?,
        );
        Ok(Self {
            user: rustix::process::geteuid().as_raw(),
            current_dir,
            home,
            config,
            cache,
            state,
            program: program(),
            env,
        })
    }
}

/// Everything that programs find on this machine apart from their files: its kind, its system, the place of its
/// programs.
#[must_use]
pub(crate) fn machine(env: &BTreeMap<String, String>) -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let path = env.get("PATH").map_or("", String::as_str);
    format!("{}\n{path}\n{release}", std::env::consts::ARCH)
}

/// This program, to be started again.
#[must_use]
pub(crate) fn program() -> PathBuf {
    // The link stays valid when the file is replaced while we run.
    PathBuf::from("/proc/self/exe")
}

/// Steps that run at once unless the user says otherwise.
#[must_use]
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
