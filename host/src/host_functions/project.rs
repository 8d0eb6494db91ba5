//! Host functions that read the project: its files as a step starts with them, in one archive, and the configuration
//! that it keeps for plugins. Which files those are is the back end's affair.

use std::io;
use std::sync::Arc;

use hm_abi::HostError;
use hm_disk::blocking;
use hm_plugin_protocol::{ArchiveId, ArchiveReadArgs};
use hm_workspace::archive::Archive;

use super::PluginState;
use crate::backend::config_files::{self, ConfigFileError};

/// `hm_archive_total_size`: bytes of the source archive.
pub(super) async fn hm_archive_total_size(
    state: &mut PluginState,
    archive: ArchiveId,
) -> Result<u64, HostError> {
    Ok(own_archive(state, archive).await?.size())
}

/// `hm_archive_read`: a part of the source archive; empty at its end.
pub(super) async fn hm_archive_read(
    state: &mut PluginState,
    ArchiveReadArgs { id, offset, max }: ArchiveReadArgs,
) -> Result<Vec<u8>, HostError> {
    let archive = own_archive(state, id).await?;
    Ok(blocking(move || archive.read(offset, max)).await.map_err(io::Error::from)??)
}

/// The archive of the step, which knows no other.
async fn own_archive(state: &mut PluginState, id: ArchiveId) -> Result<Arc<Archive>, HostError> {
    let step = state.step()?;
    step.check_archive(id)?;
    step.backends.workspace.archive().await.map_err(HostError::failed)
}

/// `hm_fs_read_config`: a file below the project's `.hm` or `.harmont`, if it is there.
pub(super) async fn hm_fs_read_config(
    state: &mut PluginState,
    path: String,
) -> Result<Option<Vec<u8>>, HostError> {
    let Some(project) = state.context.project.clone() else { return Ok(None) };
    match blocking(move || config_files::read(&project, &path)).await.map_err(HostError::failed)? {
        Err(error @ ConfigFileError::Outside(_)) => {
            Err(HostError::Denied { capability: format!("hm_fs_read_config: {error}") })
        }
        content => content.map_err(HostError::failed),
    }
}
