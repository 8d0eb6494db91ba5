//! Layers that outlive their run, in `kept/` of the cache: each holds what one step has changed and knows the one below
//! it, and no more. Which are worth keeping is decided elsewhere, and how they are stacked in a run is too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use hm_disk::{
    FileLock, LockFile, discard, disk_usage, list_names, make_directory, read_regular, rename_new,
};
use hm_plugin_protocol::SnapshotRef;
use hm_workspace::{CACHE_TAG_PREFIX, SnapshotProblem};
use uuid::Uuid;

use crate::{error::SandboxError, run_directory, sandbox_template::TREE};

/// The directory of kept layers, as the links in a run's directory lead there.
const FROM_RUN: &str = "../../kept";

/// File that names the layer below, and this one's size.
const ABOUT: &str = "about";

/// No such file is longer, in bytes.
const ABOUT_MAX: usize = 100;

/// File that lists the project's files which the layer lies on.
const COVERS: &str = "covers";

/// No such file is longer, in bytes.
const COVERS_MAX: usize = 256 << 20;

/// The lock of the directory: shared by those who take layers or keep them, alone for who removes them.
const LOCK: &str = "lock";

/// Placeholder for the project's snapshot where a layer could stand.
const PROJECT: &str = "-";

/// The name of a kept layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag(Uuid);

impl Tag {
    /// None if the snapshot is none that could be kept.
    pub(crate) fn of(snapshot: &SnapshotRef) -> Option<Self> {
        Self::of_text(&snapshot.0)
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::of_directory(text.strip_prefix(CACHE_TAG_PREFIX)?)
    }

    fn of_directory(name: &str) -> Option<Self> {
        let tag = Self(Uuid::try_parse(name).ok()?);
        // There are other ways to write the number.
        (tag.directory() == name).then_some(tag)
    }

    fn directory(self) -> String {
        self.0.simple().to_string()
    }

    fn snapshot(self) -> SnapshotRef {
        SnapshotRef(self.to_string())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CACHE_TAG_PREFIX}{}", self.0.simple())
    }
}

/// Metadata of a layer, as the layer has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerMeta {
    /// None: the project's snapshot.
    pub(crate) below: Option<Tag>,
    bytes: u64,
}

impl LayerMeta {
    fn encode(self) -> String {
        let below = self.below.map_or_else(|| PROJECT.to_owned(), Tag::directory);
        format!("{below} {}\n", self.bytes)
    }

    /// None for what was not written to its end.
    fn decode(text: &str) -> Option<Self> {
        let (below, bytes) = text.strip_suffix('\n')?.split_once(' ')?;
        let below = if below == PROJECT { None } else { Some(Tag::of_directory(below)?) };
        Some(Self { below, bytes: bytes.parse().ok()? })
    }
}

/// Writes down about the layer in a directory what it has to know: also the list of what it covers in the project.
///
/// # Errors
/// The system says no, or the list is too long.
pub(crate) fn describe(layer: &Path, below: Option<Tag>, covers: &[u8]) -> Result<(), SandboxError> {
    let path = layer.join(COVERS);
    if covers.len() > COVERS_MAX {
        return Err(SandboxError::io("write", path)(io::ErrorKind::FileTooLarge.into()));
    }
    fs::write(&path, covers).map_err(SandboxError::io("write", path))?;
    let about = LayerMeta { below, bytes: disk_usage(&layer.join(TREE)) };
    let path = layer.join(ABOUT);
    fs::write(&path, about.encode()).map_err(SandboxError::io("write", path))
}

/// Changes of one step in the workspace, kept for later runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedLayer {
    /// Tag of the layer.
    pub tag: SnapshotRef,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// Layer that it stands on; `None` if that is the project.
    pub below: Option<SnapshotRef>,
}

/// Things removed from the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Number of layers, or of directories of a project.
    pub layers: usize,
    /// Bytes that they took on the disk.
    pub bytes: u64,
}

/// The kept layers of a cache, which several hm may share.
#[derive(Debug, Clone)]
pub struct CachedLayers {
    directory: PathBuf,
    /// Parent of the directories of runs.
    runs: PathBuf,
}

impl CachedLayers {
    /// Those of this cache. Nothing is made before there is one to keep.
    #[must_use]
    pub fn open(cache: &Path) -> Self {
        Self { directory: cache.join("kept"), runs: cache.join("layers") }
    }

