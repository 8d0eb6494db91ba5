//! Messages between hm and the helper processes of one command: a [`Spec`] down, a [`Status`] up, each one
//! line of JSON on a unix socket. How either is acted upon is the business of those who read it.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The argument that makes hm a step's supervisor.
pub(crate) const SUPERVISOR: &str = "__step-supervisor";
/// The argument that makes hm the first process of a sandbox.
pub(crate) const INIT: &str = "__step-init";

/// No line is longer, in bytes. Linux takes no more than 6 MiB of arguments and environment either.
const LINE_MAX: u64 = 16 << 20;

/// One command and the place it runs in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) isolation: Isolation,
    /// None: set everything up, then stop. That is how we find out what a machine can do.
    pub(crate) program: Option<Program>,
}

/// Wall between the command and the rest of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Isolation {
    Namespaces(Root),
    Landlock(Access),
}

/// The root directory of a command in namespaces of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Root {
    /// An empty directory to build the new root on. Nothing shows there outside of the namespace.
    pub(crate) mount_point: PathBuf,
    /// True if the host's network is there; otherwise just a loopback interface of its own.
    pub(crate) network: bool,
    pub(crate) workspace: Overlay,
    /// Paths of the host that are there, read-only, where they are on the host. None lies in another.
    pub(crate) binds: Vec<PathBuf>,
    /// Directory that is shown as `/etc`.
    pub(crate) etc: PathBuf,
    /// Symbolic links that lead to them: where, and what to.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Paths within `binds` that must not be readable.
    pub(crate) hidden: Vec<PathBuf>,
    /// Shown writable as the home directory.
    pub(crate) home: PathBuf,
    /// Directory that is shown as `/tmp`.
    pub(crate) tmp: PathBuf,
}

/// The workspace of a command in namespaces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Overlay {
    /// Beginning of the relative paths below: a mount's options have to fit one page, so they are kept short.
    pub(crate) directory: PathBuf,
    /// Trees that are only read, topmost first.
    pub(crate) lower: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) read_only: bool,
}

/// Paths that a command may reach where Landlock is all there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    /// Read and execute, with everything below.
    pub(crate) read: Vec<PathBuf>,
    /// List these directories, but not read what is in them.
    pub(crate) list: Vec<PathBuf>,
    /// Everything, with everything below.
    pub(crate) write: Vec<PathBuf>,
    pub(crate) network: bool,
}

/// Program to be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Program and arguments; never empty.
    pub(crate) argv: Vec<String>,
    /// Environment, in full.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) workdir: String,
}

/// Outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    /// The command ran; 128 + n for one that signal n ended.
    Exit(i32),
    /// The place for it could not be made.
    Setup(String),
    /// It could not be started there.
    Command(String),
}

/// One line, its newline included.
///
/// # Errors
/// A path that is not UTF-8.
pub(crate) fn encode(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads one line; none at the end of the stream, whether or not a line had begun. A second line must not be on its
/// way already, or it is lost: whoever sends several waits for an answer in between.
///
/// # Errors
/// Reading fails, or `InvalidData` for a line that is too long or not a message.
pub(crate) fn read<T: DeserializeOwned>(from: impl Read) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let mut reader = io::BufReader::new(from).take(LINE_MAX);
    io::BufRead::read_until(&mut reader, b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return if reader.limit() == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
