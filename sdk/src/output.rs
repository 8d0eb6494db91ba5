//! The trait of plugins that show a build.
//! The host decides where the bytes go, and what a terminal may be sent.

use hm_plugin_protocol::PluginError;
pub use hm_plugin_protocol::events::*;

/// Shows a build to somebody, or to some program.
///
/// One instance of the plugin lives for the whole build, but `self` is a new default value in each call: what
/// is to be remembered between events belongs in a `thread_local!` or in an Extism variable.
pub trait OutputFormatter {
    /// Takes one event. Events come in order, and each once.
    ///
    /// # Errors
    /// When the event cannot be shown. The build goes on.
    fn on_event(&self, event: BuildEvent) -> Result<(), PluginError>;

    /// Bytes to be written after the last event: none, unless the format is one document.
    ///
    /// # Errors
    /// When the document cannot be made.
    fn finalize(&self) -> Result<Vec<u8>, PluginError> {
        Ok(Vec::new())
    }
}
