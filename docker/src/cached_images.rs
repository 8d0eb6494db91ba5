//! Records of images that outlive their run: what the cache knows of each, and whether that is whole. What an engine
//! has of them is not known here.

use std::io;
use std::path::{Path, PathBuf};

use hm_disk::{
    PathError, cannot, create_once, empty_trash, list, list_names, make_directory, read_regular, remove_tree,
    remove_whole, replace_file, sha256_hex,
};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::{CACHE_TAG_PREFIX, SnapshotProblem};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::changes::Changes;
use crate::manifest::{Manifest, seal, unseal};

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

/// Beginning of the names that an older hm gave its trash.
const AWAY: &str = "away-";

/// No file of these is longer, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// Records of the kept images of a cache, in `images/`.
#[derive(Debug, Clone)]
pub struct CachedImages {
    root: PathBuf,
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

impl CachedImages {
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

    /// True if an engine was ever asked for something on behalf of this cache.
    pub(crate) fn has_id(&self) -> bool {
        self.root.join(ID).exists()
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

    fn place(&self, tag: &SnapshotRef) -> Option<PathBuf> {
        Some(self.root.join(digits(tag)?))
    }

    /// Metadata of an image; none if it is not there, or not whole.
    pub(crate) fn about(&self, tag: &SnapshotRef) -> Option<ImageMeta> {
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

    /// Forgets all that is known of an image.
    pub(crate) fn forget(&self, tag: &SnapshotRef) -> Result<(), PathError> {
        // Others may write there, or remove it, at the same time.
        self.place(tag).map_or(Ok(()), |place| remove_whole(&place).map(drop))
    }

    /// Removes what somebody has not come to remove.
    pub(crate) fn empty_trash(&self) -> Result<(), PathError> {
        for entry in list(&self.root)? {
            if entry.file_name().as_encoded_bytes().starts_with(AWAY.as_bytes()) {
                remove_tree(&entry.path())?;
            }
        }
        empty_trash([&self.root])
    }
}

/// The 32 digits of the tag of a kept snapshot; none if it has another form.
fn digits(tag: &SnapshotRef) -> Option<&str> {
    let digits = tag.0.strip_prefix(CACHE_TAG_PREFIX)?;
    let is_one = digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_one.then_some(digits)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn trash_of_any_version_goes_and_images_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = CachedImages::open(scratch.path());
        let [image, given_up] = ["a", "b"].map(|digit| digit.repeat(32));
        for name in ["away-0123", "trash-0123", &image, &given_up] {
            fs::create_dir_all(kept.root.join(name).join("below")).unwrap();
        }
        kept.forget(&SnapshotRef(format!("{CACHE_TAG_PREFIX}{given_up}"))).unwrap();
        kept.empty_trash().unwrap();
        assert_eq!(list_names(&kept.root).unwrap(), [image]);
    }
}
