//! The failure of a plugin's capability, and the end of its command.
//! The host decides how these look to a person and which exit code they become.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Outcome of a subcommand: the process exit code, and a line for the person at the terminal if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExitInfo {
    /// Becomes the exit code of `hm`.
    pub exit_code: i32,
    /// Shown after the command's own output.
    pub message: Option<String>,
}

/// The failure of a capability export. Returned with Extism's return code 1, this object (as JSON) is the text
/// of the error; plugins of 0.0.1 set the bare message instead, and hosts accept both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// A stable word that tools match on, such as `image_not_found`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// Address of a document to read on.
    pub doc_url: Option<String>,
}

impl PluginError {
    /// An error with this code and message, and no document to point at.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), doc_url: None }
    }

    /// The same error, pointing at a document.
    #[must_use]
    pub fn with_doc(mut self, url: impl Into<String>) -> Self {
        self.doc_url = Some(url.into());
        self
    }
}
