//! `hm validate`: checks pipelines as a build does before it runs anything. No engine, no sandbox; plugins are loaded
//! for what they say of their runners.

use super::args::ValidateArgs;
use super::config::Config;
use super::error::CliError;
use super::pipelines::{contents, locate};
use super::plugin_loading::{Loaded, drain_diagnostics, host_context, load_plugins};
use super::prepare::checked_plan;
use super::terminal_output::{print, warn};
use crate::pipeline::{NamedPipeline, Overrides, PipelineError};
use crate::plugin::Plugins;
use crate::sys::System;

/// Runs the command and returns the exit code.
pub(super) async fn validate(args: ValidateArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let (source, project) = locate(args.file.as_deref(), args.dir.as_deref(), &system)?;
    let config = Config::read(&system.config, &project)?;
    let found = contents(&source).await?;
    if let Some(scripts) = &found.scripts {
        let files = scripts.files.join(", ");
        if found.pipelines.is_empty() {
            return Err(CliError::OnlyScripts { folder: scripts.folder.clone(), files });
        }
        warn(&format!("not checked, since Python would have to run: {files}"));
    }
    let pipelines = found.with(Vec::new())?;
    if pipelines.is_empty() {
        return Err(PipelineError::Empty { what: "the document".into() }.into());
    }
    let context = host_context(&system, Some(&project));
    let Loaded { plugins, listener, host_context } = load_plugins(&system, context, false).await?;
    let overrides = Overrides { runner: config.runner(), ..Overrides::default() };
    let checked: Result<Vec<String>, CliError> =
        pipelines.into_iter().map(|pipeline| check(pipeline, &overrides, &plugins)).collect();
    drop((plugins, host_context));
    drain_diagnostics(listener).await;
    print(&format!("valid: {}\n", checked?.join(", ")))
}

/// The pipeline's name, with the number of its steps.
fn check(pipeline: NamedPipeline, overrides: &Overrides, plugins: &Plugins) -> Result<String, CliError> {
    let (slug, definition) = pipeline.definition()?;
    let plan = checked_plan(definition, overrides, plugins)?;
    let number = plan.steps().len();
    Ok(format!("{slug} ({number} step{})", if number == 1 { "" } else { "s" }))
}
