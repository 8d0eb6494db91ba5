//! `hm VERB …` for verbs that plugins bring: finds the plugin, parses what was typed by its own schema, calls it, and
//! turns its answer into an exit code. The same commands in help texts and completions.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use clap::CommandFactory;
use hm_plugin_protocol::{ExitInfo, SubcommandInput};
use serde_json::Value;

use super::args::Cli;
use super::error::CliError;
use super::exit_code::to_u8;
use super::plugin_loading::{Loaded, drain_diagnostics, host_context, load_plugins, survey_plugins};
use super::signals::interrupts;
use super::suggest::similar;
use super::terminal_output::to_stderr;
use crate::host_functions::{HostContext, Output, Role};
use crate::pipeline::find_project;
use crate::plugin::{
    CommandParser, InstanceSpec, LoadError, ParsedCommand, Plugin, PluginFailure, SUBCOMMAND_CALL,
};
use crate::sys::System;

/// Time that a command has to end once it was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Prefix of the variables that commands get to see.
const VARIABLES: &str = "HARMONT_";

/// Runs the command that these words, the verb first, are for; returns the exit code.
pub(super) async fn run(words: Vec<String>) -> Result<u8, CliError> {
    let system = System::read()?;
    let Loaded { plugins, host_context, listener } =
        load_plugins(&system, context_here(&system)?, false).await?;
    let verb = words.first().map(String::as_str).unwrap_or_default();
    let Some((spec, plugin)) = plugins.verb(verb) else {
        let of_plugins = plugins.verbs().into_iter().map(|(spec, _)| spec.verb.clone());
        let broken = plugins.unloaded.iter().any(|unloaded| unloaded.state() == "broken");
        return Err(no_such_verb(
            verb,
            command_names(&Cli::command()).into_iter().chain(of_plugins).collect(),
            broken,
        ));
    };
    let form = CommandParser::read(spec)
        .map_err(|reason| LoadError::Manifest { plugin: plugin.name.clone(), reason: reason.to_string() })?;
    let typed = if form.is_unparsed(&words) {
        ParsedCommand { verb_path: words, args: Value::Null }
    } else {
        let parser = clap::Command::new("hm").max_term_width(100).subcommand(form.command());
        match parser.try_get_matches_from(std::iter::once("hm".to_owned()).chain(words)) {
            Ok(matches) => match matches.subcommand() {
                Some((_, matches)) => form.typed(matches),
                None => return Ok(0),
            },
            Err(help_or_error) => return print_clap_message(&help_or_error),
        }
    };
    let called = call(plugin, typed, &system).await;
    drop((plugins, host_context));
    drain_diagnostics(listener).await;
    called
}

/// True if the error of the parser of our own commands is about all commands, of which plugins may know more.
pub(super) fn may_know_more(typed: &[OsString]) -> bool {
    let word = |at: usize| typed.get(at).and_then(|word| word.to_str());
    match word(1) {
        None => typed.len() == 1,
        Some("-h" | "--help") => typed.len() == 2,
        Some("help") => word(2).is_none_or(|verb| Cli::command().find_subcommand(verb).is_none()),
        Some(_) => false,
    }
}

/// The help for these words, with the commands of plugins in it.
pub(super) async fn help(typed: &[OsString]) -> Result<u8, CliError> {
    // Whatever is wrong with the plugins is no reason to have no help.
    let commands = all_commands(CommandParser::clone).await.unwrap_or_else(|_| Cli::command());
    if let Some(verb) = typed.get(2).and_then(|word| word.to_str())
        && !verb.starts_with('-')
        && commands.find_subcommand(verb).is_none()
    {
        return Err(no_such_verb(verb, command_names(&commands), false));
    }
    match commands.try_get_matches_from(typed) {
        Ok(_) => Ok(0),
        Err(help) => print_clap_message(&help),
    }
}

