//! `hm completions`: a script with which a shell completes commands of `hm`, those of the plugins that are there included.

use clap_complete::Shell;

use super::error::CliError;
use super::{print_data, subcommand};
use crate::plugin::CommandForm;

/// Runs the command and returns the exit code.
pub(super) async fn completions(shell: Shell) -> Result<u8, CliError> {
    let mut commands = subcommand::all(CommandForm::for_shells).await?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut commands, "hm", &mut script);
    print_data(&script)
}
