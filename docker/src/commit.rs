//! Containers becoming snapshots, of a run or kept as images for later ones, and later runs starting from those. What
//! is written down of a kept image is `kept`'s affair.

use std::io;
use std::sync::Arc;

use bollard::query_parameters::{CommitContainerOptionsBuilder, TagImageOptionsBuilder};
use hm_disk::{blocking, cannot, one_line};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::SnapshotProblem;

use crate::artifacts;
use crate::backend::DockerBackend;
use crate::cached_images::ImageMeta;
use crate::changes::Changes;
use crate::container::Container;
use crate::engine::Engine;
use crate::error::DockerError;
use crate::names::{LABEL_CACHE, LABEL_OWNER, LABEL_RUN, LABEL_STATE, LABEL_STEP, OF_RUN};
use crate::snapshot::{Lineage, ProjectFiles, Snapshot};
use crate::workspace::owner;

impl Container {
    /// Ends the container, and saves its files as a snapshot that steps of this run can start from. One that is to be
    /// kept for later runs is also an image of that name then; where that does not work, the answer is another name.
    ///
    /// # Errors
    /// The engine does not make an image of it.
    pub async fn commit(&mut self, tag: &SnapshotRef, keep: bool) -> Result<SnapshotRef, DockerError> {
        let backend = self.backend().clone();
        if backend.state().snapshots.contains_key(&tag.0) {
            return Err(DockerError::TagTaken(tag.0.clone()));
        }
        // Before anything is saved: what still writes would be saved halfway.
        self.stop().await?;
        let engine = backend.engine().await?;
        // Before it is made flat: of the new container, the engine would tell no changes.
        let changed = if keep { backend.changed(engine, self).await } else { Ok(None) };
        if let Some(flat) = backend.flattened(engine, self.name(), &self.from().image).await? {
            self.rename(flat);
        }
        let image = backend.commit_image(engine, self.name(), self.from().user.as_deref(), keep).await?;
        let from = self.from().clone();
        let (changes, trouble) = match changed {
            Ok(changes) => (changes, None),
            Err(error) => (None, Some(error)),
        };
        let files = match &from.lineage.files {
            ProjectFiles::Absent => ProjectFiles::Absent,
            ProjectFiles::Current | ProjectFiles::Stale(_) => ProjectFiles::Current,
        };
        let (base, workdir) = (from.lineage.base.clone(), self.spec().workdir.clone());
        let is_known = changes.is_some();
        let lineage = Arc::new(Lineage { base, workdir, files, changes });
        let snapshot = Snapshot { image: image.clone(), lineage, ..from.clone() };
        let kept = match trouble {
            Some(error) => Err(error),
            None if is_known => backend.keep(engine, tag, &snapshot, &from.image).await.map(|()| true),
            None => Ok(false),
        };
        let name = match kept {
            Ok(true) => tag.clone(),
            Ok(false) if !keep => tag.clone(),
            Ok(false) => SnapshotRef(image),
            Err(error) => {
                let _ = backend.trouble.set(one_line(&error));
                SnapshotRef(image)
            }
        };
        let mut state = backend.state();
        // By both: a plugin may not hear what the answer is.
        state.snapshots.insert(tag.0.clone(), snapshot.clone());
        state.snapshots.insert(name.0.clone(), snapshot);
        Ok(name)
    }
}

impl DockerBackend {
    /// Makes an image of a container, and answers with its name, which is of this run.
    pub(crate) async fn commit_image(
        &self,
        engine: &Engine,
        container: &str,
        user: Option<&str>,
        keep: bool,
    ) -> Result<String, DockerError> {
        let tag = self.run_tag(engine);
        let options =
            CommitContainerOptionsBuilder::default().container(container).repo(OF_RUN).tag(&tag).pause(false);
        let cache =
            if keep { self.kept.id().map_err(DockerError::io("write to the cache"))? } else { String::new() };
        let state = "kept or of a run".to_owned();
        // What is only true of the container must not be said of others that are made from the image.
        let labels = [(LABEL_STATE, state), (LABEL_CACHE, cache)];
        let labels = labels
            .into_iter()
            .chain([LABEL_OWNER, LABEL_RUN, LABEL_STEP].map(|label| (label, String::new())));
        let labels = labels.map(|(name, value)| (name.to_owned(), value)).collect();
        let user = Some(user.unwrap_or("0").to_owned());
        let config = bollard::models::ContainerConfig { labels: Some(labels), user, ..Default::default() };
        let (docker, options) = (engine.docker.clone(), options.build());
        let made = self.to_the_end(async move { docker.commit_container(options, config).await }).await?;
        made.map_err(engine.failed("make an image of a container"))?;
        Ok(format!("{OF_RUN}:{tag}"))
    }

    /// Changes of steps in a container's workspace since it was the project's; none if they are not known.
    async fn changed(&self, engine: &Engine, container: &Container) -> Result<Option<Changes>, DockerError> {
        let Some(before) = &container.from().lineage.changes else { return Ok(None) };
        let is_directory = async |path: &str| {
            let is = artifacts::is_directory(&engine.docker, container.name(), path).await;
            is.map_err(engine.failed("look at a directory in a container"))
        };
        if !is_directory(container.workdir()).await? {
            let what = format!("tell what has changed in {}, which is a link there", container.workdir());
            return Err(DockerError::Refused { what, message: "it tells only of where that leads".into() });
        }
        let changes = engine.docker.container_changes(container.name()).await;
        let changes = changes.map_err(engine.failed("tell what has changed in a container"))?;
        let told = changes.unwrap_or_default();
        let mut now = Changes::of(&told, container.workdir());
        for path in now.unclear(&told, container.workdir(), self.manifest().await?) {
            if is_directory(&format!("{}/{path}", container.workdir())).await? {
                now.forget(&path);
            }
        }
        Changes::marked(&told, container.workdir()).into_iter().for_each(|directory| now.add(directory));
        Ok(Some(before.followed_by(now)))
    }

