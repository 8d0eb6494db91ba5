//! A container of one step: made when it is needed, alive as long as this process, and gone when the step is over.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::container::AttachContainerResults;
use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use hm_workspace::artifacts::Collected;
use tokio::io::AsyncWrite;

use crate::artifacts;
use crate::backend::DockerBackend;
use crate::container_spec::ContainerSpec;
use crate::engine::Engine;
use crate::error::{DockerError, is_missing, status};
use crate::names::{LABEL_OWNER, LABEL_RUN, LABEL_STEP, short};
use crate::snapshot::{Lineage, ProjectFiles, Snapshot};
use crate::workspace::WorkspaceDelta;

/// Script of the container's own process: it waits until nobody holds its standard input any more. The engine lets go
/// of that when whoever attached to it is gone, so that nothing in a container outlives this process.
const WAIT: &str = "while read -r _; do :; done";

/// Time that a container may take to end by itself.
const ENDING: Duration = Duration::from_secs(5);

/// Characters of a name that come from the step.
const HINT: usize = 32;

/// A container, which ends when this is dropped.
pub struct Container {
    backend: Arc<DockerBackend>,
    name: String,
    spec: ContainerSpec,
    from: Snapshot,
    wants_project: bool,
    state: State,
}

/// Stage in a container's life.
enum State {
    /// The engine does not know of it.
    Planned,
    /// It may be there.
    Made,
    /// Commands can run in it.
    Running { _keep_alive: KeepAlive },
    /// Its processes are dead.
    Stopped,
}

/// Grip on a container, which lives as long as this is there.
pub(crate) struct KeepAlive {
    /// Nobody writes to it; the lock is for whoever shares a container between threads.
    _input: Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl DockerBackend {
    /// A container of an image or of a step's snapshot. The engine makes it when something is to happen in it.
    ///
    /// # Errors
    /// There is no such image.
    pub async fn container(self: &Arc<Self>, spec: ContainerSpec) -> Result<Container, DockerError> {
        let from = self.snapshot(&spec.image).await?;
        let workdir = Path::new(&spec.workdir);
        let is_in_the_way =
            |volume: &&String| workdir.starts_with(volume) || Path::new(volume).starts_with(workdir);
        if let Some(volume) = from.volumes.iter().find(is_in_the_way).cloned() {
            let (image, workdir) = (spec.image.name().to_owned(), spec.workdir);
            return Err(DockerError::Volume { image, volume, workdir });
        }
        let hint: String =
            spec.hint.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
        let hint: String = hint.chars().take(HINT).collect();
        let name = format!("hm-{}-{}-{hint}", short(&self.config.run_id), self.number());
        let name = name.trim_end_matches('-').to_owned();
        Ok(Container { backend: self.clone(), name, spec, from, wants_project: false, state: State::Planned })
    }
}

impl Container {
    /// Name on the engine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Directory of the workspace.
    #[must_use]
    pub fn workdir(&self) -> &str {
        &self.spec.workdir
    }

    pub(crate) fn backend(&self) -> &Arc<DockerBackend> {
        &self.backend
    }

    pub(crate) fn spec(&self) -> &ContainerSpec {
        &self.spec
    }

    /// Snapshot that it was made from, once it runs.
    pub(crate) fn from(&self) -> &Snapshot {
        &self.from
    }

    /// Has the project's files put into its workspace, below what steps have changed there.
    ///
    /// # Errors
    /// The engine does not take them, or they cannot be read.
    pub async fn put_project(&mut self, workdir: &str) -> Result<(), DockerError> {
        match &self.state {
            State::Planned if workdir == self.spec.workdir => {
                self.wants_project = true;
                Ok(())
            }
            State::Stopped => Err(DockerError::Ended(self.name.clone())),
            // As it was asked for, on top of whatever is there.
            _ => {
                self.run().await?;
                let engine = self.backend.engine().await?;
                let user = self.from.user.clone();
                self.backend.apply(engine, &self.name, workdir, user.as_deref(), &WorkspaceDelta::All).await
            }
        }
    }

