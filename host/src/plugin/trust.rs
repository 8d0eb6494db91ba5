//! Trust in plugins: where their files are, what lock files and `plugins.toml` say, and so whether a file may be loaded
//! at all, which is decided by its bytes alone, and what it is granted then.

use std::path::{Path, PathBuf};

use super::lock::{LOCK_FILE, LockEntry, LockError, PluginLock};
use super::settings::{PluginSettings, Settings, SettingsError};
use super::{LoadError, Origin};
use crate::host_functions::Grants;

/// The directories of a project, of which the first counts most.
const FOLDERS: [&str; 2] = [".hm", ".harmont"];

/// The directory of plugins, below those of the user and of the project.
pub(super) const FOLDER: &str = "plugins";

/// Decisions of the user and the project about plugins, read once for a start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// The user's configuration folder, `$XDG_CONFIG_HOME/harmont`.
    config: PathBuf,
    /// The project's directories, of which the first counts most.
    project: Vec<PathBuf>,
    /// Plugins that the user has installed or trusts.
    pub lock: PluginLock,
    /// Plugins that the project has pinned, with the file that says so.
    pins: Vec<(PathBuf, PluginLock)>,
    pub settings: Settings,
}

/// Error that leaves open what plugins may do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// A lock file cannot be used.
    #[error(transparent)]
    LockFile(#[from] LockError),
    /// A `plugins.toml` cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Trust {
    /// Reads lock files and settings: those in the user's folder `config`, and those of a project.
    ///
    /// # Errors
    /// [`TermsError`], which names the file.
    pub(crate) fn read(config: &Path, project: Option<&Path>) -> Result<Self, TrustError> {
        let folders = |project: &Path| FOLDERS.map(|folder| project.join(folder)).to_vec();
        let folders = project.map(folders).unwrap_or_default();
        let pins = project
            .into_iter()
            .flat_map(|project| FOLDERS.map(|folder| PluginLock::read_in(project, folder)));
        let pins = pins.collect::<Result<_, _>>()?;
        Ok(Self {
            config: config.into(),
            project: folders,
            lock: PluginLock::read(&config.join(LOCK_FILE))?,
            pins,
            settings: Settings::read(config, project)?,
        })
    }

    /// The files of plugins: the user's first, each directory's in order.
    #[must_use]
    pub(crate) fn files(&self) -> Vec<Origin> {
        let mut files: Vec<_> = wasm_files(&self.config.join(FOLDER)).into_iter().map(Origin::User).collect();
        for folder in &self.project {
            files.extend(wasm_files(&folder.join(FOLDER)).into_iter().map(Origin::Project));
        }
        files
    }

    /// Grants of a plugin with these bytes, whose name is that of its file, or what it says itself. None stands for all
    /// that it asks for.
    ///
    /// # Errors
    /// [`LoadError`], if it must not run.
    pub(super) fn grants(
        &self,
        origin: &Origin,
        name: &str,
        digest: &str,
    ) -> Result<Option<Grants>, LoadError> {
        if let Some(file) = self.settings.of(name).disabled_by {
            return Err(LoadError::Disabled { plugin: name.into(), file });
        }
        let entry = self.lock.of(digest);
        match origin {
            Origin::BuiltIn => Ok(None),
            Origin::User(path) => match entry {
                Some(entry) => Ok(Some(entry.grants())),
                None if self.lock.installed(name).is_some() => {
                    Err(LoadError::Altered { plugin: name.into(), path: path.clone() })
                }
                None => Ok(Some(Grants::default())),
            },
            Origin::Project(_) => {
                let pin = self.check_pins(origin, name, digest)?;
                let entry = entry.filter(|entry| entry.trusted);
                match (entry, pin) {
                    (None, _) => Err(LoadError::NotTrusted { plugin: name.into() }),
                    (Some(entry), Some(pin)) => Ok(Some(entry.grants_within(pin))),
                    (Some(entry), None) => Ok(Some(entry.grants())),
                }
            }
        }
    }

    /// Settings for a plugin in `plugins.toml`; its grants, too, only as far as a pin of the project's allows them.
    ///
    /// # Errors
    /// [`LoadError::Pinned`]
    pub(super) fn setting(
        &self,
        origin: &Origin,
        name: &str,
        digest: &str,
    ) -> Result<PluginSettings, LoadError> {
        let mut setting = self.settings.of(name);
        if let Some(pin) = self.check_pins(origin, name, digest)? {
            setting
                .functions
                .retain(|function| pin.functions.contains(function) || pin.by_name.contains(function));
            setting.reach.retain(|entry| pin.reach.contains(entry));
        }
        Ok(setting)
    }

    /// The same, with the user's lock file read anew.
    pub(super) fn again(&self) -> Result<Self, LockError> {
        Ok(Self { lock: PluginLock::read(&self.config.join(LOCK_FILE))?, ..self.clone() })
    }

    /// The pin of a plugin, if it is one of the project's and that has pinned it.
    ///
    /// # Errors
    /// [`LoadError::Pinned`], if the project has pinned something else under its name.
    pub(crate) fn check_pins(
        &self,
        origin: &Origin,
        name: &str,
        digest: &str,
    ) -> Result<Option<&LockEntry>, LoadError> {
        let Origin::Project(path) = origin else { return Ok(None) };
        if let Some(pin) = self.pins.iter().find_map(|(_, pins)| pins.of(digest)) {
            return Ok(Some(pin));
        }
        match self.pins.iter().find(|(_, pins)| pins.named(name).next().is_some()) {
            None => Ok(None),
            Some((pins, _)) => {
                Err(LoadError::Pinned { plugin: name.into(), path: path.clone(), pins: pins.clone() })
            }
        }
    }
}

