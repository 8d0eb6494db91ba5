//! Arguments and results of host functions, one type for each function that takes more than one value.
//! Every value travels as JSON in a block of Extism memory; what the functions do is the host's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::executor::{ArchiveId, SnapshotRef};

/// How important a diagnostic line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever debugs the plugin.
    Trace,
    /// For whoever wonders what it does.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// How long a stored value lives.
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

/// What 0.0.1, which has no such field, means.
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
    /// For `hm_archive_read`.
    ArchiveReadArgs {
        /// The archive.
        id: ArchiveId,
        /// Where to begin, in bytes.
        offset: u64,
        /// How many bytes at the most.
        max: u64,
    }
    /// What `hm_loopback_recv` answers when the callback came.
    CallbackData {
        /// The request's path.
        path: String,
        /// Its query, decoded.
        query: BTreeMap<String, String>,
    }
    /// For `hm_keyring_get` and `hm_keyring_delete`.
    KeyringArgs {
        /// The service.
        service: String,
        /// The account within it.
        account: String,
    }
    /// For `hm_keyring_set`.
    KeyringSetArgs {
        /// The service.
        service: String,
        /// The account within it.
        account: String,
        /// What to keep.
        secret: String,
    }
    /// For `hm_loopback_recv`.
    LoopbackRecvArgs {
        /// The server.
        h: LoopbackHandle,
        /// How long to wait, in milliseconds.
        timeout_ms: u32,
    }
    /// For `hm_socket_read`.
    SocketReadArgs {
        /// The socket.
        h: SocketHandle,
        /// How many bytes at the most.
        max: u64,
    }
    /// For `hm_socket_write`.
    SocketWriteArgs {
        /// The socket.
        h: SocketHandle,
        /// What to write.
        bytes: Vec<u8>,
    }
    /// For `hm_tty_confirm`.
    TtyConfirmArgs {
        /// The question.
        msg: String,
        /// The answer where there is no terminal, or for an empty line.
        default: bool,
    }
    /// For `hm_tty_prompt`.
    TtyPromptArgs {
        /// The question.
        msg: String,
        /// Whether what is typed stays hidden.
        mask: bool,
    }
    /// For `hm_docker_start_container`.
    DockerStartArgs {
        /// The image.
        image: String,
        /// The container's environment.
        env: BTreeMap<String, String>,
        /// Its working directory.
        workdir: String,
        /// Goes into its name, for people.
        name_hint: String,
        /// Whether it asks for the network; the user's policy may still say no.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        network: bool,
    }
    /// For `hm_docker_exec`.
    DockerExecArgs {
        /// The container.
        container_id: String,
        /// Program and arguments.
        cmd: Vec<String>,
        /// Added to the environment.
        env: BTreeMap<String, String>,
        /// Where it runs.
        workdir: String,
        /// An archive to feed to its standard input.
        stdin_archive_id: Option<ArchiveId>,
    }
    /// For `hm_docker_commit`.
    DockerCommitArgs {
        /// The container.
        container_id: String,
        /// The image to make.
        tag: String,
    }
    /// For `hm_docker_artifacts`, which answers with what it has brought out, or with nothing where that does not work; why, is
    /// then in the step's logs.
    DockerArtifactsArgs {
        /// The container.
        container_id: String,
        /// What to bring out: patterns of paths in `workdir`, relative to it. A directory means all that is below it.
        paths: Vec<String>,
        /// Where the workspace is.
        workdir: String,
    }
    /// For `hm_docker_extract_workspace`.
    DockerExtractArgs {
        /// The container.
        container_id: String,
        /// The archive to unpack.
        archive_id: ArchiveId,
        /// Where to.
        workdir: String,
    }
    /// For `hm_sandbox_start`, which answers with the sandbox's id.
    SandboxStartArgs {
        /// The source tree that a sandbox without a parent starts from.
        archive_id: ArchiveId,
        /// The state to start from instead.
        parent: Option<SnapshotRef>,
    }
    /// For `hm_sandbox_exec`, which answers with the exit code; output becomes step logs.
    SandboxExecArgs {
        /// The sandbox.
        sandbox_id: String,
        /// Program and arguments.
        cmd: Vec<String>,
        /// Added to the sandbox's own environment.
        env: BTreeMap<String, String>,
        /// Where it runs.
        workdir: String,
        /// Whether it asks for the network; the user's policy may still say no.
        network: bool,
    }
    /// For `hm_sandbox_artifacts`, which answers with what it has brought out, or with nothing where that does not work; why, is
    /// then in the step's logs.
    SandboxArtifactsArgs {
        /// The sandbox.
        sandbox_id: String,
        /// What to bring out: patterns of paths in the workspace, relative to it. A directory means all that is below it.
        paths: Vec<String>,
    }
    /// For `hm_sandbox_commit`, which answers with the snapshot.
    SandboxCommitArgs {
        /// The sandbox.
        sandbox_id: String,
        /// The name to keep it under beyond this run: the one of the step's `CacheDecision::MissBuildAs`. The snapshot
        /// has another name where keeping it does not work.
        keep_as: Option<SnapshotRef>,
    }
}
