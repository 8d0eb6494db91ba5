//! The trait of plugins that add a command to `hm`.
//! Arguments arrive parsed; the host did that with the manifest's `args_schema`.

use hm_plugin_protocol::{ExitInfo, PluginError};

pub use hm_plugin_protocol::SubcommandInput;

/// A command `hm VERB`.
pub trait SubcommandPlugin {
    /// Runs the command.
    ///
    /// # Errors
    /// When it failed in a way that deserves an error with a code; an exit code alone is an [`ExitInfo`].
    fn run(&self, input: SubcommandInput) -> Result<ExitInfo, PluginError>;
}
