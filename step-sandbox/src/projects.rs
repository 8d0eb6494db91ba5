//! Home directories of steps in a cache, one for each project. They go with the project's
//! snapshots when the project has gone.

use std::path::{Path, PathBuf};

use hm_disk::{discard, disk_usage, remove_tree, trash_in};
use hm_workspace::{Discarded, Project};

use crate::{cached_layers::Removed, error::SandboxError, run_directory};

/// The directory of the private home directories, as the links in a run's directory lead there.
const FROM_RUN: &str = "../../home";

/// The home directory of a project's steps.
pub(crate) fn home(project: &Project, cache: &Path) -> PathBuf {
    cache.join("home").join(project.key())
}

/// The target of a link in the directory of a run of this project.
pub(crate) fn link(project: &Project) -> PathBuf {
    Path::new(FROM_RUN).join(project.key())
}

/// The things of local sandboxes in a cache that were given up.
pub(crate) fn trash(cache: &Path) -> Vec<PathBuf> {
    ["kept", "home"].iter().flat_map(|place| trash_in(&cache.join(place))).collect()
}

/// Gives up what a cache has for projects that are not there any more, but for those that are being built. What it
/// takes is free when the trash has been emptied.
///
/// # Errors
/// It cannot be told what is in use, or the system says no.
pub fn forget_vanished(cache: &Path) -> Result<Removed, SandboxError> {
    let vanished = hm_workspace::vanished(cache)?;
    if vanished.is_empty() {
        return Ok(Removed::default());
    }
    // No run begins meanwhile.
    let gate = run_directory::gate(&cache.join("layers"))?;
    let used = run_directory::used(&cache.join("layers"))?;
    let mut given_up = Vec::new();
    for project in vanished.iter().filter(|project| !used.contains(&link(project))) {
        // Builds without a local sandbox have no directory of a run: only the snapshot that they hold says that they
        // are there.
        match project.discard_snapshots(cache)? {
            Discarded::InUse => continue,
            Discarded::Nothing => {}
            Discarded::Trash(snapshots) => given_up.push(snapshots),
        }
        given_up.extend(discard(&home(project, cache))?);
        project.forget(cache)?;
    }
    drop(gate);
    let bytes = given_up.iter().map(|path| disk_usage(path)).fold(0, u64::saturating_add);
    Ok(Removed { layers: given_up.len(), bytes })
}

/// Deletes what has been given up in a cache, however long that takes.
///
/// # Errors
/// The system says no; then what can be deleted is.
pub fn empty_trash(cache: &Path) -> Result<(), SandboxError> {
    let all = trash(cache).into_iter().chain(trash_in(&Project::all_snapshots(cache)));
    Ok(all.map(|path| remove_tree(&path)).fold(Ok(()), Result::and)?)
}
