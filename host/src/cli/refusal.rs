//! Refusals to install, trust or remove a plugin although everything works, and what helps. Exit codes are in
//! `exit_code`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::plugin::Conflict;

/// Reason of a refusal.
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
    NotInstalled { name: String, trusted: bool },
    #[error("`{name}` can be any of these files: {}", listed(files, ", "))]
    Several { name: String, files: Vec<PathBuf> },
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
            Self::NotInstalled { name, trusted: true } => {
                Some(format!("to take back the trust in it: hm plugin trust {name} --revoke").into())
            }
            Self::Several { files, .. } => {
                let commands = files.iter().filter_map(|file| file.file_name());
                let commands: Vec<_> =
                    commands.map(|file| format!("hm plugin remove {}", file.display())).collect();
                Some(format!("name one of them by its file: {}", commands.join(", or ")).into())
            }
            Self::NotInstalled { .. } | Self::NotTrusted { .. } => {
                Some("see what there is: hm plugin list".into())
            }
            Self::NotOfProject { known, .. } if known.is_empty() => None,
            Self::NotOfProject { known, .. } => Some(format!("it has: {}", known.join(", ")).into()),
            Self::Pin { .. } | Self::Declined => None,
        }
    }
}

/// Hint against two plugins that claim the same thing.
pub(super) fn conflict_hint(conflict: &Conflict) -> String {
    let [first, second] = conflict.claims.as_ref();
    if first.name != second.name {
        return format!(
            "remove one of them, or switch it off in plugins.toml: [plugin.{}] or [plugin.{}] enabled = false",
            first.name, second.name
        );
    }
    // What is to be installed has no file yet.
    let files = conflict.claims.iter().filter_map(|claim| claim.origin.path());
    let files: Vec<PathBuf> = files.filter(|path| path.exists()).map(Path::to_owned).collect();
    match files.as_slice() {
        [] => "give the new one another name in its manifest".into(),
        files => format!(
            "remove the file {}, or give one of them another name in its manifest",
            listed(files, " or ")
        ),
    }
}

fn listed(files: &[PathBuf], between: &str) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(between)
}
