//! The command line: from arguments to an exit code. What was typed is resolved here; the work is done below.

mod args;
mod attack;
mod build;
mod cache;
mod call;
mod call_output;
mod completions;
mod config;
mod debug_log;
mod error;
mod exit_code;
mod history;
mod pipelines;
mod plan;
mod plan_text;
mod plugin_info;
mod plugin_install;
mod plugin_loading;
mod plugin_text;
mod plugins;
mod prepare;
mod refusal;
mod report;
mod signals;
mod subcommand;
mod suggest;
mod terminal_output;
mod text;
mod units;
mod validate;
mod why;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, PluginCommand};
use error::CliError;
use terminal_output::{print, to_stderr};

/// Entry of the program: parses the arguments, runs the command, reports its error.
#[must_use]
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let asked = match Cli::try_parse_from(&typed) {
        Err(error) if !subcommand::may_know_more(&typed) => error.exit(),
        asked => asked,
    };
    if let Err(error) = debug_log::start() {
        return fail(&error);
    }
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
        Command::Validate(args) => validate::validate(args).await,
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