/// Name of a plugin as long as it may not say its own: its file, without the ending.
#[must_use]
pub(crate) fn file_name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The `.wasm` files of a folder, in order; none if it cannot be read, for most have no such folder.
fn wasm_files(folder: &Path) -> Vec<PathBuf> {
    let entries = hm_disk::list(folder).unwrap_or_default();
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "wasm"));
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lock entries: each a name, a digit for the digest, and what it grants.
    fn lock(entries: &[(&str, &str, &str)]) -> String {
        let entries = entries.iter().map(|(name, digit, functions)| {
            let digest = digit.repeat(64);
            format!("[[plugin]]\nname = '{name}'\nsha256 = '{digest}'\ninstalled = true\ntrusted = true\nfunctions = [{functions}]\n")
        });
        entries.collect()
    }

    fn trust(user: &str, pins: &str, settings: &str) -> Trust {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, project) = (dir.path().join("config"), dir.path().join("project"));
        std::fs::create_dir_all(&config).expect("a directory");
        std::fs::create_dir_all(project.join(".hm")).expect("a directory");
        for (path, text) in [
            (config.join(LOCK_FILE), user),
            (project.join(".hm").join(LOCK_FILE), pins),
            (config.join("plugins.toml"), settings),
        ] {
            std::fs::write(path, text).expect("a file");
        }
        Trust::read(&config, Some(&project)).expect("trust")
    }

    /// The functions that are granted, or why it must not run.
    fn granted(trust: &Trust, origin: &Origin, name: &str, digit: &str) -> String {
        match trust.grants(origin, name, &digit.repeat(64)) {
            Ok(None) => "all".into(),
            Ok(Some(grants)) => grants.functions.into_iter().collect::<Vec<_>>().join(" "),
            Err(LoadError::Disabled { .. }) => "disabled".into(),
            Err(LoadError::NotTrusted { .. }) => "not trusted".into(),
            Err(LoadError::Altered { .. }) => "altered".into(),
            Err(LoadError::Pinned { .. }) => "pinned".into(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn grants_go_with_the_digest_and_the_origin() {
        let (user, project) = (Origin::User("u.wasm".into()), Origin::Project("p.wasm".into()));
        let trust = trust(&lock(&[("x", "1", "'hm_log'")]), "", "[plugin.off]\nenabled = false\n");
        for (origin, name, digit, expected) in [
            (&Origin::BuiltIn, "local", "9", "all"),
            (&Origin::BuiltIn, "off", "9", "disabled"),
            (&user, "x", "1", "hm_log"),
            (&user, "another-name", "1", "hm_log"),
            (&user, "x", "2", "altered"),
            (&user, "y", "2", ""),
            (&user, "off", "1", "disabled"),
            (&project, "x", "1", "hm_log"),
            (&project, "x", "2", "not trusted"),
            (&project, "y", "2", "not trusted"),
        ] {
            assert_eq!(granted(&trust, origin, name, digit), expected, "{origin:?} {name} {digit}");
        }
    }

    #[test]
    fn what_is_only_installed_is_not_trusted_in_projects() {
        let installed = lock(&[("x", "1", "'hm_log'")]).replace("trusted = true", "trusted = false");
        let trust = trust(&installed, "", "");
        assert_eq!(granted(&trust, &Origin::Project("p.wasm".into()), "x", "1"), "not trusted");
        assert_eq!(granted(&trust, &Origin::User("u.wasm".into()), "x", "1"), "hm_log");
    }

    #[test]
    fn pins_cut_and_never_grant() {
        let project = Origin::Project("p.wasm".into());
        let user = lock(&[("x", "1", "'hm_log', 'hm_emit_event'"), ("y", "2", "'hm_log'")]);
        let pins = lock(&[
            ("x", "1", "'hm_log', 'hm_sandbox_exec'"),
            ("y", "3", "'hm_log'"),
            ("z", "4", "'hm_log'"),
        ]);
        let trust = trust(&user, &pins, "");
        for (name, digit, expected) in
            [("x", "1", "hm_log"), ("y", "2", "pinned"), ("z", "4", "not trusted"), ("z", "5", "pinned")]
        {
            assert_eq!(granted(&trust, &project, name, digit), expected, "{name} {digit}");
        }
        let elsewhere = Origin::User("u.wasm".into());
        assert_eq!(granted(&trust, &elsewhere, "y", "2"), "hm_log", "pins are for the project's own");
    }
}
