//! Developer commands of this repository: `cargo xtask COMMAND`.
//! Each command is a module; this only finds the one that was asked for.

mod bench;
mod demo;
mod plugins;
mod run;
mod setup;
mod test;
mod wasm;

use std::path::Path;
use std::process::ExitCode;
use std::{env, iter};

use anyhow::{Context, Result, bail};

/// A command: its name, what it does, and how.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&Path) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command { name: "demo", about: "set up, and run a real pipeline on examples/hello", run: demo::demo },
    Command { name: "test", about: "set up, and run every test", run: test::test },
    Command {
        name: "bench",
        about: "measure what a step costs, beside a plain shell loop",
        run: bench::bench,
    },
    Command {
        name: "plugins",
        about: "build the plugins for wasm32-wasip1, and print where they are",
        run: |root| {
            for path in plugins::run(root)? {
                println!("{}", path.display());
            }
            Ok(())
        },
    },
    Command {
        name: "setup",
        about: "make this machine able to build for wasm32-wasip1",
        run: |_| {
            println!("setup: {}", setup::run()?);
            Ok(())
        },
    },
];

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let name = args.next().unwrap_or_else(|| "help".to_owned());
    if ["help", "-h", "--help"].contains(&name.as_str()) {
        print!("{}", help());
        return Ok(());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        bail!("there is no command `{name}`\n{}", help());
    };
    if let Some(extra) = args.next() {
        bail!("`{name}` takes no argument, and was given `{extra}`");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no repository")?;
    (command.run)(root)
}

fn help() -> String {
    let lines = COMMANDS.iter().map(|command| format!("  {:10} {}\n", command.name, command.about));
    iter::once("Usage: cargo xtask COMMAND\n\n".to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(args: &[&str]) -> String {
        run(args.iter().map(|arg| (*arg).to_owned())).unwrap_err().to_string()
    }

    #[test]
    fn help_lists_every_command() {
        for command in COMMANDS {
            assert!(help().contains(command.name), "{}", command.name);
        }
    }

    #[test]
    fn what_is_not_understood_is_not_ignored() {
        assert!(error_of(&["nonsense"]).starts_with("there is no command `nonsense`\nUsage:"));
        assert_eq!(error_of(&["setup", "now"]), "`setup` takes no argument, and was given `now`");
    }
}
