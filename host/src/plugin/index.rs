//! All plugins of this start, and who provides what. Two plugins that claim the same thing are a conflict that names
//! both, and keep builds from beginning.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use hm_disk::{read_regular, sha256_hex};
use hm_plugin_protocol::{
    Capability, JsonSchema, LifecycleHookSpec, OutputFormatterSpec, StepExecutorSpec, SubcommandSpec,
};

use super::Trust;
use super::settings::check_by_name;
use super::trust::file_name;
use super::{EMBEDDED, LoadError, Loader, Origin, Plugin};
use crate::pipeline::Runners;

/// The runner of steps with an image.
const IMAGE_RUNNER: &str = "docker";

/// A plugin's file larger than this is not read.
pub(crate) const MAX_FILE: usize = 64 << 20;

/// Two plugins that claim the same thing.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{name}` is claimed by two plugins: {} and {}", claims[0], claims[1])]
pub(crate) struct Conflict {
    /// `plugin name`, `runner`, `format`, `verb`, `default runner`.
    pub what: &'static str,
    /// Name that both claim.
    pub name: String,
    pub claims: Box<[Claim; 2]>,
}

/// One of two plugins that claim the same thing: shown with origin and digest.
#[derive(Debug)]
pub(crate) struct Claim {
    pub name: Arc<str>,
    /// Origin of its file, or of the file that it would get.
    pub origin: Origin,
    digest: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest: String = self.digest.chars().take(12).collect();
        write!(f, "{} ({}, sha256 {digest})", self.name, self.origin)
    }
}

/// Error that keeps all plugins from being used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginSetError {
    /// Nobody knows which of two plugins is meant.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A plugin is configured in a way that it does not take.
    #[error(transparent)]
    Config(LoadError),
}

/// A plugin that is there and was not loaded.
#[derive(Debug)]
pub(crate) struct UnloadedPlugin {
    /// Name of its file, or its own, if it could say that.
    pub name: String,
    pub origin: Origin,
    /// SHA-256 of its bytes, if they could be read.
    pub digest: Option<String>,
    pub why: LoadError,
}

impl UnloadedPlugin {
    /// State in a word: `disabled`, `untrusted` or `broken`.
    #[must_use]
    pub(crate) fn state(&self) -> &'static str {
        match self.why {
            LoadError::Disabled { .. } => "disabled",
            LoadError::NotTrusted { .. } => "untrusted",
            _ => "broken",
        }
    }
}

/// The plugins of this start.
pub(crate) struct Plugins {
    /// Those that could be loaded, the built-in ones first.
    pub loaded: Vec<Arc<Plugin>>,
    /// Those that were not; a build that does not need them goes on.
    pub unloaded: Vec<UnloadedPlugin>,
    /// Names that more than one of them claims.
    pub conflicts: Vec<Conflict>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    runners: BTreeMap<String, Arc<Plugin>>,
    formats: BTreeMap<String, Arc<Plugin>>,
    default_runner: Option<String>,
}

