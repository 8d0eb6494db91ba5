//! Loads one plugin: its bytes, its module, its manifest; and makes its instances. Whether it may be loaded, and what it is granted,
//! is decided in `terms`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hm_abi::{CallLimits, HostFunctions, Instance, InstanceOptions, LogLevel, LogSink, Module, ModuleLimits};
use hm_disk::sha256_hex;
use hm_plugin_protocol::{Level, PluginManifest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Compiler, Limits, LoadError, MANIFEST_CALL, PluginFailure, Setting, manifest, settings};
use crate::backend::kv::Values;
use crate::host_functions::{
    Diagnostics, Grants, Handles, Outside, PluginState, Policy, Role, Said, World, host_functions,
};

/// A configuration value shorter than this is not masked in logs, even if it may be a secret.
const SECRET_BYTES: usize = 8;

/// Where a plugin comes from. It decides what the plugin is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of this program: granted what it asks for.
    BuiltIn,
    /// The user's plugin folder: granted what the lock file says.
    User(PathBuf),
    /// The project's plugin folder: loaded only if the user's lock file has its digest, and granted what that says.
    Project(PathBuf),
}

impl Origin {
    /// Its file, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::User(path) | Self::Project(path) => Some(path),
        }
    }

    /// One word, for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::User(_) => "user",
            Self::Project(_) => "project",
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => write!(f, "built in"),
            Self::User(path) | Self::Project(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A loaded plugin: checked, compiled, ready to make instances.
pub struct Plugin {
    /// Its manifest's name.
    pub name: Arc<str>,
    /// What it says of itself, read once.
    pub manifest: PluginManifest,
    /// Where it comes from.
    pub origin: Origin,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// What it may do.
    pub policy: Arc<Policy>,
    /// What `plugins.toml` says of it.
    pub setting: Setting,
    module: Module<PluginState>,
    surroundings: Surroundings,
}

/// A plugin that has said what it is, in an instance that could do nothing, and may do nothing yet.
pub struct Candidate {
    /// What it says of itself, read once.
    pub manifest: PluginManifest,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    module: Module<PluginState>,
}

/// Loads plugins into one engine, linked to one table of host functions.
pub struct Loader {
    compiler: Compiler,
    functions: HostFunctions<PluginState>,
    surroundings: Surroundings,
}

/// What all instances of a start share.
#[derive(Clone)]
struct Surroundings {
    world: Arc<World>,
    diagnostics: Diagnostics,
}

/// Most bytes of a manifest: as values, they take a hundred times as much memory.
const MAX_MANIFEST: usize = 1 << 20;

impl Loader {
    /// A loader of what `compiler` compiles, into this world.
    #[must_use]
    pub fn new(compiler: Compiler, world: Arc<World>, diagnostics: Diagnostics) -> Self {
        Self { compiler, functions: host_functions(), surroundings: Surroundings { world, diagnostics } }
    }

    /// Reads a plugin's manifest from its bytes, in an instance that may do nothing at all.
    ///
    /// # Errors
    /// [`LoadError`], which names the plugin.
    pub async fn inspect(&self, label: &str, wasm: &[u8]) -> Result<Candidate, LoadError> {
        let label: Arc<str> = label.into();
        let digest = sha256_hex(wasm);
        let limits = ModuleLimits::standard();
        let code = self.compiler.code(wasm, &limits).await;
        let code = code.map_err(|source| LoadError::Code { plugin: label.clone(), source })?;
        let module = Module::new(self.compiler.engine(), &code, &[], &self.functions)
            .map_err(|source| LoadError::Module { plugin: label.clone(), source })?;
        if !module.has_function("hm_manifest") {
            return Err(LoadError::NoManifest { plugin: label });
        }
        let (nothing, usual) = (Arc::default(), Limits::default());
        let start = Start::of(Role::Manifest);
        let mut instance = self.surroundings.instance(&module, &label, &nothing, &usual, start);
        let answer = instance.call("hm_manifest", b"", &MANIFEST_CALL).await;
        let answer = answer.map_err(|source| LoadError::ManifestCall { plugin: label.clone(), source })?;
        if answer.len() > MAX_MANIFEST {
            let reason = format!("it has {} bytes, of at most {MAX_MANIFEST}", answer.len());
            return Err(LoadError::Manifest { plugin: label, reason });
        }
        let manifest: PluginManifest = serde_json::from_slice(&answer)
            .map_err(|source| LoadError::ManifestJson { plugin: label.clone(), source })?;
        manifest::check(&manifest, |name| module.has_function(name))
            .map_err(|reason| LoadError::Manifest { plugin: label, reason })?;
        Ok(Candidate { manifest, digest, module })
    }

    /// Makes a plugin of a candidate, with these grants; none stands for all that it asks for.
    ///
    /// # Errors
    /// [`LoadError::Config`], if it is configured in a way that it does not take.
    pub fn admit(
        &self,
        candidate: Candidate,
        origin: Origin,
        grants: Option<Grants>,
        setting: Setting,
    ) -> Result<Plugin, LoadError> {
        let Candidate { manifest, digest, module } = candidate;
        settings::check_config(&manifest, &setting)?;
        for (key, given) in &setting.config {
            let text = given.text();
            // A short word is said for other reasons, too.
            // A project's own are in the project for all to see, and could hide what others say.
            if given.of_user && settings::may_be_secret(key) && text.len() >= SECRET_BYTES {
                self.surroundings.world.secrets.add(&text).map_err(|e| LoadError::Config {
                    plugin: manifest.name.as_str().into(),
                    file: given.file.clone(),
                    key: key.clone(),
                    reason: e.to_string(),
                })?;
            }
        }
        let mut grants = grants.unwrap_or_else(|| Grants::all_of(&manifest));
        grants.by_name.extend(setting.functions.iter().cloned());
        grants.reach.extend(setting.reach.iter().cloned());
        let policy = Arc::new(Policy::new(&manifest, grants, &setting.denied));
        let (name, surroundings) = (manifest.name.as_str().into(), self.surroundings.clone());
        Ok(Plugin { name, manifest, origin, digest, policy, setting, module, surroundings })
    }
}

impl Candidate {
    /// The host functions that it imports without asking for them.
    #[must_use]
    pub fn undeclared(&self) -> Vec<String> {
        undeclared(&self.module, &self.manifest)
    }
}

fn undeclared(module: &Module<PluginState>, manifest: &PluginManifest) -> Vec<String> {
    module.host_imports().into_iter().filter(|name| !manifest.required_host_fns.contains(name)).collect()
}

/// What an instance is made for.
pub struct Start {
    /// What it acts on.
    pub role: Role,
    /// What it finds as Extism configuration.
    pub config: BTreeMap<String, String>,
    /// Set once it is to stop.
    pub cancelled: Arc<AtomicBool>,
}

impl Start {
    /// In this role, without configuration and not to be stopped.
    #[must_use]
    pub fn of(role: Role) -> Self {
        Self { role, config: BTreeMap::new(), cancelled: Arc::default() }
    }
}

impl Surroundings {
    fn instance(
        &self,
        module: &Module<PluginState>,
        plugin: &Arc<str>,
        policy: &Arc<Policy>,
        limits: &Limits,
        start: Start,
    ) -> Instance<PluginState> {
        let Start { role, config, cancelled } = start;
        let state = PluginState {
            plugin: plugin.clone(),
            policy: policy.clone(),
            role,
            world: self.world.clone(),
            cancelled,
            diagnostics: self.diagnostics.clone(),
            said: Said::default(),
            handles: Handles::default(),
            values: Values::default(),
        };
        let (name, sink, world) = (plugin.clone(), self.diagnostics.clone(), self.world.clone());
        let log = LogSink::new(LogLevel::Debug, move |level, text| {
            sink.try_say(protocol_level(level), &name, &world.secrets.mask(text));
        });
        let Outside { directories, http } = Outside::of(&state);
        module.instance(state, InstanceOptions { limits: limits.instance(), config, log, http, directories })
    }
}

/// The level of a log line, as the protocol calls it.
pub(crate) fn protocol_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Trace => Level::Trace,
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

/// A live instance of a plugin.
pub struct Live {
    plugin: Arc<str>,
    limits: Limits,
    instance: Instance<PluginState>,
}

impl Plugin {
    /// Whether its manifest asks for host functions with such names.
    #[must_use]
    pub fn asks_for(&self, prefix: &str) -> bool {
        self.manifest.required_host_fns.iter().any(|name| name.starts_with(prefix))
    }

    /// A fresh instance. It finds its configuration beside what `start` has for it; of two values for a key that of `start` counts.
    #[must_use]
    pub fn instance(&self, mut start: Start) -> Live {
        for (key, given) in &self.setting.config {
            start.config.entry(key.clone()).or_insert_with(|| given.text());
        }
        let limits = self.setting.limits;
        let instance = self.surroundings.instance(&self.module, &self.name, &self.policy, &limits, start);
        Live { plugin: self.name.clone(), limits, instance }
    }

    /// The host functions that it imports, in the module's order.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        self.module.host_imports()
    }

    /// Those of them that it does not ask for.
    #[must_use]
    pub fn undeclared(&self) -> Vec<String> {
        undeclared(&self.module, &self.manifest)
    }
}

