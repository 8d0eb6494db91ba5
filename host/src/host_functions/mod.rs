//! Where wire types meet the ABI: the state of a plugin instance, and the one table of host functions that says what
//! exists, what it needs, what it costs and what it does. Which plugins there are is `plugin`'s affair.

mod audit;
mod browser;
mod diagnostics;
mod docker;
mod gate;
mod handles;
mod keyring;
mod kv;
mod lines;
mod linking;
mod log;
mod output;
mod policy;
mod project;
mod reach;
mod secrets;
mod sockets;
mod step;
mod steps;
mod table;
mod terminal;
mod world;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use audit::{Audit, AuditLine};
pub use diagnostics::{Diagnostic, Diagnostics, Said};
pub use handles::Handles;
pub use lines::LineSplitter;
pub use linking::{host_functions, reference, required_but_unknown};
pub use output::{Output, Stream};
pub use policy::{Decision, Grants, Policy, Reach};
pub use reach::{Authorities, Outside};
pub use secrets::{Masker, Secrets, TooManySecrets};
pub use step::{StepContext, StepTerms};
pub use table::{Grant, HostFn, TABLE};
pub use world::World;

use crate::backend::kv::Values;

/// What a host function takes, already copied out of the guest.
pub type Args = Vec<Vec<u8>>;

/// What one instance of a plugin is, and may do. The host functions see nothing else.
pub struct PluginState {
    /// The plugin's name; before its manifest is read, its file.
    pub plugin: Arc<str>,
    /// What the plugin may do.
    pub policy: Arc<Policy>,
    /// What the instance was made for.
    pub role: Role,
    /// What there is outside of the instance.
    pub world: Arc<World>,
    /// Cancelled once what the instance does is to stop.
    pub cancellation: CancellationToken,
    /// Where `hm_log` goes.
    pub diagnostics: Diagnostics,
    /// How much of it went there.
    pub said: Said,
    /// What the instance holds outside of itself.
    pub handles: Handles,
    /// The values that last as long as the instance.
    pub values: Values,
}

impl PluginState {
    /// The state of an instance that may be told to stop by nobody yet, and has said nothing.
    #[must_use]
    pub fn new(
        plugin: Arc<str>,
        policy: Arc<Policy>,
        role: Role,
        world: Arc<World>,
        diagnostics: Diagnostics,
    ) -> Self {
        let (cancellation, said, handles) = (CancellationToken::new(), Said::default(), Handles::default());
        let values = Values::default();
        Self { plugin, policy, role, world, cancellation, diagnostics, said, handles, values }
    }
}

/// What an instance was made for decides what it can act on.
pub enum Role {
    /// To say what it is.
    Manifest,
    /// To run one step.
    Executor(Box<StepContext>),
    /// To show the events of one build.
    Formatter(Output),
    /// To be told of the events of one build.
    Hook,
    /// To carry out one command.
    Subcommand(Output),
    /// To have a function called by `hm plugin call`.
    Call(Output),
}

/// The kinds of [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// [`Role::Manifest`]
    Manifest,
    /// [`Role::Executor`]
    Executor,
    /// [`Role::Formatter`]
    Formatter,
    /// [`Role::Hook`]
    Hook,
    /// [`Role::Subcommand`]
    Subcommand,
    /// [`Role::Call`]
    Call,
}

impl Role {
    /// Which it is.
    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            Self::Manifest => Who::Manifest,
            Self::Executor(_) => Who::Executor,
            Self::Formatter(_) => Who::Formatter,
            Self::Hook => Who::Hook,
            Self::Subcommand(_) => Who::Subcommand,
            Self::Call(_) => Who::Call,
        }
    }

    /// The streams that it writes to, if it has any.
    pub fn output(&mut self) -> Option<&mut Output> {
        match self {
            Self::Formatter(output) | Self::Subcommand(output) | Self::Call(output) => Some(output),
            Self::Manifest | Self::Executor(_) | Self::Hook => None,
        }
    }

    /// The step that it runs, if it runs one.
    #[must_use]
    pub fn step_id(&self) -> Option<Uuid> {
        match self {
            Self::Executor(step) => Some(step.terms.step_id),
            _ => None,
        }
    }
}

impl Who {
    /// One word, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Executor => "executor",
            Self::Formatter => "formatter",
            Self::Hook => "hook",
            Self::Subcommand => "subcommand",
            Self::Call => "call",
        }
    }

    /// All of them, for people.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Manifest => "a plugin that says what it is",
            Self::Executor => "step executors",
            Self::Formatter => "output formatters",
            Self::Hook => "lifecycle hooks",
            Self::Subcommand => "subcommands",
            Self::Call => "`hm plugin call`",
        }
    }
}
