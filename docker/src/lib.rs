//! Containers and images of a Docker Engine, or of what answers like one: those of one run, and what is kept of them for later
//! ones. Which step runs in which, and whether it may, is decided above.

mod artifacts;
mod changes;
mod clock;
mod container;
mod context;
mod credentials;
mod endpoint;
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
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ImageInspect;
use chrono::Utc;
use hm_disk::blocking;
use hm_workspace::{CACHE_TAG_PREFIX, SnapshotProblem, Workspace};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::changes::Changes;
use self::clock::Clock;
pub use self::container::{Container, ContainerSpec};
pub use self::endpoint::{Endpoint, EndpointError, EngineEnv};
pub use self::error::DockerError;
use self::error::is_missing;
pub use self::exec::Command;
pub use self::kept::{Cleared, KeptImages};
pub use self::limits::Limits;
use self::manifest::Manifest;
use self::owner::Owner;
pub use self::reference::check_image;
use self::workspace::PreparedBases;

/// The repository of the images of a run. The tag says whose they are.
const OF_RUN: &str = "hm-run";

/// What the engine calls whoever made a container.
const LABEL_OWNER: &str = "dev.harmont.hm.owner";

/// What the engine calls the run that a container or an image is of.
const LABEL_RUN: &str = "dev.harmont.hm.run";

/// What the engine calls the step that a container or an image is of.
const LABEL_STEP: &str = "dev.harmont.hm.step";

/// What the engine calls every image that is a state of ours.
const LABEL_STATE: &str = "dev.harmont.hm.state";

/// What the engine calls the cache that an image is kept for.
const LABEL_CACHE: &str = "dev.harmont.hm.cache";

/// How long a build waits at its end for what has to be removed.
const CLOSING: Duration = Duration::from_secs(60);

/// What a [`DockerBackend`] has to know.
#[derive(Clone)]
pub struct DockerConfig {
    /// How to find the engine.
    pub engine: EngineEnv,
    /// Where it is written down what is kept.
    pub cache: PathBuf,
    /// The run; no two at a time have the same.
    pub run_id: Uuid,
    /// Whether any step may have the network.
    pub network: bool,
    /// What a container may use.
    pub limits: Limits,
}

/// The containers and images of one run. Nothing is asked of an engine before something is needed.
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
    /// Containers on their way out.
    endings: Mutex<JoinSet<()>>,
    /// Why something could not be kept, the first time.
    trouble: OnceLock<String>,
}

/// What a container can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// What a step has saved, by what it calls it; no image of the engine, whatever that is called.
    State(String),
    /// An image of the engine, and no state.
    Named(String),
}

impl Image {
    fn name(&self) -> &str {
        match self {
            Self::State(name) | Self::Named(name) => name,
        }
    }
}

/// An engine that answers.
#[derive(Clone)]
struct Engine {
    docker: Docker,
    endpoint: Endpoint,
    /// Its own name for itself.
    id: String,
    has_init: bool,
    /// How many processors it has.
    cpus: Option<i64>,
    clock: Clock,
    owner: Owner,
}

#[derive(Default)]
struct RunState {
    /// What steps have saved, by what they call it.
    snapshots: HashMap<String, Snapshot>,
    /// The next container's or image's.
    number: u32,
}

/// A state that containers can start from.
#[derive(Debug, Clone)]
struct Snapshot {
    /// What the engine calls it.
    image: String,
    /// Who commands in it run as, if its makers said so.
    user: Option<String>,
    /// Directories whose content is not part of what is saved.
    volumes: Vec<String>,
    lineage: Arc<Lineage>,
}

/// What is known of a state's workspace.
#[derive(Debug)]
struct Lineage {
    /// The image that it all began with, by name and by id.
    base: (String, String),
    workdir: String,
    files: ProjectFiles,
    /// What steps have changed since; none if that is not known.
    changes: Option<Changes>,
}

/// The project's files in a workspace.
#[derive(Debug)]
enum ProjectFiles {
    /// None of them.
    Absent,
    /// As they are in this run.
    Current,
    /// As they were in another run.
    Stale(Manifest),
}

impl DockerBackend {
    /// Prepares a run. No engine is asked for anything, and no file of the project read.
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

    /// Finds the engine, unless that has happened, and has removed in the background what is left there of runs that are no more.
    ///
    /// # Errors
    /// There is none that answers.
    pub async fn connect(&self) -> Result<(), DockerError> {
        self.engine().await.map(|_| ())
    }

    /// Whether there is an image or a state: of a kept one, whether a step can start from it on the project as it is now.
    ///
    /// # Errors
    /// The engine cannot be asked, or the project cannot be read.
    pub async fn has(&self, image: &Image) -> Result<bool, DockerError> {
        match image {
            Image::State(tag) => Ok(self.lacks(tag).await?.is_none()),
            Image::Named(name) => Ok(self.engine().await?.named(name).await?.is_some()),
        }
    }

    /// Why no step can start from a state, if that is so.
    async fn lacks(&self, tag: &str) -> Result<Option<SnapshotProblem>, DockerError> {
        let is_known = self.state().snapshots.contains_key(tag);
        match tag.starts_with(CACHE_TAG_PREFIX) {
            _ if is_known => Ok(None),
            true => self.take_kept(tag).await,
            false => Ok(Some(SnapshotProblem::Gone)),
        }
    }

