//! All plugins of this start, and who provides what. Two plugins that claim the same thing are an error that names both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use hm_plugin_protocol::{Capability, JsonSchema, OutputFormatterSpec, StepExecutorSpec};

use super::{EMBEDDED, LoadError, Loader, Origin, Plugin};
use crate::files::read_regular;
use crate::pipeline::Runners;

/// The runner of steps with an image.
const IMAGE_RUNNER: &str = "docker";

/// A plugin's file larger than this is not read.
const MAX_FILE: usize = 64 << 20;

/// Two plugins that claim the same thing.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{name}` is claimed by two plugins: {first} and {second}")]
pub struct Conflict {
    /// `plugin name`, `runner`, `format`, `verb`, `default runner`.
    pub what: &'static str,
    /// What both claim.
    pub name: String,
    /// One plugin, with origin and digest.
    pub first: String,
    /// The other.
    pub second: String,
}

/// The plugins of this start.
pub struct Plugins {
    /// Those that could be loaded, the built-in ones first.
    pub loaded: Vec<Arc<Plugin>>,
    /// Those that could not; a build that does not need them goes on.
    pub broken: Vec<LoadError>,
    runners: BTreeMap<String, Arc<Plugin>>,
    formats: BTreeMap<String, Arc<Plugin>>,
    default_runner: Option<String>,
}

impl Plugins {
    /// Loads the built-in plugins and those in the user's folder.
    ///
    /// # Errors
    /// [`Conflict`], if two of them claim the same thing.
    pub async fn load(loader: &Loader, user_folder: &Path) -> Result<Self, Conflict> {
        let (mut loaded, mut broken) = (Vec::new(), Vec::new());
        for (name, wasm) in EMBEDDED {
            match loader.load(name, wasm, Origin::BuiltIn).await {
                Ok(plugin) => loaded.push(Arc::new(plugin)),
                Err(e) => broken.push(e),
            }
        }
        for path in wasm_files(user_folder) {
            let label = path.display().to_string();
            let plugin = match read_regular(&path, MAX_FILE) {
                Ok(wasm) => loader.load(&label, &wasm, Origin::User(path)).await,
                Err(source) => Err(LoadError::Read { path, source }),
            };
            match plugin {
                Ok(plugin) => loaded.push(Arc::new(plugin)),
                Err(e) => broken.push(e),
            }
        }
        Self::index(loaded, broken)
    }

    fn index(loaded: Vec<Arc<Plugin>>, broken: Vec<LoadError>) -> Result<Self, Conflict> {
        let mut by_name: BTreeMap<String, Arc<Plugin>> = BTreeMap::new();
        let mut verbs = BTreeMap::new();
        let mut defaults = BTreeMap::new();
        let mut this = Self {
            loaded: Vec::new(),
            broken,
            runners: BTreeMap::new(),
            formats: BTreeMap::new(),
            default_runner: None,
        };
        for plugin in &loaded {
            claim("plugin name", &plugin.name, plugin, &mut by_name)?;
            for capability in &plugin.manifest.capabilities {
                match capability {
                    Capability::StepExecutor(StepExecutorSpec { runner, default, .. }) => {
                        claim("runner", runner, plugin, &mut this.runners)?;
                        if *default {
                            claim("being the default", "runner", plugin, &mut defaults)?;
                            this.default_runner = Some(runner.clone());
                        }
                    }
                    Capability::OutputFormatter(OutputFormatterSpec { name, .. }) => {
                        claim("format", name, plugin, &mut this.formats)?;
                    }
                    Capability::Subcommand(spec) => claim("verb", &spec.verb, plugin, &mut verbs)?,
                    Capability::LifecycleHook(_) => {}
                }
            }
        }
        this.loaded = loaded;
        Ok(this)
    }

    /// The plugin of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.loaded.iter().find(|p| &*p.name == name)
    }

    /// The plugin that runs steps of this runner.
    #[must_use]
    pub fn runner(&self, runner: &str) -> Option<&Arc<Plugin>> {
        self.runners.get(runner)
    }

    /// What this runner says that `runner_args` must look like.
    #[must_use]
    pub fn step_schema(&self, runner: &str) -> Option<&JsonSchema> {
        self.runner(runner)?.manifest.capabilities.iter().find_map(|capability| match capability {
            Capability::StepExecutor(spec) if spec.runner == runner => spec.step_schema.as_ref(),
            _ => None,
        })
    }

    /// The plugin that writes this format.
    #[must_use]
    pub fn format(&self, format: &str) -> Option<&Arc<Plugin>> {
        self.formats.get(format)
    }

    /// The formats that there are.
    #[must_use]
    pub fn format_names(&self) -> Vec<&str> {
        self.formats.keys().map(String::as_str).collect()
    }

    /// The runners that there are.
    #[must_use]
    pub fn runners(&self) -> Runners {
        Runners {
            known: self.runners.keys().cloned().collect::<BTreeSet<_>>(),
            default: self.default_runner.clone().unwrap_or_default(),
            for_images: IMAGE_RUNNER.into(),
        }
    }
}

fn claim(
    what: &'static str,
    name: &str,
    plugin: &Arc<Plugin>,
    taken: &mut BTreeMap<String, Arc<Plugin>>,
) -> Result<(), Conflict> {
    match taken.insert(name.to_owned(), plugin.clone()) {
        None => Ok(()),
        Some(first) => {
            Err(Conflict { what, name: name.into(), first: described(&first), second: described(plugin) })
        }
    }
}

fn described(plugin: &Plugin) -> String {
    let digest: String = plugin.digest.chars().take(12).collect();
    format!("{} ({}, sha256 {digest})", plugin.name, plugin.origin)
}

/// The `.wasm` files of a folder, in order; none if it cannot be read, for most users have no such folder.
fn wasm_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "wasm"));
    files.sort();
    files
}
