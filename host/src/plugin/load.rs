//! Loads one plugin: its bytes, its module, its manifest; and makes its instances.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hm_abi::{CallLimits, HostFunctions, Instance, InstanceOptions, LogLevel, LogSink, Module, ModuleLimits};
use hm_plugin_protocol::{Level, PluginManifest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::compiled::digest;
use super::{Compiler, LoadError, MANIFEST_CALL, PluginFailure, manifest};
use crate::sandbox::{Diagnostics, Grants, PluginState, Policy, Role, Said, World, host_functions};

/// Where a plugin comes from. It decides what the plugin is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Part of this program: granted what it asks for.
    BuiltIn,
    /// The user's plugin folder: granted what reaches nothing beyond the plugin's own step or output.
    User(PathBuf),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => write!(f, "built in"),
            Self::User(path) => write!(f, "{}", path.display()),
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
    module: Module<PluginState>,
    surroundings: Surroundings,
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

impl Loader {
    /// A loader of what `compiler` compiles, into this world.
    #[must_use]
    pub fn new(compiler: Compiler, world: Arc<World>, diagnostics: Diagnostics) -> Self {
        Self { compiler, functions: host_functions(), surroundings: Surroundings { world, diagnostics } }
    }

    /// Loads a plugin from its bytes. Its manifest is read in an instance that may do nothing at all.
    ///
    /// # Errors
    /// [`LoadError`], which names the plugin.
    pub async fn load(&self, label: &str, wasm: &[u8], origin: Origin) -> Result<Plugin, LoadError> {
        let label: Arc<str> = label.into();
        let digest = digest(wasm);
        let limits = ModuleLimits::standard();
        let code = self.compiler.code(wasm, &limits).await;
        let code = code.map_err(|source| LoadError::Code { plugin: label.clone(), source })?;
        let module = Module::new(self.compiler.engine(), &code, &[], &self.functions)
            .map_err(|source| LoadError::Module { plugin: label.clone(), source })?;
        if !module.has_function("hm_manifest") {
            return Err(LoadError::NoManifest { plugin: label });
        }
        let mut instance =
            self.surroundings.instance(&module, &label, &Arc::default(), Start::of(Role::Manifest));
        let answer = instance.call("hm_manifest", b"", &MANIFEST_CALL).await;
        let answer = answer.map_err(|source| LoadError::ManifestCall { plugin: label.clone(), source })?;
        let manifest: PluginManifest = serde_json::from_slice(&answer)
            .map_err(|source| LoadError::ManifestJson { plugin: label.clone(), source })?;
        manifest::check(&manifest, |name| module.has_function(name))
            .map_err(|reason| LoadError::Manifest { plugin: label, reason })?;

        let grants = match &origin {
            Origin::BuiltIn => Grants::all_of(&manifest),
            Origin::User(_) => Grants::default(),
        };
        let policy = Arc::new(Policy::new(&manifest, grants, &BTreeSet::new()));
        let (name, surroundings) = (manifest.name.as_str().into(), self.surroundings.clone());
        Ok(Plugin { name, manifest, origin, digest, policy, module, surroundings })
    }
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
        };
        let (name, sink, world) = (plugin.clone(), self.diagnostics.clone(), self.world.clone());
        let log = LogSink::new(LogLevel::Debug, move |level, text| {
            sink.try_say(protocol_level(level), &name, &world.secrets.mask(text));
        });
        module.instance(state, InstanceOptions { config, log, ..InstanceOptions::standard() })
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
    instance: Instance<PluginState>,
}

impl Plugin {
    /// A fresh instance.
    #[must_use]
    pub fn instance(&self, start: Start) -> Live {
        let instance = self.surroundings.instance(&self.module, &self.name, &self.policy, start);
        Live { plugin: self.name.clone(), instance }
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
        let result = self.instance.call(export, input, limits).await;
        result.map_err(|source| PluginFailure::from_call(self.plugin.clone(), export, source))
    }

    /// What the instance acts on.
    pub fn role(&mut self) -> &mut Role {
        &mut self.instance.data_mut().role
    }
}
