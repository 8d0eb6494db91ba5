//! `plugins.toml`: what the user and the project say about single plugins. A project can switch off, configure and take
//! away; it cannot grant. Whether a configuration is what its plugin takes is checked where the plugin is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use hm_disk::{PathError, cannot, read_regular, read_regular_below};
use hm_plugin_protocol::PluginManifest;
use serde::Deserialize;
use serde_json::Value;

use super::LoadError;
use super::limits::{LimitSettings, Limits};
use super::manifest::is_name;
use crate::host_functions::{AccessEntry, HostFn};
use crate::pipeline::Checker;

/// The name of the files.
const FILE: &str = "plugins.toml";

/// A file larger than this is none.
const MAX_BYTES: usize = 1 << 20;

/// Error of a `plugins.toml` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// It is not of this form.
    #[error("{} cannot be understood", path.display())]
    Form { path: PathBuf, source: Box<toml::de::Error> },
    /// A section that contradicts itself or asks for what a project cannot have.
    #[error("{}: [plugin.{plugin}]: {reason}", path.display())]
    Plugin { path: PathBuf, plugin: String, reason: String },
}

/// Settings of all files together, by plugin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    plugins: BTreeMap<String, PluginSettings>,
}

/// Settings of all files together for one plugin.
#[derive(Debug, Clone, Default)]
pub(crate) struct PluginSettings {
    /// The file that switches it off.
    pub disabled_by: Option<PathBuf>,
    /// Its configuration, by key.
    pub config: BTreeMap<String, ConfigValue>,
    /// Host functions and entries of `allowed_hosts` that it does not get, whatever was granted.
    pub denied: BTreeSet<String>,
    /// Grants by name of the user: host functions, and `keyring:SERVICE`.
    pub functions: BTreeSet<String>,
    /// Entries of `allowed_hosts` that the user grants.
    pub reach: BTreeSet<String>,
    pub limits: Limits,
    /// The files that speak of it.
    pub files: Vec<PathBuf>,
}

/// One value of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfigValue {
    pub value: Value,
    /// The file it is from.
    pub file: PathBuf,
    /// True if that is the user's.
    pub of_user: bool,
}

/// Words in keys of a configuration whose values may be secret.
const SECRET: [&str; 8] =
    ["token", "secret", "password", "passwd", "passphrase", "key", "auth", "credential"];

/// True if the value of a configuration key may be a secret, judged by the key.
#[must_use]
pub(crate) fn may_be_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|word| key.contains(word))
}

impl ConfigValue {
    /// The value as the guest sees it: text as it is, all else as JSON.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        }
    }
}

/// Content of one `plugins.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    plugin: BTreeMap<String, Section>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    enabled: Option<bool>,
    config: toml::Table,
    deny: BTreeSet<String>,
    grant: BTreeSet<String>,
    limits: LimitSettings,
}

/// Owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileOwner {
    User,
    Project,
}

impl Settings {
    /// Reads the user's file in `config`, and those of a project.
    ///
    /// # Errors
    /// [`SettingsError`], which names the file.
    pub(crate) fn read(config: &Path, project: Option<&Path>) -> Result<Self, SettingsError> {
        let mut this = Self::default();
        let path = config.join(FILE);
        this.add(&path, read_regular(&path, MAX_BYTES), FileOwner::User)?;
        // Of two values for a key the later one counts.
        for folder in [".harmont", ".hm"] {
            if let Some(project) = project {
                let below = Path::new(folder).join(FILE);
                let read = read_regular_below(project, &below, MAX_BYTES);
                this.add(&project.join(below), read, FileOwner::Project)?;
            }
        }
        Ok(this)
    }

    /// Settings for this plugin.
    #[must_use]
    pub(crate) fn of(&self, plugin: &str) -> PluginSettings {
        self.plugins.get(plugin).cloned().unwrap_or_default()
    }

    /// All plugins of which something is said, and where.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.plugins
            .iter()
            .filter_map(|(name, setting)| Some((name.as_str(), setting.files.first()?.as_path())))
    }

    fn add(&mut self, path: &Path, read: io::Result<Vec<u8>>, whose: FileOwner) -> Result<(), SettingsError> {
        let text = match read {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(cannot("read", path)(error).into()),
        };
        let form = |source| SettingsError::Form { path: path.into(), source: Box::new(source) };
        let file: File = toml::from_slice(&text).map_err(form)?;
        for (name, section) in file.plugin {
            if !is_name(&name) {
                let reason = "this is not the name of a plugin".into();
                return Err(SettingsError::Plugin { path: path.into(), plugin: name, reason });
            }
            let setting = self.plugins.entry(name.clone()).or_default();
            let added = setting.add(section, path, whose);
            added.map_err(|reason| SettingsError::Plugin { path: path.into(), plugin: name, reason })?;
        }
        Ok(())
    }
}

