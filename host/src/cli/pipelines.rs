//! The pipelines of a command: where they come from, which project they work on, and what is set for their steps.
//! Which one is meant, and what becomes of it, is the command's affair.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::terminal_output::warn;
use crate::backend::LocalSandbox;
use crate::pipeline::{NamedPipeline, Source, SourceContents, find_project, read};
use crate::render::{Interpreter, RenderError, Rendered, render};
use crate::sys::System;

/// Source of the pipelines, and the project that they work on.
pub(super) fn locate(
    file: Option<&Path>,
    dir: Option<&Path>,
    system: &System,
) -> Result<(Source, PathBuf), CliError> {
    let here = &system.current_dir;
    if let Some(dir) = dir {
        let dir = here.join(dir);
        if !dir.is_dir() {
            return Err(CliError::Usage(format!("--dir {} is not a directory", dir.display())));
        }
    }
    let given = dir.map(|d| here.join(d));
    let source = match file {
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

/// Contents of a source, with nothing run.
pub(super) async fn contents(source: &Source) -> Result<SourceContents, CliError> {
    let of = source.clone();
    // Somebody may be typing it, and we have to hear of interrupts meanwhile.
    let found = tokio::task::spawn_blocking(move || read(&of, std::io::stdin().lock()));
    Ok(found.await.map_err(|error| CliError::Runtime(error.into()))??)
}

/// All pipelines of a source. For those in Python the sandbox is opened.
pub(super) async fn pipelines(
    source: &Source,
    project: &Path,
    system: &System,
    local: &LocalSandbox,
) -> Result<Vec<NamedPipeline>, CliError> {
    let found = contents(source).await?;
    let Some(scripts) = &found.scripts else { return Ok(found.with(Vec::new())?) };
    let python = Interpreter::find(&system.env, system.home.as_deref(), &system.current_dir, project)?;
    let sandbox = local.open().await.map_err(CliError::Sandbox)?;
    let Rendered { pipelines, printed } = render(sandbox, &python, scripts).await;
    if !printed.is_empty() {
        warn(&format!("the files in {} say:\n{printed}", scripts.folder.display()));
    }
    let folder = scripts.folder.clone();
    let pipelines = found.with(pipelines?)?;
    if pipelines.is_empty() {
        return Err(RenderError::NoPipeline { folder }.into());
    }
    Ok(pipelines)
}

/// The variables of `--env`.
pub(super) fn environment(typed: &[String], system: &System) -> Result<BTreeMap<String, String>, CliError> {
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
