//! The trait of plugins that listen to builds and may stop them.
//! The manifest's [`LifecycleHookSpec`](crate::LifecycleHookSpec) says which events arrive, and when.

use hm_plugin_protocol::PluginError;
pub use hm_plugin_protocol::hook::*;

/// Hears of the events that the manifest asked for.
pub trait LifecycleHook {
    /// Takes one event. [`HookOutcome::Abort`] stops the build in phase `before`; in `after` it changes nothing, and is
    /// reported as a mistake.
    ///
    /// # Errors
    /// When the hook could not do its work; in phase `before` that stops the build too, in `after` it switches the
    /// hook off.
    fn on_event(&self, event: HookEvent) -> Result<HookOutcome, PluginError>;
}
