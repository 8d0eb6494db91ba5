//! From the text of a pipeline to a [`Plan`]: reading documents, choosing a pipeline, checking it, ordering it.
//! Nothing here runs anything, touches a plugin or prints; finding files on disk is all the I/O there is.

mod arguments;
mod caching;
mod document;
mod error;
mod fields;
mod graph;
mod json;
mod names;
mod order;
mod plan;
mod planned_step;
mod position;
#[cfg(test)]
pub(crate) mod sketch;
mod source;
mod unique;

pub use arguments::Checker;
pub use caching::Caching;
pub use document::{Definition, NamedPipeline, parse};
pub use error::PipelineError;
pub use fields::{UnknownField, UnknownFields};
pub use plan::{DefaultRunner, Overrides, Plan, Runners};
pub use planned_step::PlannedStep;
pub use position::Position;
pub(crate) use source::DOCUMENT_MAX;
pub use source::{Scripts, Source, SourceContents, find_project, read};

/// Picks one of several pipelines: the one that was named, or the only one.
///
/// # Errors
/// [`PipelineError::UnknownPipeline`] and [`PipelineError::Ambiguous`] list what there is; [`PipelineError::Empty`] if
/// there is none.
pub fn choose(
    mut pipelines: Vec<NamedPipeline>,
    wanted: Option<&str>,
) -> Result<(String, Definition), PipelineError> {
    let known = || pipelines.iter().map(|p| p.slug.clone()).collect::<Vec<_>>();
    let index = match wanted {
        Some(wanted) => pipelines
            .iter()
            .position(|p| p.slug == wanted)
            .ok_or_else(|| PipelineError::UnknownPipeline { wanted: wanted.into(), known: known() })?,
        None if pipelines.len() > 1 => return Err(PipelineError::Ambiguous { known: known() }),
        None if pipelines.is_empty() => return Err(PipelineError::Empty { what: "the document".into() }),
        None => 0,
    };
    pipelines.swap_remove(index).definition()
}