impl Live {
    /// Calls an export that takes JSON and returns bytes.
    ///
    /// # Errors
    /// [`PluginFailure`], which names the plugin and the export.
    pub async fn call(
        &mut self,
        export: &'static str,
        input: &impl Serialize,
        limits: &CallLimits,
    ) -> Result<Vec<u8>, PluginFailure> {
        let plugin = || self.plugin.clone();
        let input = serde_json::to_vec(input).map_err(|source| PluginFailure::Input {
            plugin: plugin(),
            export,
            source,
        })?;
        self.call_bytes(export, &input, limits).await
    }

    /// Calls an export that takes JSON and answers JSON.
    ///
    /// # Errors
    /// [`PluginFailure`], which names the plugin and the export.
    pub async fn ask<A: DeserializeOwned>(
        &mut self,
        export: &'static str,
        input: &impl Serialize,
        limits: &CallLimits,
    ) -> Result<A, PluginFailure> {
        let answer = self.call(export, input, limits).await?;
        // Answers hold messages that are shown.
        let answer = self.instance.data().world.secrets.mask_bytes(answer);
        serde_json::from_slice(&answer).map_err(|source| PluginFailure::Answer {
            plugin: self.plugin.clone(),
            export,
            source,
        })
    }

    /// Calls an export with these bytes.
    ///
    /// # Errors
    /// [`PluginFailure`], which names the plugin and the export.
    pub async fn call_bytes(
        &mut self,
        export: &'static str,
        input: &[u8],
        limits: &CallLimits,
    ) -> Result<Vec<u8>, PluginFailure> {
        let result = self.instance.call(export, input, &self.limits.call(limits)).await;
        result.map_err(|source| {
            let secrets = &self.instance.data().world.secrets;
            PluginFailure::from_call(self.plugin.clone(), export, source, |text| secrets.mask(text))
        })
    }

    /// What the instance acts on.
    pub fn role(&mut self) -> &mut Role {
        &mut self.instance.data_mut().role
    }
}
