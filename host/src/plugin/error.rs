//! Errors of plugins that cannot be loaded, and failures of calls of those that are. Each names the plugin.

use std::path::PathBuf;
use std::sync::Arc;

use hm_abi::CallError;
use hm_plugin_protocol::PluginError;

use super::CompileError;
use super::manifest::is_name;

/// Error of a plugin that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Its file cannot be read.
    #[error("cannot read plugin {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// There is no code for its bytes.
    #[error("plugin {plugin} is not a module that can be loaded")]
    Code { plugin: Arc<str>, source: CompileError },
    /// Its module does not fit what there is to import.
    #[error("plugin {plugin} is not a module that can be loaded")]
    Module { plugin: Arc<str>, source: hm_abi::LoadError },
    /// It has no `hm_manifest`.
    #[error("plugin {plugin} exports no function `hm_manifest`, so it is no hm plugin")]
    NoManifest { plugin: Arc<str> },
    /// A failure of `hm_manifest`.
    #[error("plugin {plugin} could not say what it is: hm_manifest failed")]
    ManifestCall { plugin: Arc<str>, source: CallError },
    /// A manifest that is not of the protocol.
    #[error("plugin {plugin} has a manifest that cannot be read")]
    ManifestJson { plugin: Arc<str>, source: serde_json::Error },
    /// A manifest that contradicts itself or this `hm`.
    #[error("plugin {plugin} has a manifest that cannot be accepted: {reason}")]
    Manifest { plugin: Arc<str>, reason: String },
    /// It is configured in a way that it does not take.
    #[error("{}: plugin.{plugin}.{key} is not what the plugin takes: {reason}", file.display())]
    Config {
        plugin: Arc<str>,
        file: PathBuf,
        /// Place in the file.
        key: String,
        /// Reason. No values are in it, for they may be secret.
        reason: String,
    },
    /// `plugins.toml` switches it off.
    #[error("plugin {plugin} is switched off in {}", file.display())]
    Disabled { plugin: Arc<str>, file: PathBuf },
    /// It comes with the project, and the user has not let it in.
    #[error(
        "plugin {} of this project is not trusted, so nothing of it runs; to let it in: hm plugin trust{}",
        shown(plugin),
        typed(plugin)
    )]
    NotTrusted {
        /// The plugin: the name of its file.
        plugin: Arc<str>,
    },
    /// The user has installed something else under this name.
    #[error(
        "plugin {plugin} in {}: its bytes are not those that were installed; install it again, if they are right",
        path.display()
    )]
    Altered { plugin: Arc<str>, path: PathBuf },
    /// The project has pinned something else under this name.
    #[error("plugin {plugin} in {}: its bytes are not those that {} pins", path.display(), pins.display())]
    Pinned {
        plugin: Arc<str>,
        path: PathBuf,
        /// The file that pins it.
        pins: PathBuf,
    },
}

/// The name of a file whose plugin could not say its own yet; in quotes, if it is odd.
fn shown(name: &str) -> String {
    if is_name(name) { name.to_owned() } else { format!("{name:?}") }
}

/// The name of a plugin as the rest of a command that can be typed; nothing, if a shell might take it for more than a
/// name.
fn typed(name: &str) -> String {
    if is_name(name) { format!(" {name}") } else { String::new() }
}

/// Failure of a call of a plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginFailure {
    /// The plugin says so itself.
    #[error("plugin {plugin}: {error} [{}]{}", error.code, error.doc_url.as_deref().map(|u| format!(", see {u}")).unwrap_or_default())]
    Reported { plugin: Arc<str>, error: PluginError },
    /// It could not be called, or broke the rules, or its limits.
    #[error("plugin {plugin} failed in {export}")]
    Call { plugin: Arc<str>, export: &'static str, source: CallError },
    /// It answered something else than the protocol says.
    #[error("plugin {plugin} gave an answer from {export} that cannot be read")]
    Answer { plugin: Arc<str>, export: &'static str, source: serde_json::Error },
    /// The host could not write down what it wanted to say.
    #[error("the input of {export} of plugin {plugin} could not be written")]
    Input { plugin: Arc<str>, export: &'static str, source: serde_json::Error },
}

impl PluginFailure {
    /// The failure of a call: plugins of our SDK put a [`PluginError`] into the message.
    /// `mask` takes secrets out of what the plugin says.
    pub(crate) fn from_call(
        plugin: Arc<str>,
        export: &'static str,
        mut source: CallError,
        mask: impl Fn(&str) -> String,
    ) -> Self {
        if let Some(message) = source.message_mut() {
            *message = mask(message);
        }
        if let CallError::Guest { message: Some(message), .. } = &source
            && let Ok(error) = serde_json::from_str::<PluginError>(message)
        {
            return Self::Reported { plugin, error };
        }
        Self::Call { plugin, export, source }
    }

    /// The plugin's own reason, if it did its work and found that it cannot be done; none if it broke.
    #[must_use]
    pub(crate) fn own_words(&self) -> Option<String> {
        match self {
            Self::Reported { error, .. } => Some(format!("{error} [{}]", error.code)),
            // Plugins of 0.0.1 send plain text.
            Self::Call { source: CallError::Guest { message: Some(message), .. }, .. } => {
                Some(message.clone())
            }
            Self::Call { source: source @ CallError::Guest { .. }, .. } => Some(source.to_string()),
            _ => None,
        }
    }
}