impl Plugins {
    /// Loads the built-in plugins, the user's, and those of the project that are trusted, each in one copy.
    pub(crate) async fn load(loader: &Loader, trust: &Trust) -> Self {
        let (mut loaded, mut unloaded) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        let mut add = |plugin: Result<Plugin, UnloadedPlugin>| match plugin {
            Ok(plugin) => loaded.push(Arc::new(plugin)),
            Err(plugin) => unloaded.push(plugin),
        };
        for (name, wasm) in EMBEDDED {
            seen.insert(sha256_hex(wasm));
            add(load(loader, trust, Origin::BuiltIn, (*name).to_owned(), wasm).await);
        }
        for origin in trust.files() {
            let Some(path) = origin.path() else { continue };
            let name = file_name(path);
            let mut current = Cow::Borrowed(trust);
            let mut read = read_regular(path, MAX_FILE);
            if let Ok(wasm) = &read
                && let Err(LoadError::Altered { .. }) = trust.grants(&origin, &name, &sha256_hex(wasm))
                && let Ok(again) = trust.again()
            {
                // Another hm may be replacing it, and have written its entry after we had read the lock file.
                current = Cow::Owned(again);
                read = read_regular(path, MAX_FILE);
            }
            match read {
                Ok(wasm) if !seen.insert(sha256_hex(&wasm)) => {}
                Ok(wasm) => add(load(loader, &current, origin, name, &wasm).await),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let why = LoadError::Read { path: path.into(), source };
                    add(Err(UnloadedPlugin { name, origin, digest: None, why }));
                }
            }
        }
        let mut this = Self::index(loaded, unloaded);
        this.warnings = trust
            .settings
            .names()
            .filter(|(name, _)| this.named(name).is_none() && this.unloaded.iter().all(|a| a.name != *name))
            .map(|(name, file)| format!("{}: there is no plugin `{name}`", file.display()))
            .collect();
        let beside_the_point = this.loaded.iter().flat_map(|plugin| not_asked(plugin)).collect::<Vec<_>>();
        this.warnings.extend(beside_the_point);
        this
    }

    /// These plugins, if they can be worked with.
    ///
    /// # Errors
    /// [`Obstacle`]
    pub(crate) fn usable(mut self) -> Result<Self, PluginSetError> {
        let misconfigured = |unloaded: &UnloadedPlugin| matches!(unloaded.why, LoadError::Config { .. });
        if let Some(position) = self.unloaded.iter().position(misconfigured) {
            return Err(PluginSetError::Config(self.unloaded.swap_remove(position).why));
        }
        if self.conflicts.is_empty() { Ok(self) } else { Err(self.conflicts.swap_remove(0).into()) }
    }

    /// First thing that both these plugins and one more, in the place of the file at its path, would claim.
    #[must_use]
    pub(crate) fn conflict_with(&self, plugin: Plugin) -> Option<Conflict> {
        let mut others = self.loaded.clone();
        others.retain(|other| other.digest != plugin.digest && other.origin != plugin.origin);
        let before = Self::index(others.clone(), Vec::new()).conflicts.len();
        others.push(Arc::new(plugin));
        // Those of the last plugin come last.
        Self::index(others, Vec::new()).conflicts.into_iter().nth(before)
    }

    fn index(loaded: Vec<Arc<Plugin>>, unloaded: Vec<UnloadedPlugin>) -> Self {
        let mut by_name: BTreeMap<String, Arc<Plugin>> = BTreeMap::new();
        let mut verbs = BTreeMap::new();
        let mut defaults: BTreeMap<String, Arc<Plugin>> = BTreeMap::new();
        let mut this = Self {
            loaded: Vec::new(),
            unloaded,
            conflicts: Vec::new(),
            warnings: Vec::new(),
            runners: BTreeMap::new(),
            formats: BTreeMap::new(),
            default_runner: None,
        };
        let mut conflicts = Vec::new();
        for plugin in &loaded {
            conflicts.extend(claim("plugin name", &plugin.name, plugin, &mut by_name));
            for capability in &plugin.manifest.capabilities {
                match capability {
                    Capability::StepExecutor(StepExecutorSpec { runner, default, .. }) => {
                        conflicts.extend(claim("runner", runner, plugin, &mut this.runners));
                        // Who installs a plugin does not mean to move all steps to it.
                        let settled =
                            defaults.get("runner").is_some_and(|first| first.origin == Origin::BuiltIn);
                        if *default && !settled {
                            conflicts.extend(claim("being the default", "runner", plugin, &mut defaults));
                            this.default_runner.get_or_insert_with(|| runner.clone());
                        }
                    }
                    Capability::OutputFormatter(OutputFormatterSpec { name, .. }) => {
                        conflicts.extend(claim("format", name, plugin, &mut this.formats));
                    }
                    Capability::Subcommand(spec) => {
                        conflicts.extend(claim("verb", &spec.verb, plugin, &mut verbs));
                    }
                    Capability::LifecycleHook(_) => {}
                }
            }
        }
        Self { loaded, conflicts, ..this }
    }

    /// The plugin of this name.
    #[must_use]
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.loaded.iter().find(|p| &*p.name == name)
    }

    /// The plugin that runs steps of this runner.
    #[must_use]
    pub(crate) fn runner(&self, runner: &str) -> Option<&Arc<Plugin>> {
        self.runners.get(runner)
    }

    /// Schema of this runner for `runner_args`.
    #[must_use]
    pub(crate) fn step_schema(&self, runner: &str) -> Option<&JsonSchema> {
        self.runner(runner)?.manifest.capabilities.iter().find_map(|capability| match capability {
            Capability::StepExecutor(spec) if spec.runner == runner => spec.step_schema.as_ref(),
            _ => None,
        })
    }

    /// The plugin that writes this format.
    #[must_use]
    pub(crate) fn format(&self, format: &str) -> Option<&Arc<Plugin>> {
        self.formats.get(format)
    }

    /// The verbs that there are, each with its plugin, in the order of the verbs.
    #[must_use]
    pub(crate) fn verbs(&self) -> Vec<(&SubcommandSpec, &Arc<Plugin>)> {
        let mut verbs: Vec<_> = self
            .capabilities()
            .filter_map(|(plugin, capability)| match capability {
                Capability::Subcommand(spec) => Some((spec, plugin)),
                _ => None,
            })
            .collect();
        verbs.sort_by(|(a, _), (b, _)| a.verb.cmp(&b.verb));
        verbs
    }

    /// The command of this verb, and the plugin that brings it.
    #[must_use]
    pub(crate) fn verb(&self, verb: &str) -> Option<(&SubcommandSpec, &Arc<Plugin>)> {
        self.verbs().into_iter().find(|(spec, _)| spec.verb == verb)
    }

    /// The lifecycle hooks, in the order of their plugins' names; those of one plugin as it lists them.
    #[must_use]
    pub(crate) fn hooks(&self) -> Vec<(&Arc<Plugin>, &LifecycleHookSpec)> {
        let mut hooks: Vec<_> = self
            .capabilities()
            .filter_map(|(plugin, capability)| match capability {
                Capability::LifecycleHook(spec) => Some((plugin, spec)),
                _ => None,
            })
            .collect();
        hooks.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        hooks
    }

    fn capabilities(&self) -> impl Iterator<Item = (&Arc<Plugin>, &Capability)> {
        self.loaded.iter().flat_map(|p| p.manifest.capabilities.iter().map(move |capability| (p, capability)))
    }

    /// The formats that there are.
    #[must_use]
    pub(crate) fn format_names(&self) -> Vec<&str> {
        self.formats.keys().map(String::as_str).collect()
    }

    /// The runners that there are.
    #[must_use]
    pub(crate) fn runners(&self) -> Runners {
        Runners {
            known: self.runners.keys().cloned().collect::<BTreeSet<_>>(),
            default: self.default_runner.clone().unwrap_or_default(),
            for_images: IMAGE_RUNNER.into(),
        }
    }
}

