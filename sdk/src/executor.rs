//! The trait of plugins that run steps.
//! The host decides when a step runs, and from which state.

use hm_plugin_protocol::PluginError;
pub use hm_plugin_protocol::executor::*;

/// Runs the steps that name this plugin's runner.
pub trait StepExecutor {
    /// Runs one step to its end. Called once for each step, in an instance of its own.
    ///
    /// A command that fails is a [`StepResult`] with its exit code, not an error.
    ///
    /// # Errors
    /// When the step could not be run.
    fn run(&self, input: ExecutorInput) -> Result<StepResult, PluginError>;
}
