//! Runs a plan. The [`Dispatcher`] decides (events in, actions out, no clock, no I/O); [`run`] carries its decisions
//! out as tasks and turns what happened into `BuildEvent`s. Which plugin runs a step, and how, is below, in `plugin`.

mod context;
mod decide;
mod dispatcher;
mod elapsed;
pub(crate) mod exit;
mod formatter;
mod hooks;
mod predict;
mod run;
#[cfg(test)]
mod simulation;
mod step;
mod step_cache;
mod stop;

pub(crate) use context::BuildContext;
pub(crate) use dispatcher::BuildOptions;
pub(crate) use formatter::FormatterError;
pub(crate) use hooks::HookStop;
pub(crate) use predict::predict;
pub(crate) use run::{BuildOutcome, run};
pub(crate) use step_cache::{CacheReport, StepCache, StepCacheConfig};
