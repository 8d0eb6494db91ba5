//! Containers of a Docker Engine, or of what answers like one, on a project's files.
//!
//! A [`DockerBackend`] holds the containers and images of one run:
//!
//! - [`container`](DockerBackend::container) describes a container. The engine makes it when it is first needed.
//! - [`Container::put_project`] gives it the files of a [`Workspace`].
//! - [`Container::exec`] runs commands in it.
//! - [`Container::commit`] makes a snapshot of it that other containers can start from.
//!
//! A container is removed when nobody holds it any more, and everything else at the end of the run. If the program was
//! killed, the next run removes what is left.
//!
//! A snapshot can be kept for later runs ([`KeptImages`]). Those start from it on the project as it is *then*. The
//! engine tells what the steps have changed, so the project's own changes since can be put below that. If both have
//! changed the same path, the snapshot is refused ([`SnapshotProblem`]).
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
mod changes;
mod clock;
mod commit;
mod container;
mod context;
mod credentials;
mod endpoint;
mod engine;
mod error;
mod exec;
mod kept;
#[cfg(test)]
mod lab;
mod limits;
mod manifest;
mod owner;
mod pull;
mod reap;
mod reference;
mod squash;
mod tar;
mod tls;
mod transport;
mod workspace;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hm_disk::blocking;
use hm_workspace::{CACHE_TAG_PREFIX, SnapshotProblem, Workspace};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::changes::Changes;
pub use self::container::{Container, ContainerSpec};
pub use self::endpoint::{Endpoint, EndpointError, EngineEnv};
use self::engine::Engine;
pub use self::error::DockerError;
pub use self::exec::Command;
pub use self::kept::{Cleared, KeptImages};
pub use self::limits::Limits;
use self::manifest::Manifest;
pub use self::reference::check_image;
use self::workspace::PreparedBases;

/// The repository of the images of a run. The tag says whose they are.
const OF_RUN: &str = "hm-run";

/// Label that names whoever made a container.
const LABEL_OWNER: &str = "dev.harmont.hm.owner";

/// Label that names the run of a container or an image.
const LABEL_RUN: &str = "dev.harmont.hm.run";

/// Label that names the step of a container or an image.
const LABEL_STEP: &str = "dev.harmont.hm.step";

/// Label of every image that holds a snapshot.
const LABEL_STATE: &str = "dev.harmont.hm.state";

/// Label that names the cache that an image is kept for.
const LABEL_CACHE: &str = "dev.harmont.hm.cache";

/// Time that a build waits, at its end, for containers and images to be removed.
const CLOSING: Duration = Duration::from_secs(60);

/// Settings of a [`DockerBackend`].
#[derive(Clone)]
pub struct DockerConfig {
    /// Environment in which the engine is looked for.
    pub engine: EngineEnv,
    /// Directory for the records of what is kept.
    pub cache: PathBuf,
    /// Id of the run; no two runs at the same time have the same.
    pub run_id: Uuid,
    /// True if any step may have the network.
    pub network: bool,
    /// Ceilings of each container.
    pub limits: Limits,
}

/// The containers and images of one run. No engine is asked for anything before it is needed.
pub struct DockerBackend {
    config: DockerConfig,
    workspace: Arc<Workspace>,
    kept: KeptImages,
    engine: OnceCell<Engine>,
    /// The project's files, as every container gets them.
    project: OnceCell<PathBuf>,
    manifest: OnceCell<Arc<Manifest>>,
    bases: PreparedBases,
    state: Mutex<RunState>,
    /// Work that only `close` waits for, such as removing containers.
    endings: Mutex<JoinSet<()>>,
    /// First reason why something could not be kept.
    trouble: OnceLock<String>,
}

/// Origin of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Snapshot that a step has saved, by its tag. Never an image of the engine, even if that is called the same.
    Snapshot(String),
    /// An image of the engine, by its name. Never a snapshot.
    Named(String),
}

