//! State of one instance of a plugin, and all that host functions can act on.

use std::sync::Arc;

use hm_abi::HostError;
use hm_plugin_protocol::Level;
use tokio_util::sync::CancellationToken;

use super::diagnostics::{Diagnostics, LogBudget};
use super::handles::Handles;
use super::host_context::HostContext;
use super::policy::Policy;
use super::role::Role;
use super::step_context::StepContext;
use crate::backend::kv::Values;

/// State of one instance of a plugin: its identity, its rights, and what it holds. The host functions see nothing else.
pub struct PluginState {
    /// The plugin's name; before its manifest is read, its file.
    pub plugin: Arc<str>,
    /// Rights of the plugin.
    pub policy: Arc<Policy>,
    /// Purpose of the instance.
    pub role: Role,
    /// The outside world, shared by all instances of this start of `hm`.
    pub context: Arc<HostContext>,
    /// Cancelled once the instance is to stop.
    pub cancellation: CancellationToken,
    /// Destination of `hm_log`.
    pub diagnostics: Diagnostics,
    /// Allowance for lines of `hm_log`.
    pub log_budget: LogBudget,
    /// Sockets and other things outside of the instance that it has open.
    pub handles: Handles,
    /// Values that last as long as the instance.
    pub values: Values,
}

impl PluginState {
    /// The state of an instance that may be told to stop by nobody yet, and has said nothing.
    #[must_use]
    pub fn new(
        plugin: Arc<str>,
        policy: Arc<Policy>,
        role: Role,
        context: Arc<HostContext>,
        diagnostics: Diagnostics,
    ) -> Self {
        let (cancellation, values) = (CancellationToken::new(), Values::default());
        let (log_budget, handles) = (LogBudget::default(), Handles::default());
        Self { plugin, policy, role, context, cancellation, diagnostics, log_budget, handles, values }
    }

    /// The step of an executor; nobody else has one.
    pub(super) fn step(&mut self) -> Result<&mut StepContext, HostError> {
        match &mut self.role {
            Role::Executor(step) => Ok(step),
            other => Err(HostError::Denied {
                capability: format!("acting on a step, by {}", other.kind().plural()),
            }),
        }
    }

    /// Shows a line to whoever runs `hm`, with the plugin's name.
    pub(super) async fn diagnose(&mut self, level: Level, text: &str) {
        self.diagnostics.send(&mut self.log_budget, level, &self.plugin, text).await;
    }
}
