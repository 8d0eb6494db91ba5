//! From arguments to a pipeline that can be run, with all that it takes to run it, for the commands that run or
//! foresee a build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hm_plugin_protocol::ArchiveId;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::args::PipelineArgs;
use super::config::Config;
use super::error::CliError;
use super::pipelines::{environment, pipelines, places};
use super::{Loaded, heard, load_plugins, to_stderr, warn, world};
use crate::backend::Backends;
use crate::backend::docker::{DockerBackend, DockerConfig, DockerError, Reach, check_image};
use crate::backend::local::{LocalBackend, LocalConfig, Mode};
use crate::cache::{PathWarning, Store};
use crate::host_functions::{Audit, World};
use crate::orchestrator::{BuildContext, ON_ENGINE, StepCache, StepCacheConfig};
use crate::pipeline::{DefaultRunner, Overrides, PipelineError, Plan, PlannedStep, choose};
use crate::plugin::{Plugins, digest, one_line};
use crate::sys::{System, machine};

/// How many of the same kind of warning are shown.
const WARNINGS: usize = 10;

/// A pipeline that can be run here, and what runs it.
pub(super) struct Prepared {
    pub(super) project: PathBuf,
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// What the build and `hm plan` share; without cache, record and artifacts yet.
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
        let (source, project) = places(args, system)?;
        let config = Config::read(&system.config, &project)?;
        let run_id = Uuid::new_v4();
        let network = !(args.offline || config.offline);
        let open = async || open_backend(system, &project, run_id, network).await;
        let (pipelines, backend) = pipelines(&source, &project, system, &open).await?;
        let (pipeline, definition) = choose(pipelines, args.pipeline.as_deref())?;

        let world = World { audit, ..world(system, Some(&project)) };
        let Loaded { plugins, world, listener } = load_plugins(system, world, verbose).await?;
        let runners = plugins.runners();
        let typed = args.runner.clone().map(|name| DefaultRunner { name, by: "--runner".to_owned() });
        let runner = typed.or_else(|| config.runner());
        let overrides = Overrides { env: environment(&args.env, system)?, runner };
        let plan = Plan::new(definition, &overrides, &runners)?;
        plan.check_runners(&runners)?;
        plan.check_arguments(|runner| plugins.step_schema(runner))?;
        check_images(&plan, &plugins)?;
        warn_of_what_is_not_used(&plan);

        let local = Arc::new(match backend {
            Some(backend) => backend,
            None => open().await?,
        });
        let docker = DockerConfig {
            reach: reach(system),
            cache: system.cache.clone(),
            run_id,
            network,
            limits: config.docker(),
        };
        let docker = Arc::new(DockerBackend::new(docker, local.clone()));
        let backends = Backends { local, docker };
        let build = BuildContext {
            run_id,
            archive: ArchiveId(Uuid::new_v4()),
            plan: Arc::new(plan),
            plugins,
            backends,
            world,
            cache: None,
            record: None,
            artifacts: None,
        };
        Ok(Self { project, pipeline, build, listener, config })
    }

    /// Finds the engine that steps run on, if there are any that do.
    pub(super) async fn connect(&self) -> Result<(), DockerError> {
        if on_engine(&self.build.plan, &self.build.plugins).next().is_some() {
            self.build.backends.docker.connect().await?;
        }
        Ok(())
    }

    /// Ends all of it, without a build.
    pub(super) async fn close(self) -> Result<(), CliError> {
        let Self { build, listener, .. } = self;
        let backends = build.backends.clone();
        drop(build);
        heard(listener).await;
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
            machine: digest(machine(&system.env).as_bytes()),
            bypass,
            tell: |what| to_stderr(&format!("note: {what}\n")),
        }))
    }
}

/// Removes what a build or the thought of one has left behind. Nothing else may hold on to the back end.
pub(super) async fn close(backends: Backends) -> Result<(), CliError> {
    let Backends { local, docker } = backends;
    let closed = docker.close().await.map_err(CliError::CleanUpDocker);
    drop(docker);
    match Arc::into_inner(local) {
        Some(local) => local.close().await.map_err(CliError::CleanUp).and(closed),
        None => closed,
    }
}

/// How an engine is found.
pub(super) fn reach(system: &System) -> Reach {
    Reach { env: system.env.clone(), home: system.home.clone() }
}

async fn open_backend(
    system: &System,
    project: &Path,
    run_id: Uuid,
    network: bool,
) -> Result<LocalBackend, CliError> {
    let backend = LocalBackend::open(LocalConfig {
        helper: system.program.clone(),
        project: project.to_owned(),
        cache: system.cache.clone(),
        run_id,
        host_env: system.env.clone(),
        home: system.home.clone(),
        network,
        mode: Mode::Auto,
    });
    let backend = backend.await.map_err(CliError::Sandbox)?;
    if let Some(notice) = backend.notice() {
        warn(notice);
    }
    Ok(backend)
}

/// The steps that run on an engine.
fn on_engine<'a>(plan: &'a Plan, plugins: &'a Plugins) -> impl Iterator<Item = &'a PlannedStep> {
    let asks = |runner: &str| plugins.runner(runner).is_some_and(|plugin| plugin.asks_for(ON_ENGINE));
    plan.steps().iter().filter(move |planned| asks(&planned.runner))
}

/// Refuses names that no image can have, where steps would run in it.
fn check_images(plan: &Plan, plugins: &Plugins) -> Result<(), PipelineError> {
    for planned in on_engine(plan, plugins) {
        if let Some(Err(error)) = planned.image.as_deref().map(check_image) {
            return Err(PipelineError::BadStep { key: planned.step.key.clone(), reason: error.to_string() });
        }
    }
    Ok(())
}

/// A field that we do not know is handed on, for a plugin may know it; but it may also be a typo. What is known, and means nothing where
/// it stands, is worth a word too.
fn warn_of_what_is_not_used(plan: &Plan) {
    for (at, field) in plan.unknown_fields().take(WARNINGS) {
        warn(&format!("{at}: this hm does not know the field `{field}`"));
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
