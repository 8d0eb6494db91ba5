//! The rules for calling a host function: what it reaches, which grant and which role a call needs, what it costs and
//! how long it may take. Those of each function are in `rules`.

use std::time::Duration;

use super::RoleKind;

/// Rules for calls of one host function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRules {
    /// Back end that it acts on.
    pub backend: BackendKind,
    /// Grant that a call needs, beyond that the manifest asks for the function.
    pub grant: RequiredGrant,
    /// Instances that may call it.
    pub roles: &'static [RoleKind],
    /// Fuel that a call costs, beside its bytes.
    pub fuel: u64,
    /// Longest time that it may take; none: as long as the guest's call.
    pub deadline: Option<Duration>,
    /// Sentence for who installs a plugin, after "It can …".
    pub description: &'static str,
}

/// Back end that a host function acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// None: it only passes on what the plugin says, or tells it what it is to do.
    None,
    /// Sandboxes on this machine, and what is kept of them.
    Sandbox,
    /// Containers of a Docker Engine, and its images.
    Docker,
    /// Files of the project.
    Project,
    /// Values that a plugin has stored.
    Values,
    /// Unix sockets that are granted by path.
    Sockets,
    /// Secrets of the person.
    Keyring,
    /// Questions to the person.
    Terminal,
    /// The person's browser, and where it is sent back to.
    Browser,
}

/// Grant of the user without which a host function does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredGrant {
    /// None: it reaches nothing beyond the plugin's own step or output. Asking for it in the manifest is enough.
    None,
    /// That of the function itself.
    Function,
}
