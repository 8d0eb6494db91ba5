//! The containers and images of one run: the engine, which is looked for when it is first needed, the project's files
//! as all containers get them, and the end of it all.

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

use crate::cached_images::CachedImages;
use crate::changes::Changes;
use crate::engine::Engine;
use crate::engine_env::EngineEnv;
use crate::error::DockerError;
use crate::limits::Limits;
use crate::manifest::{self, Manifest};
use crate::names::short;
use crate::prepared_bases::PreparedBases;
use crate::pull;
use crate::snapshot::{Image, Lineage, ProjectFiles, Snapshot};

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
    pub(crate) config: DockerConfig,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) kept: CachedImages,
    pub(crate) engine: OnceCell<Engine>,
    /// The project's files, as every container gets them.
    pub(crate) project: OnceCell<PathBuf>,
    pub(crate) manifest: OnceCell<Arc<Manifest>>,
    pub(crate) bases: PreparedBases,
    pub(crate) state: Mutex<RunState>,
    /// Work that only `close` waits for, such as removing containers.
    pub(crate) endings: Mutex<JoinSet<()>>,
    /// First reason why something could not be kept.
    pub(crate) trouble: OnceLock<String>,
}

/// The snapshots that there are at a moment.
#[derive(Default)]
pub(crate) struct RunState {
    /// Snapshots that steps have saved, by their tags.
    pub(crate) snapshots: HashMap<String, Snapshot>,
    /// Number of the next container or image.
    pub(crate) number: u32,
}

impl DockerBackend {
    /// Prepares a run. It asks no engine for anything, and reads no file of the project.
    #[must_use]
    pub fn new(config: DockerConfig, workspace: Arc<Workspace>) -> Self {
        Self {
            kept: CachedImages::open(&config.cache),
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

    /// Finds the engine, unless that has happened, and has removed in the background what is left there of runs that
    /// are no more.
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
    pub(crate) async fn lacks(&self, tag: &str) -> Result<Option<SnapshotProblem>, DockerError> {
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

    pub(crate) async fn engine(&self) -> Result<&Engine, DockerError> {
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
    pub(crate) async fn project(&self) -> Result<&Path, DockerError> {
        let tree = async {
            let tree = self.workspace.tree().await?.to_owned();
            let read = tree.clone();
            let marked = blocking(move || manifest::marked(&read)).await?;
            marked?.map_or(Ok(tree), |path| Err(DockerError::Marked(path)))
        };
        self.project.get_or_try_init(|| tree).await.map(PathBuf::as_path)
    }

    /// Manifest of those files.
    pub(crate) async fn manifest(&self) -> Result<&Arc<Manifest>, DockerError> {
        let read = async {
            let tree = self.project().await?.to_owned();
            let manifest = blocking(move || Manifest::of(&tree)).await?;
            Ok(Arc::new(manifest?))
        };
        self.manifest.get_or_try_init(|| read).await
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock()
    }

    pub(crate) fn number(&self) -> u32 {
        let mut state = self.state();
        state.number = state.number.wrapping_add(1);
        state.number
    }

    /// Does something that only [`Self::close`] waits for.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut endings = self.endings.lock();
        // Work that has ended need not be remembered.
        while endings.try_join_next().is_some() {}
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            endings.spawn_on(work, &runtime);
        }
    }

    /// Does something on the engine that must not be left halfway, and that is waited for at the end of the run if
    /// nobody does now.
    pub(crate) async fn to_the_end<T: Send + 'static>(
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
    pub(crate) async fn snapshot(&self, image: &Image) -> Result<Snapshot, DockerError> {
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
    pub(crate) fn run_tag(&self, engine: &Engine) -> String {
        format!("{}.{}-{}", engine.owner, short(&self.config.run_id), self.number())
    }
}
