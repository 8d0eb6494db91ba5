//! Loads one plugin: its bytes, its module, its manifest; and makes its instances. Whether it may be loaded, and what
//! it is granted, is decided in `trust`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hm_abi::{CallLimits, HostFunctions, Instance, InstanceOptions, LogLevel, LogSink, Module, ModuleLimits};
use hm_disk::sha256_hex;
use hm_plugin_protocol::{Level, PluginManifest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{Compiler, Limits, LoadError, MANIFEST_CALL, PluginFailure, PluginSettings, manifest, settings};
use crate::host_functions::{
    BackendKind, Diagnostics, GrantedAccess, Grants, HostContext, HostFn, PluginState, Policy, Role,
    host_functions,
};

/// A configuration value shorter than this is not masked in logs, even if it may be a secret.
const SECRET_BYTES: usize = 8;

/// Origin of a plugin. It decides what the plugin is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Part of this program: granted what it asks for.
    BuiltIn,
    /// The user's plugin directory: granted what the lock file says.
    User(PathBuf),
    /// The project's plugin directory: loaded only if the user's lock file has its digest, and granted what that says.
    Project(PathBuf),
}

impl Origin {
    /// Its file, if it has one.
    #[must_use]
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::User(path) | Self::Project(path) => Some(path),
        }
    }

    /// One word, for programs.
    #[must_use]
    pub(crate) fn kind(&self) -> &'static str {
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
pub(crate) struct Plugin {
    /// Name in its manifest.
    pub name: Arc<str>,
    /// Manifest, read once.
    pub manifest: PluginManifest,
    pub origin: Origin,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    pub policy: Arc<Policy>,
    /// Settings for it in `plugins.toml`.
    pub setting: PluginSettings,
    module: Module<PluginState>,
    context: LoaderContext,
}

/// A plugin that has said what it is, in an instance that could do nothing, and may do nothing yet.
pub(crate) struct Candidate {
    /// Manifest, read once.
    pub manifest: PluginManifest,
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    module: Module<PluginState>,
}

/// Loads plugins into one engine, linked to one table of host functions.
pub(crate) struct Loader {
    compiler: Compiler,
    functions: HostFunctions<PluginState>,
    context: LoaderContext,
}

/// Context that all instances of a loader share.
#[derive(Clone)]
struct LoaderContext {
    host_context: Arc<HostContext>,
    diagnostics: Diagnostics,
}

/// Most bytes of a manifest: as values, they take a hundred times as much memory.
const MAX_MANIFEST: usize = 1 << 20;

impl Loader {
    /// A loader of what `compiler` compiles, into this context.
    #[must_use]
    pub(crate) fn new(compiler: Compiler, host_context: Arc<HostContext>, diagnostics: Diagnostics) -> Self {
        Self { compiler, functions: host_functions(), context: LoaderContext { host_context, diagnostics } }
    }