impl Image {
    fn name(&self) -> &str {
        match self {
            Self::Snapshot(name) | Self::Named(name) => name,
        }
    }
}

#[derive(Default)]
struct RunState {
    /// Snapshots that steps have saved, by their tags.
    snapshots: HashMap<String, Snapshot>,
    /// Number of the next container or image.
    number: u32,
}

/// A snapshot that containers can start from.
#[derive(Debug, Clone)]
struct Snapshot {
    /// Image on the engine.
    image: String,
    /// User of commands in it, if its makers named one.
    user: Option<String>,
    /// Directories whose content is not part of what is saved.
    volumes: Vec<String>,
    lineage: Arc<Lineage>,
}

/// Knowledge of a snapshot's workspace.
#[derive(Debug)]
struct Lineage {
    /// The image that it all began with, by name and by id.
    base: (String, String),
    workdir: String,
    files: ProjectFiles,
    /// Changes that steps have made since; `None` if they are not known.
    changes: Option<Changes>,
}

/// The project's files in a workspace.
#[derive(Debug)]
enum ProjectFiles {
    /// The workspace has none of them.
    Absent,
    /// It has them as they are in this run.
    Current,
    /// It has them as they were in another run.
    Stale(Manifest),
}

impl DockerBackend {
    /// Prepares a run. It asks no engine for anything, and reads no file of the project.
    #[must_use]
    pub fn new(config: DockerConfig, workspace: Arc<Workspace>) -> Self {
        Self {
            kept: KeptImages::open(&config.cache),
            config,
            workspace,
            engine: OnceCell::new(),
            project: OnceCell::new(),
            manifest: OnceCell::new(),
            bases: PreparedBases::default(),
            state: Mutex::default(),
            endings: Mutex::default(),
            trouble: OnceLock::new(),
        }
    }

    /// Finds the engine, unless that is done already, and begins to remove, in the background, what dead runs have left
    /// there.
    ///
    /// # Errors
    /// No engine answers.
    pub async fn connect(&self) -> Result<(), DockerError> {
        self.engine().await.map(|_| ())
    }

    /// True if there is such an image or snapshot. A kept snapshot counts if a step can start from it on the project as
    /// it is now.
    ///
    /// # Errors
    /// The engine cannot be asked, or the project cannot be read.
    pub async fn has(&self, image: &Image) -> Result<bool, DockerError> {
        match image {
            Image::Snapshot(tag) => Ok(self.lacks(tag).await?.is_none()),
            Image::Named(name) => Ok(self.engine().await?.named(name).await?.is_some()),
        }
    }

    /// Reason why no step can start from a snapshot; `None` if one can.
    async fn lacks(&self, tag: &str) -> Result<Option<SnapshotProblem>, DockerError> {
        let is_known = self.state().snapshots.contains_key(tag);
        match tag.starts_with(CACHE_TAG_PREFIX) {
            _ if is_known => Ok(None),
            true => self.take_kept(tag).await,
            false => Ok(Some(SnapshotProblem::Gone)),
        }
    }

    /// Pulls an image. Its progress goes to `lines`.
    ///
    /// # Errors
    /// The engine cannot pull it.
    pub async fn pull(&self, image: &str, lines: mpsc::Sender<String>) -> Result<(), DockerError> {
        let engine = self.engine().await?;
        Ok(pull::pull(&engine.docker, &self.config.engine, image, lines).await?)
    }

    /// Removes a snapshot that a step has saved.
    ///
    /// # Errors
    /// The engine cannot remove it.
    pub async fn forget(&self, tag: &str) -> Result<(), DockerError> {
        let known = self.state().snapshots.remove(tag);
        match known {
            Some(snapshot) => self.engine().await?.remove_image(&snapshot.image).await,
            None => Ok(()),
        }
    }

