//! One project in one run: its snapshot, taken once and only if somebody wants it, and the archive of that. Who uses
//! the files, and for what, is not known here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::OnceCell;

use crate::{
    WorkspaceError,
    archive::Archive,
    projects::Project,
    snapshot::{self, Snapshot},
};

/// The files of a project, as all steps of a run get them.
#[derive(Debug)]
pub struct Workspace {
    project: Project,
    path: PathBuf,
    cache: PathBuf,
    snapshot: OnceCell<Snapshot>,
    archive: OnceCell<Arc<Archive>>,
}

impl Workspace {
    /// The workspace of the project at this path; snapshots are kept in `cache`, which several programs may share.
    /// Nothing is read or written yet.
    #[must_use]
    pub fn new(project: &Path, cache: &Path) -> Self {
        Self {
            project: Project::new(project),
            path: project.to_owned(),
            cache: cache.to_owned(),
            snapshot: OnceCell::new(),
            archive: OnceCell::new(),
        }
    }

    /// The project's directory, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory for all that outlives a run.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The project, as the cache knows it.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The directory with the project's files as they were when this was first called. Nobody may write there. They
    /// stay at least as long as the workspace.
    ///
    /// # Errors
    /// Something in the project cannot be read, an ignore file makes no sense, or there is no room in the cache.
    pub async fn tree(&self) -> Result<&Path, WorkspaceError> {
        let (path, cache, project) = (self.path.clone(), self.cache.clone(), self.project.clone());
        let take = move || {
            project.note(&cache)?;
            hm_disk::remove_later(hm_disk::trash_in(&Project::all_snapshots(&cache)));
            snapshot::take(&path, &project.snapshots(&cache), &cache)
        };
        self.snapshot.get_or_try_init(|| blocking(take)).await.map(Snapshot::tree)
    }

    /// That directory, if somebody has asked for it before.
    #[must_use]
    pub fn known_tree(&self) -> Option<&Path> {
        self.snapshot.get().map(Snapshot::tree)
    }

    /// True if no other run has seen the project in another state since its snapshot was taken. What is made from an
    /// older state must not be kept for later runs: they would take what has changed for older than what was made.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.snapshot.get().is_none_or(Snapshot::is_last)
    }

    /// Archive of those files. Made when it is first asked for.
    ///
    /// # Errors
    /// As [`tree`](Self::tree), and there may be no room for the archive in the cache.
    pub async fn archive(&self) -> Result<Arc<Archive>, WorkspaceError> {
        let (tree, cache) = (self.tree().await?.to_owned(), self.cache.clone());
        let pack = move || Ok(Arc::new(Archive::pack(&tree, &cache)?));
        self.archive.get_or_try_init(|| blocking(pack)).await.cloned()
    }
}

/// Does work that waits for the disk, on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WorkspaceError> + Send + 'static,
) -> Result<T, WorkspaceError> {
    hm_disk::blocking(work).await?
}
