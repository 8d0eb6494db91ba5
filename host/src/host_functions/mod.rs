//! Host functions: the state of a plugin instance that they act on, the one table that says which there are, what stands before
//! each, and their bodies. Which plugins there are is `plugin`'s affair.

mod audit;
mod browser;
mod call_rules;
mod diagnostics;
mod docker;
mod gate;
mod granted_access;
mod handles;
mod host_context;
mod keyring;
mod kv;
mod line_splitter;
mod log;
mod output;
mod ownership;
mod policy;
mod project;
#[cfg(test)]
mod reference;
mod role;
mod rules;
mod sandbox;
mod secrets;
mod sockets;
mod step_context;
mod table;
mod terminal;
mod wire;

use std::sync::Arc;

use hm_abi::HostError;
use hm_plugin_protocol::Level;
use tokio_util::sync::CancellationToken;

pub use audit::Audit;
pub use call_rules::{BackendKind, CallRules, RequiredGrant};
pub use diagnostics::{Diagnostic, Diagnostics, LogBudget};
pub use granted_access::Authorities;
pub(crate) use granted_access::GrantedAccess;
pub use handles::Handles;
pub use host_context::HostContext;
pub use output::{Output, Stream};
pub(crate) use policy::AccessEntry;
pub use policy::{Grants, Permission, Policy};
pub use role::{Role, RoleKind};
pub use secrets::Secrets;
pub use step_context::{StepContext, StepScope};
pub(crate) use table::required_but_unknown;
pub use table::{Form, HostFn, Param, TABLE, host_functions};

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
    /// Allowance for that.
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
    fn step(&mut self) -> Result<&mut StepContext, HostError> {
        match &mut self.role {
            Role::Executor(step) => Ok(step),
            other => Err(HostError::Denied {
                capability: format!("acting on a step, by {}", other.kind().plural()),
            }),
        }
    }

    /// Shows a line to whoever runs `hm`, with the plugin's name.
    async fn diagnose(&mut self, level: Level, text: &str) {
        self.diagnostics.send(&mut self.log_budget, level, &self.plugin, text).await;
    }
}