    /// Reads a plugin's manifest from its bytes, in an instance that may do nothing at all.
    ///
    /// # Errors
    /// [`LoadError`], which names the plugin.
    pub(crate) async fn inspect(&self, label: &str, wasm: &[u8]) -> Result<Candidate, LoadError> {
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
        let start = InstanceSpec::of(Role::Manifest);
        let mut instance = self.context.instance(&module, &label, &nothing, &usual, start);
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
    pub(crate) fn grant(
        &self,
        candidate: Candidate,
        origin: Origin,
        grants: Option<Grants>,
        setting: PluginSettings,
    ) -> Result<Plugin, LoadError> {
        let Candidate { manifest, digest, module } = candidate;
        settings::check_config(&manifest, &setting)?;
        for (key, given) in &setting.config {
            let text = given.text();
            // A short word is said for other reasons, too.
            // A project's own are in the project for all to see, and could hide what others say.
            if given.of_user && settings::may_be_secret(key) && text.len() >= SECRET_BYTES {
                self.context.host_context.secrets.add(&text).map_err(|e| LoadError::Config {
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
        let (name, context) = (manifest.name.as_str().into(), self.context.clone());
        Ok(Plugin { name, manifest, origin, digest, policy, setting, module, context })
    }
}

impl Candidate {
    /// The host functions that it imports without asking for them.
    #[must_use]
    pub(crate) fn undeclared(&self) -> Vec<String> {
        let Self { module, manifest, .. } = self;
        module.host_imports().into_iter().filter(|name| !manifest.required_host_fns.contains(name)).collect()
    }
}

/// Specification of a new instance.
pub(crate) struct InstanceSpec {
    /// Purpose of the instance, with the things that it acts on.
    pub role: Role,
    /// Extism configuration of its own, before that of `plugins.toml`.
    pub config: BTreeMap<String, String>,
    /// Cancelled once it is to stop.
    pub cancellation: CancellationToken,
}

impl InstanceSpec {
    /// In this role, without configuration and not to be stopped.
    #[must_use]
    pub(crate) fn of(role: Role) -> Self {
        Self { role, config: BTreeMap::new(), cancellation: CancellationToken::new() }
    }
}

impl LoaderContext {
    fn instance(
        &self,
        module: &Module<PluginState>,
        plugin: &Arc<str>,
        policy: &Arc<Policy>,
        limits: &Limits,
        start: InstanceSpec,
    ) -> Instance<PluginState> {
        let InstanceSpec { role, config, cancellation } = start;
        let (context, diagnostics) = (self.host_context.clone(), self.diagnostics.clone());
        let state = PluginState::new(plugin.clone(), policy.clone(), role, context, diagnostics);
        let state = PluginState { cancellation, ..state };
        let (name, sink, host_context) =
            (plugin.clone(), self.diagnostics.clone(), self.host_context.clone());
        let log = LogSink::new(LogLevel::Debug, move |level, text| {
            sink.try_send(protocol_level(level), &name, &host_context.secrets.mask(text));
        });
        let GrantedAccess { directories, http } = GrantedAccess::of(&state);
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
pub(crate) struct PluginInstance {
    plugin: Arc<str>,
    limits: Limits,
    instance: Instance<PluginState>,
}

impl Plugin {
    /// True if its manifest asks for host functions on this back end.
    #[must_use]
    pub(crate) fn asks_for(&self, backend: BackendKind) -> bool {
        let mut functions = self.manifest.required_host_fns.iter().filter_map(|name| HostFn::named(name));
        functions.any(|function| function.rules.backend == backend)
    }

    /// A fresh instance. It finds its configuration beside what `start` has for it; of two values for a key that of
    /// `start` counts.
    #[must_use]
    pub(crate) fn instance(&self, mut start: InstanceSpec) -> PluginInstance {
        for (key, given) in &self.setting.config {
            start.config.entry(key.clone()).or_insert_with(|| given.text());
        }
        let limits = self.setting.limits;
        let instance = self.context.instance(&self.module, &self.name, &self.policy, &limits, start);
        PluginInstance { plugin: self.name.clone(), limits, instance }
    }

    /// The host functions that it imports, in the module's order.
    #[must_use]
    pub(crate) fn imports(&self) -> Vec<String> {
        self.module.host_imports()
    }
}

impl PluginInstance {
    /// Calls an export that takes JSON and returns bytes.
    ///
    /// # Errors
    /// [`PluginFailure`], which names the plugin and the export.
    pub(crate) async fn call(
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
    pub(crate) async fn call_json<A: DeserializeOwned>(
        &mut self,
        export: &'static str,
        input: &impl Serialize,
        limits: &CallLimits,
    ) -> Result<A, PluginFailure> {
        let answer = self.call(export, input, limits).await?;
        // Answers hold messages that are shown.
        let answer = self.instance.data().context.secrets.mask_bytes(answer);
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
    pub(crate) async fn call_bytes(
        &mut self,
        export: &'static str,
        input: &[u8],
        limits: &CallLimits,
    ) -> Result<Vec<u8>, PluginFailure> {
        let result = self.instance.call(export, input, &self.limits.call(limits)).await;
        result.map_err(|source| {
            let secrets = &self.instance.data().context.secrets;
            PluginFailure::from_call(self.plugin.clone(), export, source, |text| secrets.mask(text))
        })
    }

    /// Role of the instance, with the things that it acts on.
    pub(crate) fn role(&mut self) -> &mut Role {
        &mut self.instance.data_mut().role
    }
}
