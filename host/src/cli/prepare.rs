//! From arguments to a pipeline that can be run, with all that it takes to run it, for the commands that run or
//! foresee a build.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use hm_disk::{one_line, sha256_hex};
use hm_docker::{DockerBackend, DockerConfig, DockerError, EngineEnv, check_image};
use hm_plugin_protocol::ArchiveId;
use hm_step_sandbox::{Mode, SandboxConfig};
use hm_workspace::Workspace;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::args::PipelineArgs;
use super::config::Config;
use super::error::CliError;
use super::pipelines::{environment, locate, pipelines};
use super::plugin_loading::{Loaded, drain_diagnostics, host_context, load_plugins};
use super::terminal_output::{to_stderr, warn};
use crate::backend::{Backends, LocalSandbox};
use crate::cache::{PathWarning, Store};
use crate::host_functions::{Audit, BackendKind, HostContext};
use crate::orchestrator::{BuildContext, StepCache, StepCacheConfig};
use crate::pipeline::{DefaultRunner, Definition, Overrides, PipelineError, Plan, PlannedStep, choose};
use crate::plugin::Plugins;
use crate::sys::{System, machine};

/// Warnings of the same kind that are shown, at the most.
const WARNINGS: usize = 10;

/// A pipeline that can be run here, and what runs it.
pub(super) struct Prepared {
    pub(super) project: PathBuf,
    pub(super) pipeline: String,
    /// Everything that the build and `hm plan` share; without cache, record and artifacts yet.
    pub(super) build: BuildContext,
    /// Shows what plugins say.
    pub(super) listener: JoinHandle<()>,
    pub(super) config: Config,
}

impl Prepared {
    /// Reads and checks everything; runs no step. What plugins do is written into the audit, if there is one.
    pub(super) async fn new(
        args: &PipelineArgs,
        system: &System,
        audit: Option<Audit>,
        verbose: bool,
    ) -> Result<Self, CliError> {
        let (source, project) = locate(args.file.as_deref(), args.dir.as_deref(), system)?;
        let config = Config::read(&system.config, &project)?;
        let run_id = Uuid::new_v4();
        let network = !(args.offline || config.offline);
        let workspace = Arc::new(Workspace::new(&project, &system.cache));
        let local = LocalSandbox::new(sandbox(system, run_id, network), workspace.clone(), warn);
        let pipelines = pipelines(&source, &project, system, &local).await?;
        let (pipeline, definition) = choose(pipelines, args.pipeline.as_deref())?;

        let host_context = HostContext { audit, ..host_context(system, Some(&project)) };
        let Loaded { plugins, host_context, listener } = load_plugins(system, host_context, verbose).await?;
        let typed = args.runner.clone().map(|name| DefaultRunner { name, by: "--runner".to_owned() });
        let runner = typed.or_else(|| config.runner());
        let overrides = Overrides { env: environment(&args.env, system)?, runner, lenient: args.lenient };
        let plan = checked_plan(definition, &overrides, &plugins)?;

        let docker = DockerConfig {
            engine: engine_env(system),
            cache: system.cache.clone(),
            run_id,
            network,
            limits: config.docker(),
        };
        let docker = Arc::new(DockerBackend::new(docker, workspace.clone()));
        let backends = Backends { workspace, local: Arc::new(local), docker };
        let build = BuildContext {
            run_id,
            archive: ArchiveId(Uuid::new_v4()),
            plan: Arc::new(plan),
            plugins,
            backends,
            host_context,
            cache: None,
            record: None,
            artifacts: None,
        };
        Ok(Self { project, pipeline, build, listener, config })
    }

    /// Opens the local sandbox, if there are steps that run in it: what this machine lacks is told before any step
    /// runs.
    pub(super) async fn open_sandbox(&self) -> Result<(), CliError> {
        if with_runners_for(BackendKind::Sandbox, &self.build.plan, &self.build.plugins).next().is_some() {
            self.build.backends.local.open().await.map_err(CliError::Sandbox)?;
        }
        Ok(())
    }

    /// Finds the engine that steps run on, if there are any that do.
    pub(super) async fn connect(&self) -> Result<(), DockerError> {
        if with_runners_for(BackendKind::Docker, &self.build.plan, &self.build.plugins).next().is_some() {
            self.build.backends.docker.connect().await?;
        }
        Ok(())
    }