    /// Pulls an image; what is to be said meanwhile goes to `lines`.
    ///
    /// # Errors
    /// The engine does not get it.
    pub async fn pull(&self, image: &str, lines: mpsc::Sender<String>) -> Result<(), DockerError> {
        let engine = self.engine().await?;
        Ok(pull::pull(&engine.docker, &self.config.engine, image, lines).await?)
    }

    /// Forgets what a step has saved.
    ///
    /// # Errors
    /// The engine does not remove it.
    pub async fn forget(&self, tag: &str) -> Result<(), DockerError> {
        let known = self.state().snapshots.remove(tag);
        match known {
            Some(snapshot) => self.engine().await?.remove_image(&snapshot.image).await,
            None => Ok(()),
        }
    }

    /// Why something that was to be kept is not, if that has happened; for people.
    #[must_use]
    pub fn not_kept(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }

    /// Removes every container and every image of the run, but for those that are kept.
    ///
    /// # Errors
    /// Something cannot be removed. The next run will try again.
    pub async fn close(&self) -> Result<(), DockerError> {
        let Some(engine) = self.engine.get() else { return Ok(()) };
        let closing = async {
            let mut endings =
                std::mem::take(&mut *self.endings.lock().unwrap_or_else(PoisonError::into_inner));
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

    /// What is in them.
    async fn manifest(&self) -> Result<&Arc<Manifest>, DockerError> {
        let read = async {
            let tree = self.project().await?.to_owned();
            let manifest = blocking(move || Manifest::of(&tree)).await?;
            Ok(Arc::new(manifest?))
        };
        self.manifest.get_or_try_init(|| read).await
    }

    fn state(&self) -> MutexGuard<'_, RunState> {
        // Nothing panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u32 {
        let mut state = self.state();
        state.number = state.number.wrapping_add(1);
        state.number
    }

    /// Does something that nobody waits for but [`Self::close`].
    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut endings = self.endings.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended need not be remembered.
        while endings.try_join_next().is_some() {}
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            endings.spawn_on(work, &runtime);
        }
    }

    /// Does something on the engine that must not be left halfway, and that is waited for at the end of the run if nobody does now.
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

    /// What a name means: a state that a step has saved, or else an image of the engine.
    async fn snapshot(&self, image: &Image) -> Result<Snapshot, DockerError> {
        let missing = || DockerError::NoImage(image.name().to_owned());
        let name = match image {
            Image::State(tag) => return self.state().snapshots.get(tag).cloned().ok_or_else(missing),
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

    /// The name that a state of this run gets on the engine.
    fn run_tag(&self, engine: &Engine) -> String {
        format!("{}.{}-{}", engine.owner, short(&self.config.run_id), self.number())
    }
}

impl Engine {
    /// Finds an engine, to be used on behalf of a cache.
    async fn connect(env: &EngineEnv, kept: &KeptImages) -> Result<Self, DockerError> {
        let (endpoint, docker) = endpoint::connect(env).await?;
        let before = Utc::now();
        let (info, version) = endpoint::about(&docker, &endpoint, endpoint::ABOUT).await?;
        let clock = Clock::of(before, info.system_time.as_deref(), Utc::now());
        let cache = kept.id().map_err(DockerError::io("write to the cache"))?;
        let owner = Owner::this(&cache).map_err(DockerError::io("find out who this process is"))?;
        let has_init = info.init_binary.is_some_and(|name| !name.is_empty());
        // Podman has another id each time that it is asked.
        let is_podman = version.components.iter().flatten().any(|part| part.name.starts_with("Podman"));
        let place = format!("{} {}", info.name.unwrap_or_default(), info.docker_root_dir.unwrap_or_default());
        let id = info.id.filter(|_| !is_podman).unwrap_or(place);
        Ok(Self { docker, endpoint, id, has_init, cpus: info.ncpu, clock, owner })
    }

    /// What the engine says of an image; none if it has no such image.
    async fn image(&self, name: &str) -> Result<Option<ImageInspect>, DockerError> {
        match self.docker.inspect_image(name).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => found.map(Some).map_err(self.failed(format!("look for the image `{name}`"))),
        }
    }

    /// The same, of an image that is really called this: engines take the beginning of any id for a name. What a step has saved is not
    /// for whoever finds out what it is called.
    async fn named(&self, name: &str) -> Result<Option<ImageInspect>, DockerError> {
        if !reference::is_name(name) {
            return Ok(None);
        }
        let is_called = |image: &ImageInspect| {
            let names = image.repo_tags.iter().chain(&image.repo_digests).flatten();
            let is_state = image.config.as_ref().and_then(|config| config.labels.as_ref());
            let is_state = is_state.is_some_and(|labels| labels.contains_key(LABEL_STATE));
            !is_state && image.id.as_deref() == Some(name)
                || names.into_iter().any(|own| reference::is_same(name, own))
        };
        Ok(self.image(name).await?.filter(is_called))
    }

    /// For `map_err`: what could not be done here.
    fn failed(&self, what: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> DockerError {
        DockerError::engine(&self.endpoint.url, what)
    }
}

/// The beginning of a run's id.
fn short(run: &Uuid) -> String {
    run.simple().to_string().chars().take(8).collect()
}
