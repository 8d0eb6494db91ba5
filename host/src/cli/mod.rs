//! The command line: from arguments to an exit code. What was typed is resolved here; the work is done below.

mod args;
mod build;
mod config;
mod error;
mod plugins;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use hm_plugin_protocol::Level;

use crate::plugin::{Loader, ModuleCache, Plugins};
use crate::sandbox::Diagnostics;
use crate::sys::{Sanitizer, System};
use args::{Cli, Command, PluginCommand};
use error::CliError;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&CliError::Runtime(e)),
    };
    let result = runtime.block_on(command(cli.command));
    // A thread that waits for a blocked pipe must not keep the program.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e) => fail(&e),
    }
}

fn fail(error: &CliError) -> ExitCode {
    error.report(std::io::stderr());
    ExitCode::from(error.exit_code())
}

async fn command(command: Command) -> Result<u8, CliError> {
    match command {
        Command::Build(args) => build::build(args).await,
        Command::Plugin(PluginCommand::List) => plugins::list().await,
        Command::Plugin(PluginCommand::Info { name }) => plugins::info(&name).await,
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
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Write)?;
    Ok(0)
}

/// Loads all plugins; says which could not be.
async fn load_plugins(system: &System, verbose: bool) -> Result<Plugins, CliError> {
    let engine = hm_abi::Engine::new()?;
    let cache = match ModuleCache::open(&system.cache.join("modules"), &system.state.join("modules.key")) {
        Ok(cache) => Some(cache),
        Err(e) => {
            warn(&format!("compiled plugins are not kept, so every start takes longer: {e}"));
            None
        }
    };
    let loader = Loader::new(engine, cache, diagnostics(verbose));
    Ok(Plugins::load(&loader, &system.config.join("plugins")).await?)
}

/// What plugins say for whoever debugs them: warnings and errors always, the rest on request.
fn diagnostics(verbose: bool) -> Diagnostics {
    let threshold = if verbose { Level::Debug } else { Level::Warn };
    Arc::new(move |level, plugin, text| {
        if level >= threshold {
            let level = match level {
                Level::Trace => "trace",
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warning",
                Level::Error => "error",
            };
            let mut line = Vec::new();
            Sanitizer::default().push(text.replace('\n', "\n    ").as_bytes(), &mut line);
            let line = String::from_utf8_lossy(&line).into_owned();
            to_stderr(&format!("{level}: plugin {plugin}: {line}\n"));
        }
    })
}

fn warn(text: &str) {
    to_stderr(&format!("warning: {text}\n"));
}

fn to_stderr(text: &str) {
    // Nobody can be told that standard error is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
