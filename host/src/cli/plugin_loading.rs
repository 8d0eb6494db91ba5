//! Plugins for a command: loads them with what they find outside of their instances, warns of those that could not be
//! loaded, and shows the diagnostics of those that could.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hm_disk::one_line;
use hm_plugin_protocol::Level;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::CliError;
use super::terminal_output::warn;
use super::text::indented;
use crate::backend::browser::Browser;
use crate::backend::keyring::Keyring;
use crate::backend::kv::StoredValues;
use crate::backend::terminal::Terminal;
use crate::host_functions::{Diagnostic, Diagnostics, HostContext};
use crate::plugin::{Compiler, Loader, ModuleCache, Plugins, Trust};
use crate::sys::{System, printable};

/// Warnings about plugins that are shown, at the most: a project may have any number of files.
const MAX_WARNINGS: usize = 10;

/// All plugins, and who shows what they say.
pub(super) struct Loaded {
    pub(super) plugins: Plugins,
    pub(super) host_context: Arc<HostContext>,
    pub(super) listener: JoinHandle<()>,
}

/// Loads all plugins, if they can be worked with; warns of those that are not there.
pub(super) async fn load_plugins(
    system: &System,
    host_context: HostContext,
    verbose: bool,
) -> Result<Loaded, CliError> {
    let Loaded { plugins, host_context, listener } = survey_plugins(system, host_context, verbose).await?;
    let plugins = plugins.usable()?;
    let unloaded = plugins.unloaded.iter().filter(|unloaded| unloaded.state() != "disabled");
    let warnings: Vec<String> =
        unloaded.map(|unloaded| one_line(&unloaded.why)).chain(plugins.warnings.iter().cloned()).collect();
    for warning in warnings.iter().take(MAX_WARNINGS) {
        warn(warning);
    }
    if let Some(more) = warnings.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        warn(&format!("{more} more about plugins: hm plugin list"));
    }
    Ok(Loaded { plugins, host_context, listener })
}

/// Loads all plugins, also if they cannot be worked with.
pub(super) async fn survey_plugins(
    system: &System,
    host_context: HostContext,
    verbose: bool,
) -> Result<Loaded, CliError> {
    let compiler = compiler(system)?;
    // Warnings and errors always, the rest on request.
    let (diagnostics, receiver) = Diagnostics::new(if verbose { Level::Debug } else { Level::Warn });
    let listener = tokio::spawn(show_diagnostics(receiver));
    let host_context = Arc::new(host_context);
    let loader = Loader::new(compiler, host_context.clone(), diagnostics);
    let trust = Trust::read(&system.config, host_context.project.as_deref())?;
    let plugins = Plugins::load(&loader, &trust).await;
    Ok(Loaded { plugins, host_context, listener })
}

/// A loader outside of any project, and who shows what plugins say.
pub(super) fn isolated_loader(system: &System) -> Result<(Loader, tokio::task::JoinHandle<()>), CliError> {
    let (diagnostics, receiver) = Diagnostics::new(Level::Warn);
    let listener = tokio::spawn(show_diagnostics(receiver));
    Ok((Loader::new(compiler(system)?, Arc::new(HostContext::default()), diagnostics), listener))
}

/// Context of plugins outside of their instances, in a command that works on this project.
pub(super) fn host_context(system: &System, project: Option<&Path>) -> HostContext {
    HostContext {
        project: project.map(Path::to_owned),
        kept_values: Some(StoredValues::new(system.config.join("state"))),
        keyring: Keyring::of_system(system.config.join("secrets")),
        terminal: Terminal::of_process(),
        browser: Browser::of_system(&system.env),
        ..HostContext::default()
    }
}

/// The compiler of modules, with the user's cache.
pub(super) fn compiler(system: &System) -> Result<Compiler, CliError> {
    let engine = hm_abi::Engine::new()?;
    let cache = match ModuleCache::open(&system.cache.join("modules"), &system.state.join("modules.key")) {
        Ok(cache) => Some(cache),
        Err(e) => {
            warn(&format!("compiled plugins are not kept, so every start takes longer: {e}"));
            None
        }
    };
    Ok(Compiler::new(engine, system.program.clone(), cache))
}

/// Shows what plugins say for whoever debugs them, until the last plugin is gone.
pub(super) async fn show_diagnostics(mut receiver: mpsc::Receiver<Diagnostic>) {
    let mut stderr = tokio::io::stderr();
    while let Some(Diagnostic { level, plugin, text }) = receiver.recv().await {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warning",
            Level::Error => "error",
        };
        let line = printable(&format!("{level}: plugin {plugin}: {}\n", indented(&text)));
        // Nobody can be told that standard error is gone. Flushed each time, so that one line is under way at the most.
        if stderr.write_all(line.as_bytes()).await.is_ok() {
            let _ = stderr.flush().await;
        }
    }
}

/// Lets the listener finish; not for long, since nobody may be reading what it writes.
pub(super) async fn drain_diagnostics(listener: JoinHandle<()>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), listener).await;
}
