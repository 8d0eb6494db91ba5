//! Developer commands of this repository: `cargo xtask COMMAND`.
//! Each command is a module; this only finds the one that was asked for.

mod bench;
mod demo;
mod differential;
mod docker;
mod fuzz;
mod guests;
mod measure;
mod plugins;
mod run;
mod scale;
mod setup;
mod test;
mod wasm;

use std::path::Path;
use std::process::ExitCode;
use std::{env, iter};

use anyhow::{Context, Result, bail};

/// A command: its name, the arguments it takes (none if empty), what it does, and how.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Path, &[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "",
        about: "set up, and run a real pipeline on examples/hello",
        run: |root, _| demo::demo(root),
    },
    Command {
        name: "test",
        arguments: "",
        about: "set up, and run every test",
        run: |root, _| test::test(root),
    },
    Command {
        name: "fuzz",
        arguments: "[--seconds N | --minimize] [TARGET...]",
        about: "run the fuzz targets, or those that are named, or minimize their corpora",
        run: fuzz::fuzz,
    },
    Command {
        name: "differential",
        arguments: "[--scripts N] [--seed N]",
        about: "compare our host with the reference implementation",
        run: differential::differential,
    },
    Command {
        name: "bench",
        arguments: "[scale|docker]",
        about: "measure what a step costs, beside a plain shell loop or the bare engine, or how builds grow",
        run: bench::bench,
    },
    Command {
        name: "plugins",
        arguments: "",
        about: "build the plugins for wasm32-wasip1, and print where they are",
        run: |root, _| {
            for path in plugins::run(root)? {
                println!("{}", path.display());
            }
            Ok(())
        },
    },
    Command {
        name: "guests",
        arguments: "",
        about: "build the plug-ins in several languages that the tests run, and print where they are",
        run: |root, _| {
            println!("{}", guests::build(root, &setup::run()?)?.display());
            Ok(())
        },
    },
    Command {
        name: "setup",
        arguments: "",
        about: "make this machine able to build for wasm32-wasip1",
        run: |_, _| {
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
    let args: Vec<String> = args.collect();
    if let (true, Some(extra)) = (command.arguments.is_empty(), args.first()) {
        bail!("`{name}` takes no argument, and was given `{extra}`");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no repository")?;
    (command.run)(root, &args)
}

fn help() -> String {
    let lines = COMMANDS.iter().map(|command| {
        let usage = format!("{} {}", command.name, command.arguments);
        format!("  {:46} {}\n", usage.trim_end(), command.about)
    });
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