/// Our commands and those of the plugins, as far as they could be loaded, each as `change` makes it.
pub(super) async fn all_commands(
    change: impl Fn(&CommandParser) -> CommandParser,
) -> Result<clap::Command, CliError> {
    let system = System::read()?;
    let Loaded { plugins, listener, .. } = survey_plugins(&system, context_here(&system)?, false).await?;
    let mut commands = Cli::command();
    let mut taken = BTreeSet::new();
    for (spec, plugin) in plugins.verbs() {
        let Ok(form) = CommandParser::read(spec) else { continue };
        if taken.insert(&spec.verb) {
            let form = change(&form);
            let about = format!("{} (plugin {})", form.about(), plugin.name);
            commands = commands.subcommand(form.command().about(about.trim().to_owned()));
        }
    }
    drop(plugins);
    drain_diagnostics(listener).await;
    Ok(commands)
}

/// Context of plugins in a command: the project that is here, if one is.
fn context_here(system: &System) -> Result<HostContext, CliError> {
    let project = find_project(&system.current_dir, system.user)?;
    Ok(host_context(system, project.as_deref()))
}

/// The error for a word that is none of these commands.
fn no_such_verb(verb: &str, known: Vec<String>, broken: bool) -> CliError {
    CliError::NoSuchVerb { verb: verb.into(), near: similar(verb, &known), known, broken }
}

/// The names of commands that are shown.
fn command_names(commands: &clap::Command) -> Vec<String> {
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// Shows what clap says, be it help or an error; the exit code. The words of plugins in it have been made harmless.
fn print_clap_message(error: &clap::Error) -> Result<u8, CliError> {
    match error.print() {
        Err(e) if !error.use_stderr() => Err(CliError::Write(e)),
        _ => Ok(to_u8(error.exit_code())),
    }
}

/// Calls the plugin; the exit code of the command.
async fn call(plugin: &Plugin, typed: ParsedCommand, system: &System) -> Result<u8, CliError> {
    let variables = system.env.iter().filter(|(name, _)| name.starts_with(VARIABLES));
    let env: BTreeMap<String, String> = variables.map(|(n, v)| (n.clone(), v.clone())).collect();
    let input = SubcommandInput { verb_path: typed.verb_path, args: typed.args, env };
    let (stdout, stderr) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let streams =
        Output::new((Box::pin(tokio::io::stdout()), stdout), (Box::pin(tokio::io::stderr()), stderr));
    // Before the plugin runs: an interrupt that comes first would end us, with the plugin in the middle of its work.
    let interrupts = interrupts()?;
    let cancellation = interrupts.token().clone();
    let mut instance =
        plugin.instance(InstanceSpec { cancellation, ..InstanceSpec::of(Role::Subcommand(streams)) });
    let (answer, interrupted) = {
        let mut call = std::pin::pin!(instance.call_json("hm_subcommand_run", &input, &SUBCOMMAND_CALL));
        tokio::select! {
            // It may have ended because it was told to, before we have heard of that.
            answer = &mut call => (Some(answer), interrupts.token().is_cancelled()),
            () = interrupts.token().cancelled() => (tokio::time::timeout(GRACE, call).await.ok(), true),
        }
    };
    let written = match instance.role().output() {
        // Nobody reads on: that is what the plugin's failure comes from.
        Some(output) if output.is_unread() => Err(std::io::ErrorKind::BrokenPipe.into()),
        Some(output) => output.flush().await,
        None => Ok(()),
    };
    written.map_err(CliError::Write)?;
    finish(answer, interrupted)
}

fn finish(answer: Option<Result<ExitInfo, PluginFailure>>, interrupted: bool) -> Result<u8, CliError> {
    let Some(answer) = answer else { return Err(CliError::Interrupted) };
    if interrupted && answer.is_err() {
        return Err(CliError::Interrupted);
    }
    let ExitInfo { exit_code, message } = answer?;
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        to_stderr(&format!("{}\n", message.trim_end_matches('\n')));
    }
    if interrupted { Err(CliError::Interrupted) } else { Ok(to_u8(exit_code)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::OWN_COMMANDS;

    #[test]
    fn no_plugin_can_take_a_command_of_ours() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            for name in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
                assert!(OWN_COMMANDS.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn plugins_are_loaded_only_for_help_that_they_may_add_to() {
        let asked =
            |words: &str| may_know_more(&words.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        for words in ["hm", "hm --help", "hm -h", "hm help", "hm help deploy", "hm help deploy now"] {
            assert!(asked(words), "{words}");
        }
        for words in ["hm build --help", "hm help build", "hm --version", "hm --nonsense", "hm build --x"] {
            assert!(!asked(words), "{words}");
        }
    }
}