    /// First reason why something that was to be kept is not, for people.
    #[must_use]
    pub fn not_kept(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// Removes every container and every image of the run, except those that are kept.
    ///
    /// # Errors
    /// Something cannot be removed. The next run will try again.
    pub async fn close(&self) -> Result<(), DockerError> {
        let Some(engine) = self.engine.get() else { return Ok(()) };
        let closing = async {
            let mut endings = std::mem::take(&mut *self.endings.lock());
            while endings.join_next().await.is_some() {}
            self.state().snapshots.clear();
            engine.remove_all_of(&self.config.run_id).await
        };
        match tokio::time::timeout(CLOSING, closing).await {
            Ok(closed) => closed,
            Err(_) => Err(DockerError::Refused {
                what: "remove what this build has made".into(),
                message: format!("it has not come to an end within {} s", CLOSING.as_secs()),
            }),
        }
    }

    async fn engine(&self) -> Result<&Engine, DockerError> {
        let connect = async {
            let engine = Engine::connect(&self.config.engine, &self.kept).await?;
            let abandoned = engine.clone();
            self.in_background(async move {
                // The next run tries again.
                let _ = abandoned.remove_abandoned().await;
            });
            Ok(engine)
        };
        self.engine.get_or_try_init(|| connect).await
    }

    /// The project's files, as every container of this run gets them.
    async fn project(&self) -> Result<&Path, DockerError> {
        let tree = async {
            let tree = self.workspace.tree().await?.to_owned();
            let read = tree.clone();
            let marked = blocking(move || manifest::marked(&read)).await?;
            marked?.map_or(Ok(tree), |path| Err(DockerError::Marked(path)))
        };
        self.project.get_or_try_init(|| tree).await.map(PathBuf::as_path)
    }

    /// Manifest of those files.
    async fn manifest(&self) -> Result<&Arc<Manifest>, DockerError> {
        let read = async {
            let tree = self.project().await?.to_owned();
            let manifest = blocking(move || Manifest::of(&tree)).await?;
            Ok(Arc::new(manifest?))
        };
        self.manifest.get_or_try_init(|| read).await
    }

    fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock()
    }

    fn number(&self) -> u32 {
        let mut state = self.state();
        state.number = state.number.wrapping_add(1);
        state.number
    }

    /// Does something that only [`Self::close`] waits for.
    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut endings = self.endings.lock();
        // Work that has ended need not be remembered.
        while endings.try_join_next().is_some() {}
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            endings.spawn_on(work, &runtime);
        }
    }

    /// Does something on the engine that must not be left halfway. If its caller stops waiting for it, the end of the
    /// run waits.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DockerError> {
        let (sender, done) = oneshot::channel();
        self.in_background(async move {
            // Nobody may be there to hear of it any more.
            let _ = sender.send(work.await);
        });
        done.await.map_err(|_| DockerError::Stopped)
    }

    /// Snapshot that a name means: one that a step has saved, or else an image of the engine.
    async fn snapshot(&self, image: &Image) -> Result<Snapshot, DockerError> {
        let missing = || DockerError::NoImage(image.name().to_owned());
        let name = match image {
            Image::Snapshot(tag) => return self.state().snapshots.get(tag).cloned().ok_or_else(missing),
            Image::Named(name) => name,
        };
        let found = self.engine().await?.named(name).await?.ok_or_else(missing)?;
        let id = found.id.ok_or_else(missing)?;
        let config = found.config.unwrap_or_default();
        let volumes = config.volumes.unwrap_or_default();
        let user = config.user.filter(|user| !user.is_empty());
        let lineage = Lineage {
            base: (name.clone(), id.clone()),
            workdir: String::new(),
            files: ProjectFiles::Absent,
            changes: Some(Changes::default()),
        };
        Ok(Snapshot { image: id, user, volumes, lineage: Arc::new(lineage) })
    }

    /// The name that a snapshot of this run gets on the engine.
    fn run_tag(&self, engine: &Engine) -> String {
        format!("{}.{}-{}", engine.owner, short(&self.config.run_id), self.number())
    }
}

/// The beginning of a run's id.
fn short(run: &Uuid) -> String {
    run.simple().to_string().chars().take(8).collect()
}
