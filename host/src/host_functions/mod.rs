//! Host functions: the state of a plugin instance that they act on, the one table that says which there are, what
//! stands before each, and their bodies. Which plugins there are is `plugin`'s affair.

mod audit;
mod authorities;
mod browser;
mod call_rules;
mod diagnostics;
mod docker;
mod gate;
mod granted_access;
mod handles;
mod host_context;
mod host_fn;
mod keyring;
mod kv;
mod line_splitter;
mod log;
mod output;
mod ownership;
mod plugin_state;
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
mod write;

pub use audit::Audit;
pub use authorities::Authorities;
pub use call_rules::{BackendKind, CallRules, RequiredGrant};
pub use diagnostics::{Diagnostic, Diagnostics, LogBudget};
pub(crate) use granted_access::GrantedAccess;
pub use handles::Handles;
pub use host_context::HostContext;
pub use host_fn::{Form, HostFn, Param};
pub use output::{Output, Stream};
pub use plugin_state::PluginState;
pub(crate) use policy::AccessEntry;
pub use policy::{Grants, Permission, Policy};
pub use role::{Role, RoleKind};
pub use secrets::Secrets;
pub use step_context::{StepContext, StepScope};
pub(crate) use table::required_but_unknown;
pub use table::{TABLE, host_functions};
