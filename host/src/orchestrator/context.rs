//! Context that all of a build share. It is made once, before the build begins, and handed down as it is: to `hm plan`,
//! to the build, to each of its steps.

use std::path::PathBuf;
use std::sync::Arc;

use hm_plugin_protocol::ArchiveId;
use uuid::Uuid;

use super::step_cache::StepCache;
use crate::backend::Backends;
use crate::host_functions::HostContext;
use crate::pipeline::Plan;
use crate::plugin::Plugins;
use crate::record::Recorder;

/// Context of a build.
pub(crate) struct BuildContext {
    /// Id of this run, the same everywhere.
    pub(crate) run_id: Uuid,
    /// Name of the project's files, for plugins.
    pub(crate) archive: ArchiveId,
    /// Steps to run, in their order.
    pub(crate) plan: Arc<Plan>,
    /// Plugins, among them the runners.
    pub(crate) plugins: Plugins,
    /// Places where commands run.
    pub(crate) backends: Backends,
    /// Everything outside of the plugins.
    pub(crate) host_context: Arc<HostContext>,
    /// Results of former builds; none if there is no cache.
    pub(crate) cache: Option<Arc<StepCache>>,
    /// Record of the build; none if there cannot be one.
    pub(crate) record: Option<Arc<Recorder>>,
    /// Directory for what steps produce; none where nobody wants that.
    pub(crate) artifacts: Option<PathBuf>,
}