    /// Has it run, and answers with the engine that it runs on.
    pub(crate) async fn run(&mut self) -> Result<&Engine, DockerError> {
        match &self.state {
            State::Running { .. } => {}
            State::Stopped | State::Made => return Err(DockerError::Ended(self.name.clone())),
            State::Planned => self.begin().await?,
        }
        self.backend.engine().await
    }

    async fn begin(&mut self) -> Result<(), DockerError> {
        let backend = self.backend.clone();
        let engine = backend.engine().await?;
        let delta = backend.delta(&self.from, &self.spec.workdir, self.wants_project).await?;
        let mut delta = (!delta.is_nothing()).then_some(delta);
        if let Some(what) = &delta
            && let Some(base) = backend.prepared_base(&self.from, what, &self.spec).await?
        {
            self.from = base;
            delta = None;
        }
        // From here on it may be there, whatever becomes of the request.
        self.state = State::Made;
        backend.create(engine, &self.name, &self.from.image, &self.spec).await?;
        let needs_programs =
            delta.as_ref().is_some_and(|delta| delta.needs_programs(self.from.user.as_deref()));
        let (workdir, user) = (self.spec.workdir.clone(), self.from.user.clone());
        let apply = async |delta: &WorkspaceDelta| {
            backend.apply(engine, &self.name, &workdir, user.as_deref(), delta).await
        };
        // The files before the start, where that can be: nothing runs yet that could see half of them. Programs need a
        // container that runs.
        let keep_alive = match &delta {
            Some(delta) if needs_programs => {
                let keep_alive = engine.start(&self.name, &self.from.image).await?;
                apply(delta).await?;
                keep_alive
            }
            Some(delta) => {
                apply(delta).await?;
                engine.start(&self.name, &self.from.image).await?
            }
            None => engine.start(&self.name, &self.from.image).await?,
        };
        if delta.is_some() {
            // What of its files is the project's and what the step's cannot be told any more.
            let base = self.from.lineage.base.clone();
            let lineage = Lineage { base, workdir, files: ProjectFiles::Current, changes: None };
            self.from.lineage = Arc::new(lineage);
        }
        self.state = State::Running { _keep_alive: keep_alive };
        Ok(())
    }

    /// Ends all that runs in it. Its files stay.
    pub(crate) async fn stop(&mut self) -> Result<(), DockerError> {
        // A snapshot can be taken of a container that nothing has happened in.
        self.run().await?;
        // Nobody holds its standard input any more: its own process ends, and with that all others.
        self.state = State::Stopped;
        let backend = self.backend.clone();
        let engine = backend.engine().await?;
        engine.wait(&self.name).await
    }

    /// Goes by another name from now on.
    pub(crate) fn rename(&mut self, name: String) {
        self.name = name;
    }

    /// Brings files out of its workspace into a directory, those that the patterns name.
    ///
    /// # Errors
    /// [`DockerError::Artifacts`], or the engine does not hand them out.
    pub async fn collect(
        &mut self,
        workdir: &str,
        patterns: &[String],
        out: &Path,
    ) -> Result<Collected, DockerError> {
        let name = self.name.clone();
        let engine = self.run().await?;
        artifacts::collect(&engine.docker, &engine.endpoint.url, &name, workdir, patterns, out).await
    }

