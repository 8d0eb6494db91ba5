//! Containers of a Docker Engine, or of what answers like one, on a project's files.
//!
//! A [`DockerBackend`] holds the containers and images of one run:
//!
//! - [`container`](DockerBackend::container) describes a container. The engine makes it when it is first needed.
//! - [`Container::put_project`] gives it the files of a [`Workspace`](hm_workspace::Workspace).
//! - [`Container::exec`] runs commands in it.
//! - [`Container::commit`] makes a snapshot of it that other containers can start from.
//!
//! A container is removed when nobody holds it any more, and everything else at the end of the run. If the program was
//! killed, the next run removes what is left.
//!
//! A snapshot can be kept for later runs ([`CachedImages`]). Those start from it on the project as it is *then*. The
//! engine tells what the steps have changed, so what has become different in the project can be put below that. If both
//! have changed the same, the snapshot is refused ([`SnapshotProblem`](hm_workspace::SnapshotProblem)).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use hm_docker::{Command, ContainerSpec, DockerBackend, DockerConfig, EngineEnv, Image, Limits};
//! use hm_workspace::{WORKSPACE, Workspace};
//! use tokio::sync::mpsc;
//! use uuid::Uuid;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let workspace = Arc::new(Workspace::new("/home/me/project".as_ref(), "/home/me/.cache/ci".as_ref()));
//! let config = DockerConfig {
//!     engine: EngineEnv { env: std::env::vars().collect(), home: Some("/home/me".into()) },
//!     cache: "/home/me/.cache/ci".into(),
//!     run_id: Uuid::new_v4(),
//!     network: false,
//!     limits: Limits::default(),
//! };
//! let docker = Arc::new(DockerBackend::new(config, workspace));
//! docker.connect().await?;
//! let spec = ContainerSpec {
//!     image: Image::Named("alpine:3".to_owned()),
//!     step: Uuid::new_v4(),
//!     env: Default::default(),
//!     workdir: WORKSPACE.to_owned(),
//!     hint: "test".to_owned(),
//!     network: false,
//!     keep: false,
//! };
//! let mut container = docker.container(spec).await?;
//! container.put_project(WORKSPACE).await?;
//! let argv = ["make", "test"].map(str::to_owned).to_vec();
//! let command = Command { argv, env: Default::default(), workdir: WORKSPACE.to_owned(), input: None };
//! let (output, mut chunks) = mpsc::channel(16);
//! let shown = async { while let Some((stream, bytes)) = chunks.recv().await { /* … */ } };
//! let (exit_code, ()) = tokio::join!(container.exec(command, output), shown);
//! assert_eq!(exit_code?, 0);
//! docker.close().await?;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod artifacts;
mod backend;
mod cached_images;
mod changes;
mod clear;
mod clock;
mod commit;
mod container;
mod container_spec;
mod context;
mod credentials;
mod endpoint;
mod engine;
mod engine_env;
mod error;
mod exec;
#[cfg(test)]
mod lab;
mod limits;
mod manifest;
mod names;
mod owner;
mod prepared_bases;
mod pull;
mod reap;
mod reference;
mod snapshot;
mod squash;
mod tar;
mod tls;
mod transport;
mod workspace;

pub use self::backend::{DockerBackend, DockerConfig};
pub use self::cached_images::CachedImages;
pub use self::clear::Cleared;
pub use self::container::Container;
pub use self::container_spec::ContainerSpec;
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::engine_env::EngineEnv;
pub use self::error::DockerError;
pub use self::exec::Command;
pub use self::limits::Limits;
pub use self::reference::check_image;
pub use self::snapshot::Image;
