//! The command line: from arguments to an exit code. What was typed is resolved here; the work is done below.

mod answer;
mod args;
mod attack;
mod build;
mod cache;
mod call;
mod completions;
mod config;
mod drawing;
mod error;
mod history;
mod measures;
mod paragraph;
mod pipelines;
mod plan;
mod plugin_install;
mod plugin_known;
mod plugin_words;
mod plugins;
mod prepare;
mod refusal;
mod signals;
mod subcommand;
mod why;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use hm_disk::one_line;
use hm_plugin_protocol::Level;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::backend::browser::Browser;
use crate::backend::keyring::Keyring;
use crate::backend::kv::KeptValues;
use crate::backend::terminal::Terminal;
use crate::host_functions::{Audit, Diagnostic, Diagnostics, World};
use crate::plugin::{Compiler, Loader, ModuleCache, Plugins, Terms};
use crate::sys::{System, printable};
use args::{Cli, Command, PluginCommand};
use error::CliError;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let asked = match Cli::try_parse_from(&typed) {
        Err(error) if !subcommand::may_know_more(&typed) => error.exit(),
        asked => asked,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&CliError::Runtime(e)),
    };
    let result = runtime.block_on(async {
        match asked {
            Ok(cli) => command(cli.command).await,
            Err(_) => subcommand::help(&typed).await,
        }
    });
    // A thread that waits for a blocked pipe must not keep the program.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) => fail(&e),
    }
}

fn fail(error: &CliError) -> ExitCode {
    to_stderr(&error.report());
    ExitCode::from(error.exit_code())
}

async fn command(command: Command) -> Result<u8, CliError> {
    match command {
        Command::Build(args) => build::build(args).await,
        Command::Plugin(PluginCommand::List { json }) => plugins::list(json).await,
        Command::Plugin(PluginCommand::Info { plugin, json }) => plugins::info(&plugin, json).await,
        Command::Plugin(PluginCommand::Install(args)) => plugin_install::install(args).await,
        Command::Plugin(PluginCommand::Remove(args)) => plugin_install::remove(args).await,
        Command::Plugin(PluginCommand::Trust(args)) => plugin_install::trust(args).await,
        Command::Plugin(PluginCommand::Call(args)) => call::call(args).await,
        Command::Plugin(PluginCommand::Attack(args)) => attack::attack(args).await,
        Command::Act(args) => attack::carry_out(args).await,
        Command::Plan(args) => plan::plan(args).await,
        Command::Why(args) => why::why(&args),
        Command::Cache(command) => cache::cache(&command).await,
        Command::Completions { shell } => completions::completions(shell).await,
        Command::OfPlugin(words) => subcommand::run(words).await,
        Command::Version => print(&format!(
            "hm {}\nplugin API {}\n",
            env!("CARGO_PKG_VERSION"),
            hm_plugin_protocol::HM_PLUGIN_API_VERSION,
        )),
    }
}

/// Writes to standard output, and succeeds.
fn print(text: &str) -> Result<u8, CliError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(printable(text).as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Write)?;
    Ok(0)
}

/// Writes to standard output, and succeeds: unchanged, unless a person looks at it.
fn print_data(bytes: &[u8]) -> Result<u8, CliError> {
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() {
        drop(stdout);
        let text = String::from_utf8_lossy(bytes);
        // Or the prompt would stand behind it.
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return print(&format!("{text}{end}"));
    }
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(CliError::Write)?;
    Ok(0)
}

/// How many warnings about plugins are shown: a project may have any number of files.
const WARNINGS: usize = 10;

/// All plugins, and who shows what they say.
struct Loaded {
    plugins: Plugins,
    world: Arc<World>,
    listener: JoinHandle<()>,
}

/// Loads all plugins, if they can be worked with; warns of those that are not there.
async fn load_plugins(system: &System, world: World, verbose: bool) -> Result<Loaded, CliError> {
    let Loaded { plugins, world, listener } = survey_plugins(system, world, verbose).await?;
    let plugins = plugins.usable()?;
    let absent = plugins.absent.iter().filter(|absent| absent.state() != "disabled");
    let warnings: Vec<String> =
        absent.map(|absent| one_line(&absent.why)).chain(plugins.warnings.iter().cloned()).collect();
    for warning in warnings.iter().take(WARNINGS) {
        warn(warning);
    }
    if let Some(more) = warnings.len().checked_sub(WARNINGS).filter(|more| *more > 0) {
        warn(&format!("{more} more about plugins: hm plugin list"));
    }
    Ok(Loaded { plugins, world, listener })
}

/// Loads all plugins, also if they cannot be worked with.
async fn survey_plugins(system: &System, world: World, verbose: bool) -> Result<Loaded, CliError> {
    let compiler = compiler(system)?;
    // Warnings and errors always, the rest on request.
    let (diagnostics, receiver) = Diagnostics::new(if verbose { Level::Debug } else { Level::Warn });
    let listener = tokio::spawn(show_diagnostics(receiver));
    let world = Arc::new(world);
    let loader = Loader::new(compiler, world.clone(), diagnostics);
    let terms = Terms::read(&system.config, world.project.as_deref())?;
    let plugins = Plugins::load(&loader, &terms).await;
    Ok(Loaded { plugins, world, listener })
}

/// What plugins find outside of their instances, in a command that works on this project.
fn world(system: &System, project: Option<&Path>) -> World {
    World {
        project: project.map(Path::to_owned),
        kept_values: Some(KeptValues::new(system.config.join("state"))),
        keyring: Keyring::of_system(system.config.join("secrets")),
        terminal: Terminal::of_process(),
        browser: Browser::of_system(&system.env),
        ..World::default()
    }
}

/// An audit in the file that was named, if one was.
fn audit(path: Option<&Path>) -> Result<Option<Audit>, CliError> {
    let created = path
        .map(|path| Audit::create(path).map_err(|source| CliError::Audit { path: path.to_owned(), source }));
    created.transpose()
}

/// Says that an audit is not whole.
fn warn_of_gaps(audit: Option<&Audit>) {
    if let Some(trouble) = audit.and_then(Audit::trouble) {
        warn(&format!("the audit is not complete: {trouble}"));
    }
}

/// The compiler of modules, with the user's cache.
fn compiler(system: &System) -> Result<Compiler, CliError> {
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
async fn show_diagnostics(mut receiver: mpsc::Receiver<Diagnostic>) {
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
async fn heard(listener: JoinHandle<()>) {
    let _ = tokio::time::timeout(Duration::from_secs(1), listener).await;
}

/// A text of somebody else in which no line can pass for one of ours, or for a command to the CI service that reads them:
/// those are at the start of a line, behind spaces at the most.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    | ")
}

fn warn(text: &str) {
    to_stderr(&format!("warning: {}\n", indented(text)));
}

fn to_stderr(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = std::io::stderr().lock().write_all(printable(text).as_bytes());
}