    /// Ends all of it, without a build.
    pub(super) async fn close(self) -> Result<(), CliError> {
        let Self { build, listener, .. } = self;
        let backends = build.backends.clone();
        drop(build);
        drain_diagnostics(listener).await;
        close(backends).await
    }

    /// The cache, as far as it can be used; `bypass` if former results do not count.
    pub(super) fn cache(&self, system: &System, bypass: bool) -> Option<StepCache> {
        let store = match Store::open(&system.cache.join("results")) {
            Ok(store) => store,
            Err(error) => {
                warn(&format!("this build has no cache: {}", one_line(&error)));
                return None;
            }
        };
        Some(StepCache::new(StepCacheConfig {
            store,
            backends: self.build.backends.clone(),
            // However it was spelled.
            project: self.project.canonicalize().unwrap_or_else(|_| self.project.clone()),
            pipeline: self.pipeline.clone(),
            machine: sha256_hex(machine(&system.env).as_bytes()),
            bypass,
            tell: |what| to_stderr(&format!("note: {what}\n")),
        }))
    }
}

/// Removes what a build or the thought of one has left behind. Nothing else may hold on to the back ends.
pub(super) async fn close(backends: Backends) -> Result<(), CliError> {
    let Backends { local, docker, .. } = backends;
    let closed = docker.close().await.map_err(CliError::CleanUpDocker);
    drop(docker);
    match Arc::into_inner(local) {
        Some(local) => local.close().await.map_err(CliError::CleanUp).and(closed),
        None => closed,
    }
}

/// Environment in which an engine is found.
pub(super) fn engine_env(system: &System) -> EngineEnv {
    EngineEnv { env: system.env.clone(), home: system.home.clone() }
}

fn sandbox(system: &System, run_id: Uuid, network: bool) -> SandboxConfig {
    SandboxConfig {
        helper: system.program.clone(),
        run_id,
        host_env: system.env.clone(),
        home: system.home.clone(),
        network,
        mode: Mode::Auto,
    }
}

/// The steps whose runners ask for host functions on this back end.
fn with_runners_for<'a>(
    backend: BackendKind,
    plan: &'a Plan,
    plugins: &'a Plugins,
) -> impl Iterator<Item = &'a PlannedStep> {
    let asks = move |runner: &str| plugins.runner(runner).is_some_and(|plugin| plugin.asks_for(backend));
    plan.steps().iter().filter(move |planned| asks(&planned.runner))
}

/// Plan of a pipeline that the plugins that are there can run. Warns of what is in it and not used.
pub(super) fn checked_plan(
    definition: Definition,
    overrides: &Overrides,
    plugins: &Plugins,
) -> Result<Plan, PipelineError> {
    let runners = plugins.runners();
    let plan = Plan::new(definition, overrides, &runners)?;
    plan.check_runners(&runners)?;
    plan.check_arguments(|runner| plugins.step_schema(runner))?;
    check_images(&plan, plugins)?;
    warn_of_what_is_not_used(&plan);
    Ok(plan)
}

/// Refuses names that no image can have, where steps would run in it.
fn check_images(plan: &Plan, plugins: &Plugins) -> Result<(), PipelineError> {
    for planned in with_runners_for(BackendKind::Docker, plan, plugins) {
        if let Some(Err(error)) = planned.image.as_deref().map(check_image) {
            return Err(PipelineError::BadStep { key: planned.step.key.clone(), reason: error.to_string() });
        }
    }
    Ok(())
}

/// A field that we do not know, and that may be there all the same, is handed on to the step's plugin. What is known,
/// and means nothing where it stands, is worth a word too.
fn warn_of_what_is_not_used(plan: &Plan) {
    let unknown = plan.unknown_fields();
    for field in &unknown.told {
        warn(&field.to_string());
    }
    if unknown.more > 0 {
        warn(&format!("{} more fields that hm does not know", unknown.more));
    }
    if plan.has_time_limit() {
        warn("the pipeline: `timeout_seconds` is not used, for this hm limits the time of steps alone");
    }
    for (step, image, parent) in plan.unused_images().into_iter().take(WARNINGS) {
        warn(&format!("step `{step}`: image `{image}` is not used, since it builds in `{parent}`"));
    }
}

/// Such policies are allowed: a file that is not there may come. But it may also be a typo.
pub(super) fn warn_of_paths(warnings: &BTreeSet<PathWarning>) {
    for warning in warnings.iter().take(WARNINGS) {
        warn(&warning.to_string());
    }
}