    /// All that are there, in no order that means anything.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn list(&self) -> Result<Vec<CachedLayer>, SandboxError> {
        let layer = |(tag, about): (Tag, Option<LayerMeta>)| {
            let LayerMeta { below, bytes } = about?;
            Some(CachedLayer { tag: tag.snapshot(), bytes, below: below.map(Tag::snapshot) })
        };
        Ok(self.all()?.into_iter().filter_map(layer).collect())
    }

    /// Removes all layers but those of these names, those that runs are using, and those that either stand on. What
    /// they take is free when the trash has been emptied.
    ///
    /// # Errors
    /// It cannot be told what is in use, or the system says no.
    pub fn remove_all_but(&self, live: &BTreeSet<String>) -> Result<Removed, SandboxError> {
        if !self.directory.is_dir() {
            return Ok(Removed::default());
        }
        // Before the first look: a run that links to a layer meanwhile would not be seen, and lose it.
        let _alone = self.lock_file().exclusive()?;
        let all = self.all()?;
        let mut open: Vec<Tag> = live.iter().filter_map(|tag| Tag::of_text(tag)).collect();
        for target in run_directory::used(&self.runs)? {
            let name = target.strip_prefix(FROM_RUN).ok().and_then(Path::to_str);
            open.extend(name.and_then(Tag::of_directory));
        }
        let mut kept = BTreeSet::new();
        while let Some(tag) = open.pop() {
            if kept.insert(tag) {
                open.extend(all.get(&tag).copied().flatten().and_then(|about| about.below));
            }
        }
        let mut removed = Removed::default();
        for (tag, about) in all.into_iter().filter(|(tag, _)| !kept.contains(tag)) {
            discard(&self.path(tag))?;
            removed.layers += usize::from(about.is_some());
            removed.bytes = removed.bytes.saturating_add(about.map_or(0, |about| about.bytes));
        }
        Ok(removed)
    }

    /// Makes sure that what `find` finds stays as long as its run: nothing is removed meanwhile. None where no layer
    /// has ever been kept.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn hold(&self) -> Result<Option<FileLock>, SandboxError> {
        match LockFile::existing(self.directory.join(LOCK)).shared() {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Metadata of a layer; none if it is not there in full. Whether those below are is another question.
    pub(crate) fn find(&self, tag: Tag) -> Option<LayerMeta> {
        let path = self.path(tag);
        let text = read_regular(&path.join(ABOUT), ABOUT_MAX).ok()?;
        let about = LayerMeta::decode(std::str::from_utf8(&text).ok()?)?;
        fs::symlink_metadata(path.join(TREE)).is_ok_and(|tree| tree.is_dir()).then_some(about)
    }

    /// Problem of a layer of which [`find`](Self::find) or [`covers`](Self::covers) has nothing.
    pub(crate) fn lost(&self, tag: Tag) -> SnapshotProblem {
        if self.path(tag).exists() { SnapshotProblem::Damaged } else { SnapshotProblem::Gone }
    }

    /// The list of what a layer covers in the project; none if it cannot be read.
    pub(crate) fn covers(&self, tag: Tag) -> Option<Vec<u8>> {
        read_regular(&self.path(tag).join(COVERS), COVERS_MAX).ok()
    }

    /// Makes a link to a layer in a run's directory. The run can then mount it, and it is not removed. To be called
    /// while it is held.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn link(&self, tag: Tag, link: &Path) -> Result<(), SandboxError> {
        symlink(Path::new(FROM_RUN).join(tag.directory()), link).map_err(SandboxError::io("create", link))
    }

    /// Keeps a layer of a run that has been described and that nothing uses. It is there in full or not at all, and
    /// `link`, in the run's directory, leads to it.
    ///
    /// # Errors
    /// The system says no, or there is one of that name. The layer is then still where it was.
    pub(crate) fn keep(&self, layer: &Path, tag: Tag, link: &Path) -> Result<(), SandboxError> {
        make_directory(&self.directory)?;
        // Nobody removes layers meanwhile.
        let _held = self.lock_file().shared()?;
        // The link first: when the layer has moved, nothing more may fail, or the run would have lost it.
        self.link(tag, link)?;
        let path = self.path(tag);
        rename_new(layer, &path).map_err(|error| {
            let _ = fs::remove_file(link);
            SandboxError::Io(error.during("keep"))
        })
    }

    /// Keeps others from opening what is closed in a layer, and from closing it again, until this goes. None where that
    /// cannot be: then nothing can be opened either.
    pub(crate) fn alone(&self) -> Option<FileLock> {
        LockFile::new(self.directory.join("opening")).exclusive().ok()
    }

    fn lock_file(&self) -> LockFile {
        LockFile::new(self.directory.join(LOCK))
    }

    fn path(&self, tag: Tag) -> PathBuf {
        self.directory.join(tag.directory())
    }

    /// Everything with the name of a layer, and what it says of itself.
    fn all(&self) -> Result<BTreeMap<Tag, Option<LayerMeta>>, SandboxError> {
        let tags = list_names(&self.directory)?.into_iter().filter_map(|name| Tag::of_directory(&name));
        Ok(tags.map(|tag| (tag, self.find(tag))).collect())
    }
}
