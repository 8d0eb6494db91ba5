//! Images that outlive their run: what the cache knows of each, whether it can still be started from, and giving up
//! those that nobody wants. Which are wanted is decided elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bollard::query_parameters::ListImagesOptionsBuilder;
use hm_disk::{
    PathError, cannot, create_once, list, list_names, make_directory, read_regular, remove_tree,
    replace_file, sha256_hex,
};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::{CACHE_TAG_PREFIX, SnapshotProblem};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::changes::Changes;
use crate::manifest::{Manifest, seal, unseal};
use crate::reference::plain;
use crate::{DockerError, Engine, EngineEnv, LABEL_CACHE};

/// File with the metadata of an image.
const ABOUT: &str = "about";

/// File with the changes that steps have made.
const CHANGES: &str = "changes";

/// File with the manifest of the project as it was then.
const TREE: &str = "tree";

/// File with the id of the cache.
const ID: &str = "id";

/// First bytes of the file with the metadata.
const FIRST: &[u8] = b"hm image 1\n";

/// Beginning of the names of directories that are on their way out.
const AWAY: &str = "away-";

/// No file of these is longer, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// Records of the kept images of a cache, in `images/`.
#[derive(Debug, Clone)]
pub struct KeptImages {
    root: PathBuf,
}

/// Outcome of removing images that nobody wants.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Number of images that are gone.
    pub images: usize,
    /// Bytes that they took on the engine's disk.
    pub bytes: u64,
    /// Number of containers and images of dead runs that are gone.
    pub abandoned: usize,
    /// Number of images that stay, as they are on another engine than this one.
    pub elsewhere: usize,
    /// Number of images that stay since no engine can be asked, and why.
    pub left: Option<(usize, DockerError)>,
}

/// Metadata of an image, known without asking its engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageMeta {
    /// The engine's name for itself.
    pub(crate) engine: String,
    /// Id of the image.
    pub(crate) image: String,
    pub(crate) user: Option<String>,
    /// The image that it all began with, by name and by id.
    pub(crate) base: (String, String),
    pub(crate) workdir: String,
    /// Bytes that it takes on the engine's disk beyond the image that it was made from.
    pub(crate) bytes: u64,
    /// The name under which it is kept.
    pub(crate) tag: String,
    /// The SHA-256 of what the project was, and of what steps have changed, as they are written down.
    pub(crate) digests: [String; 2],
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

    /// Gives up all images but these, and what runs that are no more have left. What an engine cannot be told now stays
    /// written down. No engine is asked for anything if none ever was for this cache.
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
            // The image first: a record without one is a miss, and says what is left to do.
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

    /// Id of this cache, for places where there are others as well.
    pub(crate) fn id(&self) -> Result<String, PathError> {
        let file = self.root.join(ID);
        for _ in 0..2 {
            match read_regular(&file, 100) {
                Ok(id) => return Ok(String::from_utf8_lossy(&id).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot("read", file)(error)),
            }
            make_directory(&self.root)?;
            // Of several programs that do so at a time, one is first, and all read its id.
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
    pub(crate) fn read(&self, tag: &SnapshotRef) -> Option<(ImageMeta, Manifest, Changes)> {
        let place = self.place(tag)?;
        let read = |name| read_regular(&place.join(name), MAX_BYTES).ok();
        let (about, tree, changes) = (self.about(tag)?, read(TREE)?, read(CHANGES)?);
        if [&tree, &changes].map(sha256_hex) != about.digests {
            return None;
        }
        Some((about, Manifest::read(&tree)?, Changes::read(&changes)?))
    }

    /// Problem of an image of which [`read`](Self::read) has nothing.
    pub(crate) fn lost(&self, tag: &SnapshotRef) -> SnapshotProblem {
        if self.place(tag).is_some_and(|place| place.exists()) {
            SnapshotProblem::Damaged
        } else {
            SnapshotProblem::Gone
        }
    }

    pub(crate) fn write(
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
        let about = ImageMeta { digests: files.each_ref().map(sha256_hex), ..about };
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

/// The 32 digits of the tag of a kept snapshot; none if it has another form.
fn digits(tag: &SnapshotRef) -> Option<&str> {
    let digits = tag.0.strip_prefix(CACHE_TAG_PREFIX)?;
    let is_one = digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_one.then_some(digits)
}

impl Engine {
    /// The names of images that are kept for a cache.
    async fn kept_for(&self, cache: &str) -> Result<Vec<String>, DockerError> {
        let filters = [("label", vec![format!("{LABEL_CACHE}={cache}")])].into();
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.docker.list_images(Some(options)).await.map_err(self.failed("list images"))?;
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(tags.map(|tag| plain(&tag).to_owned()).filter(|tag| tag.starts_with(CACHE_TAG_PREFIX)).collect())
    }
}
