//! The configuration files: `config.toml` in the user's configuration folder and in the project's `.hm/`.
//! A project can take away, never give: whatever either file forbids is forbidden.

use std::path::Path;

use serde::Deserialize;

use super::error::CliError;
use crate::files::read_regular;

/// A configuration larger than this is none.
const MAX_BYTES: usize = 1 << 20;

/// What the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Config {
    /// Steps get no network.
    pub(super) offline: bool,
}

impl Config {
    /// Reads both files, as far as they exist.
    pub(super) fn read(user: &Path, project: &Path) -> Result<Self, CliError> {
        let files =
            [user.join("config.toml"), project.join(".hm/config.toml"), project.join(".harmont/config.toml")];
        let mut merged = Self::default();
        for path in files {
            let config = read(&path)?;
            merged.offline |= config.offline;
        }
        Ok(merged)
    }
}

fn read(path: &Path) -> Result<Config, CliError> {
    let failed = |source| CliError::Config { path: path.into(), source };
    match read_regular(path, MAX_BYTES) {
        Ok(text) => toml::from_slice(&text).map_err(|e| failed(e.into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
        Err(e) => Err(failed(e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_file_can_forbid_and_typos_are_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let (user, project) = (dir.path().join("user"), dir.path().join("project"));
        std::fs::create_dir_all(project.join(".hm")).expect("directory");
        std::fs::create_dir_all(&user).expect("directory");
        let read = || Config::read(&user, &project).map(|c| c.offline).map_err(|e| e.to_string());
        assert_eq!(read(), Ok(false));
        std::fs::write(user.join("config.toml"), "offline = true\n").expect("file");
        std::fs::write(project.join(".hm/config.toml"), "offline = false\n").expect("file");
        assert_eq!(read(), Ok(true));
        std::fs::write(project.join(".hm/config.toml"), "ofline = true\n").expect("file");
        assert!(read().expect_err("a typo").contains(".hm/config.toml"));
    }
}
