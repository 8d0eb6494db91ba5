//! Arguments that can be typed, with their help. What they lead to is in the module of each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::units::{Size, Span};

/// Hidden command that carries out one attack in its process.
pub(super) const ATTACK_PROCESS: &str = "__attack";

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
    /// Show what a build would do and take from the cache, without running a step
    Plan(PlanArgs),
    /// Check pipelines without running anything
    Validate(ValidateArgs),
    /// Tell why the last build ran a step, or took it from the cache
    Why(WhyArgs),
    /// The cache: what is kept of former builds, and removing it
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Plugins: which there are, what they may do, calling them, attacking the sandbox
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Carry out one attack in this process
    #[command(name = ATTACK_PROCESS, hide = true)]
    Act(ActArgs),
    /// Write a script that completes commands in a shell
    ///
    /// For bash, say: source <(hm completions bash)
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Show the version of hm and of what it is built on
    Version,
    /// A command that a plugin brings
    #[command(external_subcommand)]
    OfPlugin(Vec<String>),
}

/// Choice of a pipeline and a project, and settings for its steps.
#[derive(Debug, Args)]
pub(super) struct PipelineArgs {
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

    /// Run steps that name no runner with this one
    #[arg(long, value_name = "RUNNER")]
    pub(super) runner: Option<String>,

    /// Give steps no network
    #[arg(long)]
    pub(super) offline: bool,

    /// Take fields of the pipeline that hm does not know for warnings, not for errors
    #[arg(long)]
    pub(super) lenient: bool,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    #[command(flatten)]
    pub(super) of: PipelineArgs,

    /// Format of the output: `human`, `json`, or the format of another plugin
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(super) format: String,

    /// Steps that run at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,

    /// After a failure, go on with what needs nothing of the step that failed
    #[arg(short, long)]
    pub(super) keep_going: bool,

    /// Run every step anew, whatever the cache has; new results are kept
    #[arg(long)]
    pub(super) no_cache: bool,

    /// Run only what failed or did not run in the last build of this pipeline, and what it builds in
    #[arg(long)]
    pub(super) failed: bool,

    /// Directory for files that steps produce, with a folder for each step [default: .hm/out in the project]
    #[arg(long, value_name = "DIR")]
    pub(super) artifacts: Option<PathBuf>,

    /// Write down what plugins do and are denied in this file, a line of JSON for each
    #[arg(long, value_name = "FILE")]
    pub(super) audit: Option<PathBuf>,