impl PluginSettings {
    fn add(&mut self, section: Section, path: &Path, whose: FileOwner) -> Result<(), String> {
        let Section { enabled, config, deny, grant, limits } = section;
        if whose == FileOwner::Project && !grant.is_empty() {
            return Err(
                "a project cannot grant anything: `grant` belongs into the user's plugins.toml".into()
            );
        }
        if enabled == Some(false) && self.disabled_by.is_none() {
            self.disabled_by = Some(path.into());
        }
        for (key, value) in config {
            let value = json(value).map_err(|reason| format!("config.{key}: {reason}"))?;
            self.config
                .insert(key, ConfigValue { value, file: path.into(), of_user: whose == FileOwner::User });
        }
        for entry in &deny {
            subject(entry).map_err(|reason| format!("deny: {reason}"))?;
        }
        self.denied.extend(deny);
        for entry in grant {
            match subject(&entry).map_err(|reason| format!("grant: {reason}"))? {
                GrantSubject::Reach => self.reach.insert(entry),
                GrantSubject::ByName => self.functions.insert(entry),
            };
        }
        match whose {
            FileOwner::User => self.limits.set = limits,
            FileOwner::Project => self.limits.cap = self.limits.cap.lower(&limits),
        }
        self.files.push(path.into());
        Ok(())
    }
}

/// Kind of thing that can be granted or denied.
enum GrantSubject {
    ByName,
    Reach,
}

fn subject(entry: &str) -> Result<GrantSubject, String> {
    match check_by_name(entry) {
        Ok(()) => Ok(GrantSubject::ByName),
        // A misspelt function would pass for a host.
        Err(_) if !entry.starts_with("hm_") && AccessEntry::parse(entry) != AccessEntry::Unknown => {
            Ok(GrantSubject::Reach)
        }
        Err(_) => Err(format!(
            "{entry:?} is not a host function, not keyring:SERVICE, and no entry of allowed_hosts either"
        )),
    }
}

/// Checks that something can be granted by name: a host function, or `keyring:SERVICE`.
///
/// # Errors
/// The reason, as a sentence.
pub(crate) fn check_by_name(name: &str) -> Result<(), String> {
    let keyring = name.strip_prefix("keyring:").is_some_and(|service| !service.is_empty());
    if keyring || HostFn::named(name).is_some() {
        return Ok(());
    }
    Err(format!("{name:?} is not a host function, nor of the form keyring:SERVICE"))
}

/// Checks that a plugin is configured as its own schema wants it, if it is configured at all.
pub(super) fn check_config(manifest: &PluginManifest, setting: &PluginSettings) -> Result<(), LoadError> {
    let (Some(schema), Some((_, any))) = (&manifest.config_schema, setting.config.first_key_value()) else {
        return Ok(());
    };
    let wrong = |key: String, file: &Path, reason| LoadError::Config {
        plugin: manifest.name.as_str().into(),
        file: file.into(),
        key,
        reason,
    };
    let unusable = |reason| wrong("config".into(), &any.file, format!("its schema cannot be used: {reason}"));
    let checker = Checker::new(schema).map_err(unusable)?;
    let values = setting.config.iter().map(|(key, given)| (key.clone(), given.value.clone()));
    checker.check_secret(&Value::Object(values.collect())).map_err(|(key, reason)| match key {
        Some(key) => {
            let file = setting.config.get(&key).unwrap_or(any).file.clone();
            wrong(format!("config.{key}"), &file, reason)
        }
        None => wrong("config".into(), &any.file, reason),
    })
}

