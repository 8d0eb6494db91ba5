//! Everything known of one plugin, for `hm plugin info`: what it provides, what it asks for and what came of that. The
//! fields are documented in docs/plugins.md.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::plugin_install::kv_file;
use super::plugin_text::{line, meaning, plain, provides};
use crate::host_functions::{Permission, TABLE};
use crate::plugin::{Conflict, EVENT_CALL, LimitSettings, Plugin, executor_call, may_be_secret};

/// Facts about one plugin, in the order in which they are shown.
#[derive(Debug, Serialize)]
pub(super) struct PluginInfo {
    name: String,
    state: &'static str,
    version: String,
    description: String,
    sha256: String,
    origin: &'static str,
    path: Option<PathBuf>,
    provides: Vec<String>,
    functions: Vec<Function>,
    reach: Vec<Reached>,
    imports: Vec<String>,
    limits: Effective,
    config: BTreeMap<String, Value>,
    stored: Option<PathBuf>,
    conflicts: Vec<String>,
}

/// A host function that the plugin asks for, imports, or was granted.
#[derive(Debug, Serialize)]
struct Function {
    name: &'static str,
    can: &'static str,
    asked: bool,
    imported: bool,
    allowed: bool,
}

/// An entry of its `allowed_hosts`.
#[derive(Debug, Serialize)]
struct Reached {
    entry: String,
    meaning: String,
    allowed: bool,
}

/// The limits that a plugins.toml can change, as they are.
#[derive(Debug, Serialize)]
struct Effective {
    step_fuel: u64,
    event_fuel: u64,
    memory_mb: usize,
    http_requests: usize,
    /// None: what each call has.
    timeout_seconds: Option<u64>,
}

impl PluginInfo {
    /// `conflicts`: those that there are between any plugins.
    pub(super) fn of(plugin: &Plugin, state: &'static str, config: &Path, conflicts: &[Conflict]) -> Self {
        let (manifest, setting, imports) = (&plugin.manifest, &plugin.setting, plugin.imports());
        let functions = TABLE.iter().filter_map(|function| {
            let asked = manifest.required_host_fns.iter().any(|name| name == function.name);
            let imported = imports.iter().any(|name| name == function.name);
            let allowed =
                plugin.policy.permission(function.name, function.rules.grant) == Permission::Allowed;
            let relevant = asked || imported || allowed;
            relevant.then_some(Function {
                name: function.name,
                can: function.rules.description,
                asked,
                imported,
                allowed,
            })
        });
        let allowed: Vec<&str> = plugin.policy.access_entries().map(|(entry, _)| entry).collect();
        let reach = manifest.allowed_hosts.iter().map(|entry| Reached {
            entry: entry.clone(),
            meaning: meaning(entry),
            allowed: allowed.contains(&entry.as_str()),
        });
        let stored = Some(kv_file(config, &plugin.name)).filter(|path| path.exists());
        let conflicts =
            conflicts.iter().filter(|conflict| conflict.claims.iter().any(|claim| claim.name == plugin.name));
        Self {
            name: manifest.name.clone(),
            state,
            version: manifest.version.to_string(),
            description: manifest.description.clone(),
            sha256: plugin.digest.clone(),
            origin: plugin.origin.kind(),
            path: plugin.origin.path().map(Path::to_owned),
            provides: provides(manifest),
            functions: functions.collect(),
            reach: reach.collect(),
            limits: Effective::of(plugin),
            config: setting
                .config
                .iter()
                .map(|(key, given)| (key.clone(), shown(key, &given.value)))
                .collect(),
            imports,
            stored,
            conflicts: conflicts.map(ToString::to_string).collect(),
        }
    }
}

impl Effective {
    fn of(plugin: &Plugin) -> Self {
        let (limits, instance) = (&plugin.setting.limits, plugin.setting.limits.instance());
        let LimitSettings { timeout_seconds, .. } = limits.set.lower(&limits.cap);
        Self {
            step_fuel: limits.call(&executor_call(None)).fuel,
            event_fuel: limits.call(&EVENT_CALL).fuel,
            memory_mb: instance.memory_pages / 16,
            http_requests: instance.http_requests,
            timeout_seconds: timeout_seconds.map(std::num::NonZeroU64::get),
        }
    }
}

impl Function {
    /// State of the grant, for people.
    fn state(&self) -> &'static str {
        match (self.asked, self.allowed) {
            (true, true) => "granted",
            (true, false) => "not granted",
            (false, true) => "granted by name",
            (false, false) => "imported without being asked for, so denied",
        }
    }
}

/// A value of a configuration, unless it may be a secret.
fn shown(key: &str, value: &Value) -> Value {
    if may_be_secret(key) { "(not shown)".into() } else { value.clone() }
}

impl fmt::Display for PluginInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions =
            self.functions.iter().map(|function| format!("{} ({})", function.name, function.state()));
        let reach = self.reach.iter().map(|Reached { entry, meaning, allowed }| {
            format!("{}: {meaning} ({})", plain(entry), if *allowed { "granted" } else { "not granted" })
        });
        let config = self.config.iter().map(|(key, value)| format!("{} = {value}", plain(key)));
        let origin = self.path.as_ref().map_or_else(|| "built in".into(), |path| path.display().to_string());
        let Effective { step_fuel, event_fuel, memory_mb, http_requests, timeout_seconds } = &self.limits;
        let timeout = timeout_seconds.map(|seconds| format!("{seconds} s a call"));
        let limits = [
            format!("{step_fuel} units of fuel a step, {event_fuel} an event"),
            format!("{memory_mb} MiB of memory"),
            format!("{http_requests} HTTP requests a call"),
        ];
        for (label, values) in [
            ("name", vec![self.name.clone()]),
            ("state", vec![self.state.to_owned()]),
            ("version", vec![self.version.clone()]),
            ("about", vec![line(&self.description)]),
            ("origin", vec![origin]),
            ("sha256", vec![self.sha256.clone()]),
            ("provides", self.provides.clone()),
            ("functions", functions.collect()),
            ("hosts", reach.collect()),
            ("limits", limits.into_iter().chain(timeout).collect()),
            ("config", config.collect()),
            ("stored", self.stored.iter().map(|path| path.display().to_string()).collect()),
        ] {
            let values = if values.is_empty() { "nothing".into() } else { values.join("\n             ") };
            writeln!(f, "{:<12} {values}", format!("{label}:"))?;
        }
        for conflict in &self.conflicts {
            writeln!(f, "conflict:    {conflict}")?;
        }
        Ok(())
    }
}