    /// Show more: diagnostics of plugins, runners, snapshots
    #[arg(short, long)]
    pub(super) verbose: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) of: PipelineArgs,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// The file, or standard input if it is `-` [default: the JSON files of the project]
    pub(super) file: Option<PathBuf>,

    /// The project [default: here, or the nearest folder above with .hm/]
    #[arg(short, long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The step's key
    pub(super) step: String,

    /// The pipeline, where steps of several have that key [default: the one that was built last]
    #[arg(short, long, value_name = "PIPELINE")]
    pub(super) pipeline: Option<String>,

    /// The project [default: here, or the nearest folder above with .hm/]
    #[arg(short, long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// List the results that are kept: how large and old they are, when they were last used, and of which step
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove results that can never be used again, and those beyond the limits
    Prune(PruneArgs),
    /// Remove all results, but those that running builds use
    Clear,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Remove what was not used for so long, such as 90s, 30m, 12h or 7d [default: as configured, or 30d]
    #[arg(long, value_name = "TIME")]
    pub(super) older_than: Option<Span>,

    /// Remove what was not used for the longest time, until no more is left than this, such as 500MB or 5GB [default:
    /// as configured, or 20GB]
    #[arg(long, value_name = "SIZE")]
    pub(super) max_size: Option<Size>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// List the plugins that are there, also those that are not loaded, and why
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what a plugin provides, asks for and may do
    Info {
        /// Its name, or a file
        #[arg(value_name = "NAME|FILE")]
        plugin: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what a plugin asks for, and if you agree, install it and grant that
    Install(InstallArgs),
    /// Remove a plugin that you have installed, and what it was granted
    Remove(RemoveArgs),
    /// Let plugins of this project run, which they do not without this
    ///
    /// Trust is in the bytes of the plugin: another version is not trusted, the same in another project is.
    Trust(TrustArgs),
    /// Call a function of any Extism module, and print what it answers
    ///
    /// The module gets no host functions of hm but those of --grant, no files and no network but what is allowed with
    /// --allow-host, and no environment.
    Call(CallArgs),
    /// Attack the sandbox with hostile modules, and show whether it holds on this machine
    ///
    /// Each attack runs in a process of its own, beside a harmless module that must not notice it. Exit code 1 if
    /// anything was not as it must be.
    Attack(AttackArgs),
}

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// A file, or an https URL
    #[arg(value_name = "FILE|URL")]
    pub(super) from: String,

    #[command(flatten)]
    pub(super) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// The names of their files, without .wasm [default: all]
    pub(super) names: Vec<String>,

    #[command(flatten)]
    pub(super) consent: ConsentArgs,

    /// Take the trust back
    #[arg(long, conflicts_with_all = ["pin", "yes", "grant"])]
    pub(super) revoke: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConsentArgs {
    /// Only if the SHA-256 of its bytes is this
    #[arg(long, value_name = "SHA256")]
    pub(super) pin: Option<String>,

    /// Agree to what it asks for, without being asked
    #[arg(short, long)]
    pub(super) yes: bool,

    /// Grant this host function, or `keyring:SERVICE`, although the plugin does not ask for it; again for more
    #[arg(long, value_name = "FUNCTION")]
    pub(super) grant: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Its name, or that of its file
    pub(super) name: String,

    /// Remove what it has stored, too
    #[arg(long)]
    pub(super) purge: bool,
}

#[derive(Debug, Args)]
pub(super) struct AttackArgs {
    /// Only the attacks, or groups of attacks, of these names: `memory/grow`, `memory`
    pub(super) names: Vec<String>,

    /// Print one JSON object for each attack
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ActArgs {
    /// Name of the attack
    pub(super) name: String,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The module
    pub(super) file: PathBuf,

    /// The function: one that takes nothing and returns nothing or an i32
    pub(super) export: String,

    /// `-` takes the input from standard input, as `--input-file -` does
    #[arg(value_parser = ["-"], value_name = "-", conflicts_with_all = ["input", "input_file"])]
    pub(super) stdin: Option<String>,

    /// The input
    #[arg(short, long, value_name = "TEXT", conflicts_with = "input_file", allow_hyphen_values = true)]
    pub(super) input: Option<String>,

    /// Take the input from this file, or from standard input if it is `-`
    #[arg(long, value_name = "PATH")]
    pub(super) input_file: Option<PathBuf>,

    /// A setting that the module can ask for; again for more
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) config: Vec<String>,

    /// Let the module call this host function of hm, or use `keyring:SERVICE`; again for more
    #[arg(long, value_name = "FUNCTION")]
    pub(super) grant: Vec<String>,

    /// Let the module send HTTP requests to this host: `api.example.com`, `*.example.com`, `*`, `http://10.0.0.7:8080`,
    /// …, or reach a socket, `unix:/run/x.sock`, or a directory below the current one, `dir:docs`, `dir+rw:out`; again
    /// for more
    #[arg(long, value_name = "HOST")]
    pub(super) allow_host: Vec<String>,

    /// Fuel of the call, which limits its computing: about one unit for a WebAssembly instruction
    #[arg(long, value_name = "N", default_value_t = 10_000_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) fuel: u64,

    /// Milliseconds that the call may take once the module is loaded; a day at the most
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) timeout: u64,

    /// Memory of the module, in pages of 64 KiB
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) max_pages: u16,

    /// Link another module (again for more), from whose functions the module may import under this name
    #[arg(long, value_name = "NAME=FILE")]
    pub(super) link: Vec<String>,

    /// Print one JSON object: output or error, and what the call has used
    #[arg(long)]
    pub(super) json: bool,

    /// Show all that the module logs, not only warnings and errors
    #[arg(short, long)]
    pub(super) verbose: bool,
}
