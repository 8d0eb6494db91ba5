//! `hm completions`: a script with which a shell completes commands of `hm`, those of the plugins that are there
//! included.

use clap_complete::Shell;

use super::error::CliError;
use super::subcommand::all_commands;
use super::terminal_output::print_data;
use crate::plugin::CommandParser;

/// Runs the command and returns the exit code.
pub(super) async fn completions(shell: Shell) -> Result<u8, CliError> {
    let commands = all_commands(CommandParser::for_shells).await?;
    // What is hidden from people is not for them to complete.
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut commands = clap::Command::new("hm").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut commands, "hm", &mut script);
    print_data(&script)
}
