//! Why a plugin is not let in, or not thrown out, although everything works. Exit codes are in `error`.

use std::borrow::Cow;

use super::error::CliError;
use crate::plugin::{FetchError, LockError};

/// What stands in the way.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the SHA-256 of {from} is {found}, and not {pin}")]
    Pin { from: String, found: String, pin: String },
    #[error("nobody has agreed to this, and there is no terminal to ask at; nothing was changed")]
    NoTerminal,
    #[error("you have not agreed; nothing was changed")]
    Declined,
    #[error("plugin {name} is a part of hm and cannot be removed")]
    BuiltIn { name: String },
    #[error("there is no plugin `{name}` of yours")]
    NotInstalled { name: String },
    #[error("no plugin `{name}` is trusted")]
    NotTrusted { name: String },
    #[error("this project has no plugin `{name}`")]
    NotOfProject { name: String, known: Vec<String> },
}

impl Refusal {
    pub(super) fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoTerminal => Some("--yes agrees to all that was shown, in scripts too".into()),
            Self::BuiltIn { name } => Some(
                format!("to switch it off, write into plugins.toml: [plugin.{name}] enabled = false").into(),
            ),
            Self::NotInstalled { .. } | Self::NotTrusted { .. } => {
                Some("see what there is: hm plugin list".into())
            }
            Self::NotOfProject { known, .. } if known.is_empty() => None,
            Self::NotOfProject { known, .. } => Some(format!("it has: {}", known.join(", ")).into()),
            Self::Pin { .. } | Self::Declined => None,
        }
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        Self::Terms(error.into())
    }
}

impl From<FetchError> for CliError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::File { path, source } => Self::Input { from: path.display().to_string(), source },
            FetchError::Tls(source) => Self::Certificates(source),
            other => Self::Fetch(other),
        }
    }
}
