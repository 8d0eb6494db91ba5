//! `hm build`: from its arguments to a finished build.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use hm_plugin_protocol::Capability;
use uuid::Uuid;

use super::args::BuildArgs;
use super::config::Config;
use super::error::{CliError, to_u8};
use super::signals::interrupts;
use super::{Loaded, audit, heard, load_plugins, to_stderr, warn, warn_of_gaps, world};
use crate::backend::local::{LocalBackend, LocalConfig, Mode};
use crate::orchestrator::{Build, Ended, exit, run};
use crate::pipeline::{Overrides, Plan, Source, choose, find_project, read};
use crate::plugin::{Live, Plugins, Start, one_line};
use crate::sandbox::{Output, Role, World};
use crate::sys::{System, cores};

/// How many of the same kind of warning are shown.
const WARNINGS: usize = 10;

/// Runs the command and returns the exit code.
pub(super) async fn build(args: BuildArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let (source, project) = places(&args, &system)?;
    let config = Config::read(&system.config, &project)?;
    let pipelines = read(&source, std::io::stdin().lock())?;
    let (_, pipeline) = choose(pipelines, args.pipeline.as_deref())?;

    let audit = audit(args.audit.as_deref())?;
    let world = World { audit: audit.clone(), ..world(&system, Some(&project)) };
    let Loaded { plugins, world, listener } = load_plugins(&system, world, args.verbose).await?;
    let runners = plugins.runners();
    let overrides = Overrides { env: environment(&args.env, &system)?, runner: args.runner.clone() };
    let plan = Plan::new(pipeline, &overrides, &runners)?;
    plan.check_runners(&runners)?;
    plan.check_arguments(|runner| plugins.step_schema(runner))?;
    warn_of_unknown_fields(&plan);
    let formatter = formatter(&args, &plugins, &system)?;

    let run_id = Uuid::new_v4();
    let backend = LocalBackend::open(LocalConfig {
        helper: system.program.clone(),
        project,
        cache: system.cache.clone(),
        run_id,
        host_env: system.env.clone(),
        home: system.home.clone(),
        network: !(args.offline || config.offline),
        mode: Mode::Auto,
    });
    let backend = Arc::new(backend.await.map_err(CliError::Sandbox)?);
    if let Some(notice) = backend.notice() {
        warn(notice);
    }
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let build =
        Build { plan: Arc::new(plan), plugins, backend: backend.clone(), jobs, run_id, world, formatter };
    let Ended { exit_code, shown, stopped, troubles } = run(build, interrupts()?).await;
    heard(listener).await;
    for trouble in &troubles {
        warn(&one_line(trouble));
    }
    if let Some(stop) = stopped {
        to_stderr(&CliError::Stopped(stop).report());
    }
    let closed = match Arc::into_inner(backend) {
        Some(backend) => backend.close().await.map_err(CliError::CleanUp),
        None => Ok(()),
    };
    warn_of_gaps(audit.as_ref());
    // The build's own result says more than what went wrong around it.
    for trouble in [shown.map_err(CliError::from), closed].into_iter().filter_map(Result::err) {
        if exit_code == exit::OK || matches!(trouble, CliError::Output(_)) {
            return Err(trouble);
        }
        to_stderr(&trouble.report());
    }
    Ok(to_u8(exit_code))
}

/// A field that we do not know is handed on, for a plugin may know it; but it may also be a typo.
fn warn_of_unknown_fields(plan: &Plan) {
    for (at, field) in plan.unknown_fields().take(WARNINGS) {
        warn(&format!("{at}: this hm does not know the field `{field}`"));
    }
}

/// Where the pipeline comes from and which project it works on.
fn places(args: &BuildArgs, system: &System) -> Result<(Source, PathBuf), CliError> {
    let here = &system.current_dir;
    if let Some(dir) = &args.dir {
        let dir = here.join(dir);
        if !dir.is_dir() {
            return Err(CliError::Usage(format!("--dir {} is not a directory", dir.display())));
        }
    }
    let given = args.dir.as_ref().map(|d| here.join(d));
    let source = match &args.file {
        Some(file) if file.as_os_str() == "-" => Source::Stdin,
        Some(file) => Source::File(here.join(file)),
        None => {
            let found = match given {
                Some(dir) => Some(dir),
                None => find_project(here, system.user)?,
            };
            let project = found.unwrap_or_else(|| here.clone());
            return Ok((Source::Project(project.clone()), project));
        }
    };
    Ok((source, given.unwrap_or_else(|| here.clone())))
}

/// The variables of `--env`.
fn environment(typed: &[String], system: &System) -> Result<BTreeMap<String, String>, CliError> {
    let mut env = BTreeMap::new();
    for entry in typed {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(CliError::Usage(format!("--env {entry:?}: the name is empty")));
        }
        let (name, value) = match entry.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match system.env.get(entry) {
                Some(value) => (entry.as_str(), value.clone()),
                None => {
                    return Err(CliError::Usage(format!(
                        "--env {entry}: no such variable in your environment"
                    )));
                }
            },
        };
        env.insert(name.to_owned(), value);
    }
    Ok(env)
}

/// A live instance of the formatter, connected to our own streams.
fn formatter(args: &BuildArgs, plugins: &Plugins, system: &System) -> Result<Live, CliError> {
    let Some(plugin) = plugins.format(&args.format) else {
        let known = plugins.format_names().into_iter().map(str::to_owned).collect();
        return Err(CliError::NoSuchFormat { format: args.format.clone(), known });
    };
    let terminal = std::io::stdout().is_terminal();
    let plain = system.env.get("NO_COLOR").is_some_and(|v| !v.is_empty())
        || system.env.get("TERM").is_some_and(|t| t == "dumb");
    // Text for people is made harmless wherever it goes, for it is looked at in the end; data is left as it is.
    let text = plugin.manifest.capabilities.iter().any(|capability| {
        matches!(capability, Capability::OutputFormatter(spec) if spec.name == args.format && spec.mime.starts_with("text/"))
    });
    let streams =
        Output::new((Box::pin(tokio::io::stdout()), terminal || text), (Box::pin(tokio::io::stderr()), true));
    let config = [("color", terminal && !plain), ("verbose", args.verbose)]
        .map(|(k, v)| (k.to_owned(), v.to_string()));
    Ok(plugin.instance(Start { config: config.into(), ..Start::of(Role::Formatter(streams)) }))
}
