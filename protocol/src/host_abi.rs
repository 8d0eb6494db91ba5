//! Arguments and results of host functions, one type for each function that takes more than one value.
//! Every value travels as JSON in a block of Extism memory; what the functions do is the host's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::executor::{ArchiveId, SnapshotRef};

/// Severity of a diagnostic line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever debugs the plugin.
    Trace,
    /// For whoever wonders what it does.
    Debug,
    /// Progress worth knowing of.
    Info,
    /// Something is odd, and the work goes on.
    Warn,
    /// Some part of the work failed.
    Error,
}

/// Life span of a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvScope {
    /// On disk, until the plugin is removed.
    Plugin,
    /// Until the build ends.
    Build,
    /// Until the step ends.
    Step,
}

/// An open unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SocketHandle(pub u64);

/// A loopback callback server; the number is its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LoopbackHandle(pub u64);

/// Meaning of an absent field, which 0.0.1 does not have.
fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_yes(value: &bool) -> bool {
    *value
}

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }
    )*};
}

args! {
    /// Arguments of `hm_archive_read`.
    ArchiveReadArgs {
        /// The archive to read from.
        id: ArchiveId,
        /// Offset of the first byte.
        offset: u64,
        /// Most bytes to read.
        max: u64,
    }
    /// Answer of `hm_loopback_recv` when the callback came.
    CallbackData {
        /// Path of the request's URL.
        path: String,
        /// Query of the request's URL, decoded.
        query: BTreeMap<String, String>,
    }
    /// Arguments of `hm_keyring_get` and `hm_keyring_delete`.
    KeyringArgs {
        /// Service that the secret is for.
        service: String,
        /// The account within it.
        account: String,
    }
    /// Arguments of `hm_keyring_set`.
    KeyringSetArgs {
        /// Service that the secret is for.
        service: String,
        /// The account within it.
        account: String,
        /// The secret to keep.
        secret: String,
    }
    /// Arguments of `hm_loopback_recv`.
    LoopbackRecvArgs {
        /// The server to wait at.
        h: LoopbackHandle,
        /// Longest wait, in milliseconds.
        timeout_ms: u32,
    }
    /// Arguments of `hm_socket_read`.
    SocketReadArgs {
        /// The socket to read from.
        h: SocketHandle,
        /// Most bytes to read.
        max: u64,
    }
    /// Arguments of `hm_socket_write`.
    SocketWriteArgs {
        /// The socket to write to.
        h: SocketHandle,
        /// The bytes to write.
        bytes: Vec<u8>,
    }
    /// Arguments of `hm_tty_confirm`.
    TtyConfirmArgs {
        /// The yes-or-no question.
        msg: String,
        /// The answer where there is no terminal, or for an empty line.
        default: bool,
    }
    /// Arguments of `hm_tty_prompt`.
    TtyPromptArgs {
        /// Text in front of the input.
        msg: String,
        /// True to hide what is typed.
        mask: bool,
    }
    /// Arguments of `hm_docker_start_container`.
    DockerStartArgs {
        /// The image to start from.
        image: String,
        /// Environment of the container's commands.
        env: BTreeMap<String, String>,
        /// Working directory of the container.
        workdir: String,
        /// Goes into its name, for people.
        name_hint: String,
        /// True to ask for the network; the user's policy may still say no.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        network: bool,
    }
    /// Arguments of `hm_docker_exec`.
    DockerExecArgs {
        /// The container to run it in.
        container_id: String,
        /// The program, and its arguments.
        cmd: Vec<String>,
        /// Variables added to the environment.
        env: BTreeMap<String, String>,
        /// Working directory of the program.
        workdir: String,
        /// An archive to feed to its standard input.
        stdin_archive_id: Option<ArchiveId>,
    }
    /// Arguments of `hm_docker_commit`.
    DockerCommitArgs {
        /// The container to commit.
        container_id: String,
        /// The image to make.
        tag: String,
    }
    /// For `hm_docker_artifacts`, which answers with what it has brought out, or with nothing where that does not
    /// work; why, is then in the step's logs.
    DockerArtifactsArgs {
        /// The container to bring out of.
        container_id: String,
        /// Files to bring out: patterns of paths in `workdir`, relative to it. A directory means all that is below it.
        paths: Vec<String>,
        /// Path of the workspace in the container.
        workdir: String,
    }
    /// Arguments of `hm_docker_extract_workspace`.
    DockerExtractArgs {
        /// The container to unpack in.
        container_id: String,
        /// The archive to unpack.
        archive_id: ArchiveId,
        /// Directory to unpack into.
        workdir: String,
    }
    /// Arguments of `hm_sandbox_start`, which answers with the sandbox's id.
    SandboxStartArgs {
        /// The source tree that a sandbox without a parent starts from.
        archive_id: ArchiveId,
        /// The state to start from instead.
        parent: Option<SnapshotRef>,
    }
    /// Arguments of `hm_sandbox_exec`, which answers with the exit code; output becomes step logs.
    SandboxExecArgs {
        /// The sandbox to run it in.
        sandbox_id: String,
        /// The program, and its arguments.
        cmd: Vec<String>,
        /// Added to the sandbox's own environment.
        env: BTreeMap<String, String>,
        /// Working directory of the program.
        workdir: String,
        /// True to ask for the network; the user's policy may still say no.
        network: bool,
    }
    /// For `hm_sandbox_artifacts`, which answers with what it has brought out, or with nothing where that does not
    /// work; why, is then in the step's logs.
    SandboxArtifactsArgs {
        /// The sandbox to bring out of.
        sandbox_id: String,
        /// Files to bring out: patterns of paths in the workspace, relative to it. A directory means all that is
        /// below it.
        paths: Vec<String>,
    }
    /// Arguments of `hm_sandbox_commit`, which answers with the snapshot.
    SandboxCommitArgs {
        /// The sandbox to commit.
        sandbox_id: String,
        /// The name to keep it under beyond this run: the one of the step's `CacheDecision::MissBuildAs`. The snapshot
        /// has another name where keeping it does not work.
        keep_as: Option<SnapshotRef>,
    }
}
