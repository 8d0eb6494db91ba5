//! Images that outlive their run: what the cache knows of each, whether it can still be started from, and giving up those that
//! nobody wants. Which are wanted is decided elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::query_parameters::{
    CommitContainerOptionsBuilder, ListImagesOptionsBuilder, TagImageOptionsBuilder,
};
use hm_disk::{
    PathError, blocking, cannot, create_once, list, list_names, make_directory, one_line, read_regular,
    remove_tree, replace_file, sha256_hex,
};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::{CACHE_TAG_PREFIX, SnapshotProblem};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::changes::Changes;
use crate::manifest::{Manifest, seal, unseal};
use crate::reference::plain;
use crate::workspace::owner;
use crate::{
    Container, DockerBackend, DockerError, Engine, EngineEnv, LABEL_CACHE, LABEL_OWNER, LABEL_RUN,
    LABEL_STATE, LABEL_STEP, Lineage, OF_RUN, ProjectFiles, Snapshot, artifacts,
};

/// What the cache knows of an image.
const ABOUT: &str = "about";

/// What steps have changed in it.
const CHANGES: &str = "changes";

/// What the project was then.
const TREE: &str = "tree";

/// What stands for a cache.
const ID: &str = "id";

/// What the first of these files begins with.
const FIRST: &[u8] = b"hm image 1\n";

/// What is on its way out.
const AWAY: &str = "away-";

/// No file of these is longer, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// What is written down of the kept images of a cache, in `images/`.
#[derive(Debug, Clone)]
pub struct KeptImages {
    root: PathBuf,
}

/// What became of images that nobody wants.
#[derive(Debug, Default)]
pub struct Cleared {
    /// How many are gone.
    pub images: usize,
    /// How much of the engine's disk they took.
    pub bytes: u64,
    /// How many containers and images of runs that are no more are gone.
    pub abandoned: usize,
    /// How many stay, as they are on another engine than this one.
    pub elsewhere: usize,
    /// How many stay, since no engine can be asked, and why.
    pub left: Option<(usize, DockerError)>,
}

/// What is known of an image without asking its engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ImageMeta {
    /// The engine's name for itself.
    engine: String,
    /// The image's id.
    image: String,
    user: Option<String>,
    /// The image that it all began with, by name and by id.
    base: (String, String),
    workdir: String,
    /// What it takes on the engine's disk beyond the image that it was made from.
    bytes: u64,
    /// The name under which it is kept.
    tag: String,
    /// The SHA-256 of what the project was, and of what steps have changed, as they are written down.
    digests: [String; 2],
}

impl KeptImages {
    /// Those of a cache.
    #[must_use]
    pub fn open(cache: &Path) -> Self {
        Self { root: cache.join("images") }
    }