/// A value of TOML as JSON; dates are text.
fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("{number} is a number that JSON does not have"))?,
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect::<Result<_, _>>()?,
        toml::Value::Table(fields) => {
            fields.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect::<Result<_, String>>()?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings for `x` of the user's and the project's file.
    fn setting(user: &str, project: &str) -> Result<PluginSettings, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, project_dir) = (dir.path().join("config"), dir.path().join("project"));
        std::fs::create_dir_all(&config).expect("a directory");
        std::fs::create_dir_all(project_dir.join(".hm")).expect("a directory");
        std::fs::write(config.join(FILE), user).expect("a file");
        std::fs::write(project_dir.join(".hm").join(FILE), project).expect("a file");
        let settings = Settings::read(&config, Some(&project_dir));
        settings
            .map(|settings| settings.of("x"))
            .map_err(|error| hm_disk::one_line(&error).replace(dir.path().to_str().expect("UTF-8"), "D"))
    }

    #[test]
    fn a_project_overrides_configuration_key_by_key() {
        let setting = setting(
            "[plugin.x]\nconfig = {a = 'user', b = 1}\n",
            "[plugin.x.config]\nb = [1.5, true]\nc = {d = 1979-05-27}\n",
        )
        .expect("right");
        let texts: Vec<_> = setting.config.iter().map(|(key, given)| (key.as_str(), given.text())).collect();
        let expected = [("a", "user"), ("b", "[1.5,true]"), ("c", r#"{"d":"1979-05-27"}"#)];
        assert_eq!(texts, expected.map(|(key, text)| (key, text.to_owned())));
        assert!(setting.config["a"].file.ends_with("config/plugins.toml"));
        assert!(setting.config["b"].file.ends_with(".hm/plugins.toml"));
    }

    #[test]
    fn either_file_takes_away_and_only_the_users_gives() {
        let both = setting(
            "[plugin.x]\ndeny = ['hm_log']\ngrant = ['hm_emit_event', 'keyring:github', 'api.example.com']\n",
            "[plugin.x]\ndeny = ['a.example', 'unix:/run/x.sock']\nenabled = true\n",
        )
        .expect("right");
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(both.denied, set(&["hm_log", "a.example", "unix:/run/x.sock"]));
        assert_eq!(both.functions, set(&["hm_emit_event", "keyring:github"]));
        assert_eq!(both.reach, set(&["api.example.com"]));
        for (user, project) in
            [("false", "true"), ("true", "false"), ("false", "false")].map(|(user, project)| {
                let file = |value: &str| format!("[plugin.x]\nenabled = {value}\n");
                (file(user), file(project))
            })
        {
            assert!(setting(&user, &project).expect("right").disabled_by.is_some(), "{user}{project}");
        }
    }

    #[test]
    fn a_configuration_is_checked_as_a_whole_and_no_value_is_told() {
        let schema = serde_json::json!({
            "type": "object", "required": ["token"], "additionalProperties": false,
            "properties": {"token": {"type": "string"}, "depth": {"type": "integer"}},
        });
        let manifest = |schema: &Value| -> PluginManifest {
            let value = serde_json::json!({
                "api_version": 1, "name": "x", "version": "1.0.0", "description": "", "capabilities": [],
                "required_host_fns": [], "config_schema": schema,
            });
            serde_json::from_value(value).expect("a manifest")
        };
        let check = |schema: &Value, user: &str, project: &str| {
            let setting = setting(user, project).expect("settings");
            check_config(&manifest(schema), &setting).map_err(|error| {
                let text = error.to_string();
                let end = text.find("plugins.toml").expect("a file");
                let folder = if text[..end].ends_with("/.hm/") { "project" } else { "user" };
                format!("{folder}{}", &text[end + "plugins.toml".len()..])
            })
        };
        let token = "[plugin.x.config]\ntoken = 'abc'\n";
        assert_eq!(check(&schema, "", ""), Ok(()), "not configured");
        assert_eq!(check(&schema, token, "[plugin.x.config]\ndepth = 3\n"), Ok(()));
        for (user, project, expected) in [
            (
                token,
                "[plugin.x.config]\ndepth = 'hunter2'\n",
                "project: plugin.x.config.depth is not what the plugin takes: ",
            ),
            ("[plugin.x.config]\ntoken = 1\n", "", "user: plugin.x.config.token is not what"),
            ("", "[plugin.x.config]\ndepth = 1\n", "\"token\" is a required property"),
            (token, "[plugin.x.config]\ndept = 1\n", "config is not what the plugin takes: "),
        ] {
            let error = check(&schema, user, project).expect_err("refused");
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
        let error = check(&serde_json::json!({"$ref": "#"}), token, "").expect_err("a circle");
        assert!(error.contains("its schema cannot be used: "), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_file_and_plugin() {
        let wrong = |user: &str, project: &str, expected: &str| {
            let error = setting(user, project).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        };
        wrong(
            "",
            "[plugin.x]\ngrant = ['hm_log']\n",
            "D/project/.hm/plugins.toml: [plugin.x]: a project cannot grant",
        );
        wrong("[plugin.x]\ngrants = []\n", "", "D/config/plugins.toml cannot be understood: ");
        wrong(
            "[plugin.x]\ngrant = ['hm_nothing']\n",
            "",
            "[plugin.x]: grant: \"hm_nothing\" is not a host function",
        );
        wrong("", "[plugin.x]\ndeny = ['hm_lok']\n", "[plugin.x]: deny: \"hm_lok\" is not a host function");
        wrong("[plugin.x]\ndeny = ['unix:x']\n", "", "\"unix:x\" is not a host function");
        wrong("[plugin.'../x']\n", "", "[plugin.../x]: this is not the name of a plugin");
        wrong("[plugin.x.config]\na = nan\n", "", "[plugin.x]: config.a: NaN is a number");
        wrong("[plugin.x.limits]\nfuel = 0\n", "", "nonzero");
        wrong("[plugin.x.limits]\nmemory = 1\n", "", "unknown field `memory`");
    }
}
