//! Host functions that read the project: its files as a step starts with them, in one archive, and the configuration that it
//! keeps for plugins. Which files those are is the back end's affair.

use std::io;

use hm_abi::{HostError, HostFuture};
use hm_plugin_protocol::{ArchiveId, ArchiveReadArgs};
use hm_workspace::archive::Archive;

use super::steps::{Misuse, failed, json, step, text};
use super::{Args, PluginState};
use crate::backend::config_files::{self, ConfigFileError};

/// `hm_archive_total_size`: how many bytes the source archive has.
pub(super) fn archive_total_size(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let id: ArchiveId = json("hm_archive_total_size", &args[0])?;
        Ok(archive(state, id).await?.size().to_le_bytes().to_vec())
    })
}

/// `hm_archive_read`: a part of the source archive; empty at its end.
pub(super) fn archive_read(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let ArchiveReadArgs { id, offset, max } = json("hm_archive_read", &args[0])?;
        let archive = archive(state, id).await?;
        Ok(blocking(move || archive.read(offset, max)).await??)
    })
}

/// The archive of the step, which knows no other.
async fn archive(state: &mut PluginState, id: ArchiveId) -> Result<std::sync::Arc<Archive>, HostError> {
    let step = step(state)?;
    if id != step.terms.archive {
        return Err(failed(Misuse::NotItsArchive));
    }
    step.backends.workspace.archive().await.map_err(failed)
}

/// `hm_fs_read_config`: a file below the project's `.hm` or `.harmont`, or null.
pub(super) fn fs_read_config(state: &mut PluginState, args: Args) -> HostFuture<'_> {
    Box::pin(async move {
        let path = text("hm_fs_read_config", &args[0])?.to_owned();
        let content = match state.world.project.clone() {
            Some(project) => match blocking(move || config_files::read(&project, &path)).await? {
                Err(error @ ConfigFileError::Outside(_)) => {
                    return Err(HostError::Denied { capability: format!("hm_fs_read_config: {error}") });
                }
                content => content.map_err(failed)?,
            },
            None => None,
        };
        serde_json::to_vec(&content).map_err(failed)
    })
}

/// For work that waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, io::Error> {
    Ok(tokio::task::spawn_blocking(work).await?)
}