    /// Every image, with how much of its engine's disk it takes.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn list(&self) -> Result<Vec<(SnapshotRef, u64)>, PathError> {
        let names = list_names(&self.root)?.into_iter();
        let tags = names.map(|name| SnapshotRef(format!("{CACHE_TAG_PREFIX}{name}")));
        let kept = tags.filter(|tag| digits(tag).is_some());
        let sized = kept.map(|tag| {
            let bytes = self.about(&tag).map_or(0, |about| about.bytes);
            (tag, bytes)
        });
        Ok(sized.collect())
    }

    /// Gives up all images but these, and what runs that are no more have left. What an engine cannot be told now stays written down.
    /// No engine is asked for anything if none ever was for this cache.
    ///
    /// # Errors
    /// The cache cannot be read or written, or an engine refuses.
    pub async fn keep_only(&self, live: &BTreeSet<String>, env: &EngineEnv) -> Result<Cleared, DockerError> {
        let mut cleared = Cleared::default();
        if !self.root.join(ID).exists() {
            return Ok(cleared);
        }
        let listed = self.list().map_err(DockerError::io("read what images are kept"))?;
        let unwanted: Vec<_> = listed.into_iter().filter(|(tag, _)| !live.contains(&tag.0)).collect();
        self.remove_away().map_err(DockerError::io("write to the cache"))?;
        let engine = match Engine::connect(env, self).await {
            Ok(engine) => engine,
            Err(error) => {
                cleared.left = Some((unwanted.len(), error));
                return Ok(cleared);
            }
        };
        cleared.abandoned = engine.remove_abandoned().await?;
        for (tag, bytes) in unwanted {
            if self.about(&tag).is_some_and(|about| about.engine != engine.id) {
                cleared.elsewhere += 1;
                continue;
            }
            engine.remove_image(&tag.0).await?;
            self.forget(&tag).map_err(DockerError::io("write to the cache"))?;
            cleared.images += 1;
            cleared.bytes = cleared.bytes.saturating_add(bytes);
        }
        // Those that were made and never written down.
        for tag in engine.kept_for(&self.id().map_err(DockerError::io("read the cache"))?).await? {
            if !live.contains(&tag) && self.about(&SnapshotRef(tag.clone())).is_none() {
                engine.remove_image(&tag).await?;
                cleared.images += 1;
            }
        }
        Ok(cleared)
    }

    /// What stands for this cache where others may be as well.
    pub(crate) fn id(&self) -> Result<String, PathError> {
        let file = self.root.join(ID);
        for _ in 0..2 {
            match read_regular(&file, 100) {
                Ok(id) => return Ok(String::from_utf8_lossy(&id).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot("read", file)(error)),
            }
            make_directory(&self.root)?;
            create_once(&file, Uuid::new_v4().simple().to_string().as_bytes())?;
        }
        Err(cannot("read", file)(io::Error::other("it comes and goes")))
    }

    /// Removes what somebody has not come to remove.
    fn remove_away(&self) -> Result<(), PathError> {
        for entry in list(&self.root)? {
            if entry.file_name().as_encoded_bytes().starts_with(AWAY.as_bytes()) {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    fn place(&self, tag: &SnapshotRef) -> Option<PathBuf> {
        Some(self.root.join(digits(tag)?))
    }

    fn about(&self, tag: &SnapshotRef) -> Option<ImageMeta> {
        let bytes = read_regular(&self.place(tag)?.join(ABOUT), MAX_BYTES).ok()?;
        let about: ImageMeta = serde_json::from_slice(unseal(&bytes, FIRST)?.next()?).ok()?;
        (about.tag == tag.0).then_some(about)
    }

    /// All that is known of an image; none if that is not whole.
    fn read(&self, tag: &SnapshotRef) -> Option<(ImageMeta, Manifest, Changes)> {
        let place = self.place(tag)?;
        let read = |name| read_regular(&place.join(name), MAX_BYTES).ok();
        let (about, tree, changes) = (self.about(tag)?, read(TREE)?, read(CHANGES)?);
        if [&tree, &changes].map(|bytes| sha256_hex(bytes)) != about.digests {
            return None;
        }
        Some((about, Manifest::read(&tree)?, Changes::read(&changes)?))
    }

    /// Why [`read`](Self::read) has nothing.
    fn lost(&self, tag: &SnapshotRef) -> SnapshotProblem {
        if self.place(tag).is_some_and(|place| place.exists()) {
            SnapshotProblem::Damaged
        } else {
            SnapshotProblem::Gone
        }
    }

    fn write(
        &self,
        tag: &SnapshotRef,
        about: ImageMeta,
        tree: &Manifest,
        changes: &Changes,
    ) -> Result<(), PathError> {
        let no_name = || cannot("keep", &tag.0)(io::ErrorKind::InvalidInput.into());
        let place = self.place(tag).ok_or_else(no_name)?;
        let failed = |error| cannot("write", &place)(error);
        make_directory(&place)?;
        let mut files = [Vec::new(), Vec::new()];
        tree.write(&mut files[0]).map_err(failed)?;
        changes.write(&mut files[1]).map_err(failed)?;
        for (name, bytes) in [TREE, CHANGES].into_iter().zip(&files) {
            replace_file(&place.join(name), bytes)?;
        }
        let about = ImageMeta { digests: files.each_ref().map(|bytes| sha256_hex(bytes)), ..about };
        let mut bytes = FIRST.to_vec();
        bytes.extend(serde_json::to_vec(&about).map_err(|error| failed(error.into()))?);
        bytes.push(0);
        let mut sealed = Vec::new();
        seal(bytes, &mut sealed).map_err(failed)?;
        // The last: without it, nothing is there.
        replace_file(&place.join(ABOUT), &sealed)
    }

    fn forget(&self, tag: &SnapshotRef) -> Result<(), PathError> {
        let Some(place) = self.place(tag) else { return Ok(()) };
        // Away first: others may write there, or remove it, at the same time.
        let away = self.root.join(format!("{AWAY}{}", Uuid::new_v4().simple()));
        match fs::rename(&place, &away) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.map_err(cannot("remove", place)).and_then(|()| remove_tree(&away)),
        }
    }
}

/// The 32 digits of the name of a kept state; none if it has another form.
fn digits(tag: &SnapshotRef) -> Option<&str> {
    let digits = tag.0.strip_prefix(CACHE_TAG_PREFIX)?;
    let is_one = digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_one.then_some(digits)
}

impl Container {
    /// Ends the container, and saves its files as a state that steps of this run can start from. One that is to be kept for later runs
    /// is also an image of that name then; where that does not work, the answer is another name.
    ///
    /// # Errors
    /// The engine does not make an image of it.
    pub async fn commit(&mut self, tag: &SnapshotRef, keep: bool) -> Result<SnapshotRef, DockerError> {
        let backend = self.backend().clone();
        if backend.state().snapshots.contains_key(&tag.0) {
            return Err(DockerError::TagTaken(tag.0.clone()));
        }
        self.stop().await?;
        let engine = backend.engine().await?;
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

    /// What steps have changed in a container's workspace since it was the project's; none if that is not known.
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
        engine.tag(&snapshot.image, &tag.0).await
    }

    /// Why no step can start from what is kept under a tag on the project as it is now, if that is so.
    pub async fn unfit(&self, tag: &SnapshotRef) -> Option<SnapshotProblem> {
        match self.lacks(&tag.0).await {
            Ok(unfit) => unfit,
            // Which one, and why not, is said where it is looked for.
            Err(DockerError::Endpoint(_)) => {
                Some(SnapshotProblem::Other("the Docker Engine could not be asked".into()))
            }
            Err(error) => Some(SnapshotProblem::Other(one_line(&error))),
        }
    }

    /// Why no step can start from a kept image on the project as it is now. If one can, the image stays for as long as this run.
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

    /// The names of images that are kept for a cache.
    async fn kept_for(&self, cache: &str) -> Result<Vec<String>, DockerError> {
        let filters = [("label", vec![format!("{LABEL_CACHE}={cache}")])].into();
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.docker.list_images(Some(options)).await.map_err(self.failed("list images"))?;
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(tags.map(|tag| plain(&tag).to_owned()).filter(|tag| tag.starts_with(CACHE_TAG_PREFIX)).collect())
    }
}
