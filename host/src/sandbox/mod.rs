//! Where wire types meet the ABI: the state of a plugin instance, and the one table of host functions that says what
//! exists, what it needs, what it costs and what it does. Which plugins there are is `plugin`'s affair.

mod diagnostics;
mod lines;
mod log;
mod output;
mod step;
mod steps;
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use diagnostics::{Diagnostic, Diagnostics, Said};
pub use lines::LineSplitter;
pub use output::{Output, Stream};
pub use step::{EventSender, StepContext};
pub use table::{Grant, HostFn, TABLE, host_functions, required_but_unknown};

/// What a host function takes, already copied out of the guest.
pub type Args = Vec<Vec<u8>>;

/// What one instance of a plugin is, and may do. The host functions see nothing else.
pub struct PluginState {
    /// The plugin's name; before its manifest is read, its file.
    pub plugin: Arc<str>,
    /// The host functions that the manifest asked for and the user granted.
    pub granted: Arc<BTreeSet<String>>,
    /// What the instance was made for.
    pub role: Role,
    /// Where `hm_log` goes.
    pub diagnostics: Diagnostics,
    /// How much of it went there.
    pub said: Said,
}

/// What an instance was made for decides what it can act on.
pub enum Role {
    /// To say what it is.
    Manifest,
    /// To run one step.
    Executor(Box<StepContext>),
    /// To show the events of one build.
    Formatter(Output),
}

impl Role {
    /// For messages: what the plugin is doing.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Executor(_) => "step executor",
            Self::Formatter(_) => "output formatter",
        }
    }
}