    /// Removes it, with all that runs in it.
    ///
    /// # Errors
    /// The engine cannot remove it.
    pub async fn end(mut self) -> Result<(), DockerError> {
        // So that dropping it does nothing more.
        match std::mem::replace(&mut self.state, State::Planned) {
            State::Planned => Ok(()),
            _ => self.backend.engine().await?.remove(&self.name).await,
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if matches!(self.state, State::Planned) {
            return;
        }
        // With what keeps it alive: it ends also if the engine is not asked any more.
        self.state = State::Planned;
        let (backend, name) = (self.backend.clone(), self.name.clone());
        let Some(engine) = self.backend.engine.get() else { return };
        let docker = engine.docker.clone();
        backend.in_background(async move {
            // What stays is removed at the end of the run, which says so.
            let _ = docker.remove_container(&name, Some(removal())).await;
        });
    }
}

fn removal() -> bollard::query_parameters::RemoveContainerOptions {
    RemoveContainerOptionsBuilder::default().force(true).v(true).build()
}

impl DockerBackend {
    /// Makes a container, in which nothing runs yet.
    pub(crate) async fn create(
        &self,
        engine: &Engine,
        name: &str,
        image: &str,
        spec: &ContainerSpec,
    ) -> Result<(), DockerError> {
        let labels = [
            (LABEL_RUN, self.config.run_id.to_string()),
            (LABEL_STEP, spec.step.to_string()),
            (LABEL_OWNER, engine.owner.to_string()),
        ];
        let network = self.config.network && spec.network;
        let limits = self.config.limits.host_config(engine.cpus);
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["sh".into()]),
            cmd: Some(vec!["-c".into(), WAIT.into()]),
            // So that a command which is another user's cannot keep it from ending. The environment comes with each
            // command, and does not end in an image.
            user: Some("0".into()),
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
            working_dir: Some(spec.workdir.clone()),
            open_stdin: Some(true),
            stdin_once: Some(true),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            host_config: Some(HostConfig {
                init: engine.has_init.then_some(true),
                network_mode: (!network).then(|| "none".to_owned()),
                ..limits
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let docker = engine.docker.clone();
        match self.to_the_end(async move { docker.create_container(Some(options), body).await }).await? {
            Err(error) if is_missing(&error) => Err(DockerError::NoImage(image.to_owned())),
            created => created.map(|_| ()).map_err(engine.failed("make a container")),
        }
    }
}

impl Engine {
    /// Starts a container, which lives as long as what this answers with.
    pub(crate) async fn start(&self, name: &str, image: &str) -> Result<KeepAlive, DockerError> {
        // Before it is started: if we died in between, nobody would ever close its standard input, and it would stay.
        let options = AttachContainerOptionsBuilder::default().stdin(true).stream(true).build();
        let AttachContainerResults { input, .. } = self
            .docker
            .attach_container(name, Some(options))
            .await
            .map_err(self.failed("attach to a container"))?;
        match self.docker.start_container(name, None::<StartContainerOptions>).await {
            Err(bollard::errors::Error::DockerResponseServerError { message, .. })
                if message.contains("\"sh\"") =>
            {
                Err(DockerError::Command(format!("the image {image} has no `sh`, which hm needs in it")))
            }
            started => started.map_err(self.failed("start a container")),
        }?;
        Ok(KeepAlive { _input: Mutex::new(input) })
    }

    /// Waits until nothing runs in a container that nothing keeps alive any more.
    async fn wait(&self, name: &str) -> Result<(), DockerError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ended = Box::pin(self.docker.wait_container(name, Some(options)));
        match tokio::time::timeout(ENDING, ended.next()).await {
            // Whatever it has ended with.
            Ok(Some(Ok(_)) | None | Some(Err(bollard::errors::Error::DockerContainerWaitError { .. }))) => {
                Ok(())
            }
            Ok(Some(Err(error))) => Err(self.failed("wait for a container")(error)),
            Err(_) => {
                let killed = self.docker.kill_container(name, None).await;
                killed.map_err(self.failed("end a container"))
            }
        }
    }

    /// Removes a container, if it is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), DockerError> {
        match self.docker.remove_container(name, Some(removal())).await {
            // Gone, or on its way.
            Err(error) if is_missing(&error) || status(&error) == Some(409) => Ok(()),
            removed => removed.map_err(self.failed(format!("remove the container `{name}`"))),
        }
    }
}
