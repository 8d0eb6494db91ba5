//! `hm build`: from its arguments to a finished build.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use hm_plugin_protocol::Capability;
use hm_workspace::artifacts;

use super::args::BuildArgs;
use super::cache::prune;
use super::error::CliError;
use super::exit_code::to_u8;
use super::history::{last_build, steps_on_record, unfinished};
use super::plugin_loading::drain_diagnostics;
use super::prepare::{Prepared, close, warn_of_doubts};
use super::signals::interrupts;
use super::terminal_output::{to_stderr, warn};
use crate::host_functions::{Audit, Output, Role};
use crate::orchestrator::{Build, Ended, Kept, Manner, exit, run};
use crate::pipeline::Plan;
use crate::plugin::{InstanceSpec, PluginInstance, Plugins, one_line};
use crate::record::{About, Recorder};
use crate::sys::{System, cores};

/// Runs the command and returns the exit code.
pub(super) async fn build(args: BuildArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let audit = create_audit(args.audit.as_deref())?;
    let mut interrupts = interrupts()?;
    let mut prepared = tokio::select! {
        prepared = Prepared::new(&args.of, &system, audit.clone(), args.verbose) => prepared?,
        _ = interrupts.recv() => return Err(CliError::Interrupted),
    };
    let runs = system.state.join("runs");
    let whole = prepared.plan.clone();
    if args.failed {
        let last = last_build(&runs, &prepared.project, &prepared.pipeline)?;
        let left = unfinished(&last, &whole);
        if left.is_empty() {
            to_stderr("nothing to do: every step succeeded in the last build\n");
            return prepared.close().await.map(|()| 0);
        }
        prepared.plan = whole.only(&left);
    }
    let chosen = args.artifacts.as_ref().map(|dir| system.current_dir.join(dir));
    let artifacts = artifacts::root(&prepared.project, chosen.as_deref()).map_err(CliError::Artifacts)?;
    if chosen.is_some() {
        artifacts::claim(artifacts.clone()).await.map_err(CliError::Artifacts)?;
    }
    let formatter = formatter(&args, &prepared.plugins, &system)?;
    let ready = async {
        prepared.open_sandbox().await?;
        prepared.connect().await.map_err(CliError::Docker)
    };
    tokio::select! {
        ready = ready => ready?,
        _ = interrupts.recv() => return Err(CliError::Interrupted),
    }
    let record = record(&prepared, &runs, &whole);
    let keeping = prepared.keeping(&system, !args.no_cache);
    let Prepared { plan, plugins, world, listener, backends, config, run_id, .. } = prepared;
    let jobs = args.jobs.map_or_else(cores, usize::from);
    let limits = keeping.as_ref().map(|_| config.limits());
    let build = Build {
        plan: Arc::new(plan),
        plugins,
        backends: backends.clone(),
        manner: Manner { jobs, keep_going: args.keep_going },
        keeping,
        record,
        artifacts,
        run_id,
        world,
        formatter,
    };
    let Ended { exit_code, shown, stopped, troubles, kept, not_recorded } = run(build, interrupts).await;
    drain_diagnostics(listener).await;
    for trouble in &troubles {
        warn(&one_line(trouble));
    }
    if let Some(stop) = stopped {
        to_stderr(&CliError::Stopped(stop).report());
    }
    let limits = limits.filter(|_| kept.results > 0 && kept.trouble.is_none());
    warn_of_what_was_not_kept(kept, not_recorded);
    let closed = close(backends).await;
    if let Some(limits) = limits
        && let Err(error) = prune(&system, limits, Utc::now()).await
    {
        warn(&format!("the cache was not kept within its limits: {}", one_line(&error)));
    }
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

fn warn_of_what_was_not_kept(kept: Kept, not_recorded: Option<String>) {
    warn_of_doubts(&kept.doubts);
    if let Some(trouble) = kept.trouble {
        warn(&format!("not everything was kept in the cache: {trouble}"));
    }
    if let Some(trouble) = not_recorded {
        warn(&format!("the record of this build is not complete: {trouble}"));
    }
}

/// The record of a build that runs a part of a plan, or all of it. Without one, the build goes on.
fn record(prepared: &Prepared, runs: &Path, whole: &Plan) -> Option<Recorder> {
    let about = About {
        run_id: prepared.run_id,
        project: prepared.project.clone(),
        pipeline: prepared.pipeline.clone(),
        started_at: Utc::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        steps: steps_on_record(whole, &prepared.plan),
    };
    match Recorder::create(runs, about) {
        Ok(recorder) => Some(recorder),
        Err(error) => {
            warn(&format!(
                "this build leaves no record, and keeps nothing in the cache: {}",
                one_line(&error)
            ));
            None
        }
    }
}

/// A live instance of the formatter, connected to our own streams.
fn formatter(args: &BuildArgs, plugins: &Plugins, system: &System) -> Result<PluginInstance, CliError> {
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
    Ok(plugin.instance(InstanceSpec { config: config.into(), ..InstanceSpec::of(Role::Formatter(streams)) }))
}

/// Audit in the file that was named, if one was.
fn create_audit(path: Option<&Path>) -> Result<Option<Audit>, CliError> {
    let created = path
        .map(|path| Audit::create(path).map_err(|source| CliError::Audit { path: path.to_owned(), source }));
    created.transpose()
}

/// Says that an audit is not whole.
fn warn_of_gaps(audit: Option<&Audit>) {
    if let Some(trouble) = audit.and_then(Audit::trouble) {
        warn(&format!("the audit is not complete: {trouble}"));
    }
}
