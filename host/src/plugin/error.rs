//! Why a plugin cannot be loaded, and how a call of a loaded plugin failed. Each error names the plugin.

use std::path::PathBuf;
use std::sync::Arc;

use hm_abi::CallError;
use hm_plugin_protocol::PluginError;

use super::CompileError;

/// Why a plugin cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file cannot be read.
    #[error("cannot read plugin {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no code for its bytes.
    #[error("plugin {plugin} is not a module that can be loaded")]
    Code {
        /// The plugin.
        plugin: Arc<str>,
        /// Why.
        source: CompileError,
    },
    /// Its module does not fit what there is to import.
    #[error("plugin {plugin} is not a module that can be loaded")]
    Module {
        /// The plugin.
        plugin: Arc<str>,
        /// Why.
        source: hm_abi::LoadError,
    },
    /// It has no `hm_manifest`.
    #[error("plugin {plugin} exports no function `hm_manifest`, so it is no hm plugin")]
    NoManifest {
        /// The plugin.
        plugin: Arc<str>,
    },
    /// Its `hm_manifest` failed.
    #[error("plugin {plugin} could not say what it is: hm_manifest failed")]
    ManifestCall {
        /// The plugin.
        plugin: Arc<str>,
        /// How.
        source: CallError,
    },
    /// What it says of itself cannot be read.
    #[error("plugin {plugin} has a manifest that cannot be read")]
    ManifestJson {
        /// The plugin.
        plugin: Arc<str>,
        /// Why.
        source: serde_json::Error,
    },
    /// What it says of itself cannot be.
    #[error("plugin {plugin} has a manifest that cannot be accepted: {reason}")]
    Manifest {
        /// The plugin.
        plugin: Arc<str>,
        /// Why.
        reason: String,
    },
}

/// How a call of a plugin failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginFailure {
    /// The plugin says so itself.
    #[error("plugin {plugin}: {error} [{}]{}", error.code, error.doc_url.as_deref().map(|u| format!(", see {u}")).unwrap_or_default())]
    Reported {
        /// The plugin.
        plugin: Arc<str>,
        /// What it says.
        error: PluginError,
    },
    /// It could not be called, or broke the rules, or its limits.
    #[error("plugin {plugin} failed in {export}")]
    Call {
        /// The plugin.
        plugin: Arc<str>,
        /// The function.
        export: &'static str,
        /// How.
        source: CallError,
    },
    /// It answered something else than the protocol says.
    #[error("plugin {plugin} gave an answer from {export} that cannot be read")]
    Answer {
        /// The plugin.
        plugin: Arc<str>,
        /// The function.
        export: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The host could not write down what it wanted to say.
    #[error("the input of {export} of plugin {plugin} could not be written")]
    Input {
        /// The plugin.
        plugin: Arc<str>,
        /// The function.
        export: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl PluginFailure {
    /// The failure of a call: plugins of our SDK put a [`PluginError`] into the message.
    pub(crate) fn from_call(plugin: Arc<str>, export: &'static str, source: CallError) -> Self {
        if let CallError::Guest { message: Some(message), .. } = &source
            && let Ok(error) = serde_json::from_str::<PluginError>(message)
        {
            return Self::Reported { plugin, error };
        }
        Self::Call { plugin, export, source }
    }
}

/// An error with its causes in one line, where there is no room for more.
#[must_use]
pub fn one_line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |&e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
