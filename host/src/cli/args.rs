//! What can be typed: the arguments and their help. What they lead to is in the module of each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Run CI pipelines on your own machine, each step by a sandboxed WebAssembly plugin.
#[derive(Debug, Parser)]
#[command(name = "hm", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a pipeline
    #[command(alias = "run")]
    Build(BuildArgs),
    /// Show which plugins there are and what they may do
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Show the version of hm and of what it is built on
    Version,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Name of the pipeline, where there are several
    pub(super) pipeline: Option<String>,

    /// Read the pipeline from this file, or from standard input if it is `-`
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// The project: its files are what the steps work on [default: here, or the nearest folder above with .hm/]
    #[arg(short, long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,

    /// Set an environment variable in every step; without a value it is taken from your own environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,

    /// How the build is shown: `human`, `json`, or the format of another plugin
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) format: String,

    /// How many steps run at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,

    /// Run steps that name no runner with this one
    #[arg(long, value_name = "RUNNER")]
    pub(super) runner: Option<String>,

    /// Give steps no network
    #[arg(long)]
    pub(super) offline: bool,

    /// Show more: diagnostics of plugins, runners, snapshots
    #[arg(short, long)]
    pub(super) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// List the plugins that are there
    List,
    /// Show what a plugin provides, asks for and may do
    Info {
        /// Its name
        name: String,
    },
}