    /// Gives an image the name under which later runs find it, and writes down what they have to know.
    async fn keep(
        &self,
        engine: &Engine,
        tag: &SnapshotRef,
        snapshot: &Snapshot,
        from: &str,
    ) -> Result<(), DockerError> {
        let lineage = snapshot.lineage.clone();
        let look = async |image: &str| {
            engine.image(image).await?.ok_or_else(|| DockerError::NoImage(image.to_owned()))
        };
        let (image, from) = (look(&snapshot.image).await?, look(from).await?);
        let grown = image.size.unwrap_or_default().saturating_sub(from.size.unwrap_or_default());
        let about = ImageMeta {
            engine: engine.id.clone(),
            image: image.id.unwrap_or_default(),
            user: snapshot.user.clone(),
            base: lineage.base.clone(),
            workdir: lineage.workdir.clone(),
            bytes: u64::try_from(grown).unwrap_or_default(),
            tag: tag.0.clone(),
            digests: Default::default(),
        };
        let tree = match lineage.files {
            ProjectFiles::Absent => Arc::default(),
            ProjectFiles::Current | ProjectFiles::Stale(_) => self.manifest().await?.clone(),
        };
        let (kept, name) = (self.kept.clone(), tag.clone());
        let written = blocking(move || {
            let unknown = || cannot("keep", &name.0)(io::ErrorKind::InvalidInput.into());
            let changes = lineage.changes.as_ref().ok_or_else(unknown)?;
            kept.write(&name, about, &tree, changes)
        });
        let written = written.await?;
        written.map_err(DockerError::io(format!("write down what the image `{}` holds", tag.0)))?;
        // The name last: a record without an image is a miss, and nothing worse.
        engine.tag(&snapshot.image, &tag.0).await
    }

    /// Reason why no step can start from what is kept under a tag on the project as it is now; none if one can.
    pub async fn snapshot_problem(&self, tag: &SnapshotRef) -> Option<SnapshotProblem> {
        match self.lacks(&tag.0).await {
            Ok(unfit) => unfit,
            // Which one, and why not, is said where it is looked for.
            Err(DockerError::Endpoint(_)) => {
                Some(SnapshotProblem::Other("the Docker Engine could not be asked".into()))
            }
            Err(error) => Some(SnapshotProblem::Other(one_line(&error))),
        }
    }

    /// Reason why no step can start from a kept image on the project as it is now. If one can, the image stays for as
    /// long as this run.
    pub(crate) async fn take_kept(&self, name: &str) -> Result<Option<SnapshotProblem>, DockerError> {
        let tag = SnapshotRef(name.to_owned());
        let kept = self.kept.clone();
        let read = blocking(move || kept.read(&tag).ok_or_else(|| kept.lost(&tag))).await;
        let (about, then, changes) = match read? {
            Ok(read) => read,
            Err(unfit) => return Ok(Some(unfit)),
        };
        let engine = self.engine().await?;
        let id =
            async |image: &str| Ok::<_, DockerError>(engine.image(image).await?.and_then(|image| image.id));
        match id(name).await? {
            Some(id) if id == about.image => {}
            Some(_) => return Ok(Some(SnapshotProblem::OtherImage(name.to_owned()))),
            None if about.engine != engine.id => {
                return Ok(Some(SnapshotProblem::Other(
                    "its result is on another Docker Engine than this one".into(),
                )));
            }
            None => return Ok(Some(SnapshotProblem::Gone)),
        }
        // If the first image is gone, its name means nothing else.
        let (base, base_id) = &about.base;
        if id(base).await?.is_some_and(|id| id != *base_id) {
            return Ok(Some(SnapshotProblem::OtherImage(base.clone())));
        }
        let difference = then.difference(self.manifest().await?);
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        if let Some(path) = difference.covered_by(&changes) {
            return Ok(Some(SnapshotProblem::Covered(text(path))));
        }
        // Removing, and giving to whom it belongs, is done by programs, which are told what to do in JSON.
        let mut to_say = difference
            .gone
            .keys()
            .chain(difference.put.iter().filter(|_| owner(about.user.as_deref()).is_some()));
        if let Some(path) = to_say.find(|path| std::str::from_utf8(path).is_err()) {
            let why = format!("`{}` has changed, whose name is no text", text(path));
            return Ok(Some(SnapshotProblem::Other(why)));
        }
        // A name of this run keeps it, whoever gives up the other one.
        let image = format!("{OF_RUN}:{}", self.run_tag(engine));
        match engine.tag(&about.image, &image).await {
            Err(error @ DockerError::Refused { .. }) => {
                return Ok(Some(SnapshotProblem::Other(error.to_string())));
            }
            tagged => tagged?,
        }
        let files = if difference.is_empty() { ProjectFiles::Current } else { ProjectFiles::Stale(then) };
        let lineage = Lineage { base: about.base, workdir: about.workdir, files, changes: Some(changes) };
        let snapshot = Snapshot { image, user: about.user, volumes: Vec::new(), lineage: Arc::new(lineage) };
        self.state().snapshots.insert(name.to_owned(), snapshot);
        Ok(None)
    }
}

impl Engine {
    async fn tag(&self, image: &str, name: &str) -> Result<(), DockerError> {
        let (repo, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        let options = TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
        let tagged = self.docker.tag_image(image, Some(options)).await;
        tagged.map_err(self.failed("name an image"))
    }
}