/// Warnings about entries of `deny` and `grant` that the plugin does not ask for in these words, and that so change
/// nothing.
fn not_asked(plugin: &Plugin) -> Vec<String> {
    let asked = &plugin.manifest.allowed_hosts;
    let said = [("deny", &plugin.setting.denied), ("grant", &plugin.setting.reach)];
    let said = said.into_iter().flat_map(|(what, entries)| entries.iter().map(move |entry| (what, entry)));
    said.filter(|(_, entry)| check_by_name(entry).is_err() && !asked.contains(entry))
        .map(|(what, entry)| {
            let asks = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
            let name = &plugin.name;
            format!("plugins.toml: plugin.{name}.{what}: {name} does not ask for {entry}; it asks for {asks}")
        })
        .collect()
}

fn claim(
    what: &'static str,
    name: &str,
    plugin: &Arc<Plugin>,
    taken: &mut BTreeMap<String, Arc<Plugin>>,
) -> Option<Conflict> {
    match taken.entry(name.to_owned()) {
        Entry::Vacant(free) => {
            free.insert(plugin.clone());
            None
        }
        Entry::Occupied(first) => Some(Conflict {
            what,
            name: name.into(),
            claims: Box::new([claim_of(first.get()), claim_of(plugin)]),
        }),
    }
}

/// Loads one plugin, if its bytes, and then its name, may be loaded.
async fn load(
    loader: &Loader,
    trust: &Trust,
    origin: Origin,
    name: String,
    wasm: &[u8],
) -> Result<Plugin, UnloadedPlugin> {
    let digest = sha256_hex(wasm);
    let label = origin.path().map_or_else(|| name.clone(), |path| path.display().to_string());
    let mut name = name;
    let loaded = async {
        trust.grants(&origin, &name, &digest)?;
        let candidate = loader.inspect(&label, wasm).await?;
        name.clone_from(&candidate.manifest.name);
        let grants = trust.grants(&origin, &name, &digest)?;
        let setting = trust.setting(&origin, &name, &digest)?;
        loader.grant(candidate, origin.clone(), grants, setting)
    };
    let loaded = loaded.await;
    let state = if loaded.is_ok() { "loaded" } else { "not loaded" };
    tracing::debug!(target: "hm::plugin", plugin = ?name, origin = origin.kind(), digest, state, "plugin");
    loaded.map_err(|why| UnloadedPlugin { name, origin, digest: Some(digest), why })
}

fn claim_of(plugin: &Plugin) -> Claim {
    Claim { name: plugin.name.clone(), origin: plugin.origin.clone(), digest: plugin.digest.clone() }
}
