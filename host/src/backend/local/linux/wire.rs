//! What hm and the helper processes of one command tell each other: a [`Spec`] down, a [`Status`] up, each one
//! line of JSON on a unix socket. How either is acted upon is the business of those who read it.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The argument that makes hm a step's supervisor.
pub(super) const SUPERVISOR: &str = "__step-supervisor";
/// The argument that makes hm the first process of a sandbox.
pub(super) const INIT: &str = "__step-init";

/// No line is longer, in bytes. Linux takes no more than 6 MiB of arguments and environment either.
const LINE_MAX: u64 = 16 << 20;

/// One command and the place it runs in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) isolation: Isolation,
    /// None: set everything up, then stop. That is how we find out what a machine can do.
    pub(super) program: Option<Program>,
}

/// What keeps the command from the rest of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Isolation {
    Namespaces(Root),
    Landlock(Access),
}

/// The root directory of a command in namespaces of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Root {
    /// An empty directory to build the new root on. Nothing shows there outside of the namespace.
    pub(super) mount_point: PathBuf,
    /// Whether the host's network is there; otherwise just a loopback interface of its own.
    pub(super) network: bool,
    pub(super) workspace: Overlay,
    /// Paths of the host that are there, read-only, where they are on the host. None lies in another.
    pub(super) binds: Vec<PathBuf>,
    /// Shown as `/etc`.
    pub(super) etc: PathBuf,
    /// Symbolic links that lead to them: where, and what to.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// What within `binds` must not be readable.
    pub(super) hidden: Vec<PathBuf>,
    /// Shown writable as the home directory.
    pub(super) home: PathBuf,
    /// Shown as `/tmp`.
    pub(super) tmp: PathBuf,
}

/// The workspace of a command in namespaces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Overlay {
    /// Where the relative paths below begin: a mount's options have to fit one page, so they are kept short.
    pub(super) directory: PathBuf,
    /// Topmost first.
    pub(super) lower: Vec<PathBuf>,
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    pub(super) read_only: bool,
}

/// What a command may reach where Landlock is all there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Access {
    /// Read and execute, with everything below.
    pub(super) read: Vec<PathBuf>,
    /// List these directories, but not read what is in them.
    pub(super) list: Vec<PathBuf>,
    /// Everything, with everything below.
    pub(super) write: Vec<PathBuf>,
    pub(super) network: bool,
}

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Program {
    /// Not empty.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: BTreeMap<String, String>,
    pub(super) workdir: String,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Status {
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
pub(super) fn encode(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads one line; none at the end of the stream, whether or not a line had begun. A second line must not be on its
/// way already, or it is lost: whoever sends several waits for an answer in between.
///
/// # Errors
/// What reading says, and `InvalidData` for a line that is too long or not a message.
pub(super) fn read<T: DeserializeOwned>(from: impl Read) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let mut reader = io::BufReader::new(from).take(LINE_MAX);
    io::BufRead::read_until(&mut reader, b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return if reader.limit() == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
