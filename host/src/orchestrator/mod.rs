//! Runs a plan. The [`Dispatcher`] decides (events in, actions out, no clock, no I/O); [`run`] carries its decisions
//! out as tasks and turns what happened into `BuildEvent`s. Which plugin runs a step, and how, is below, in `plugin`.

mod context;
mod decide;
mod dispatcher;
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

/// Exit codes of a build; the command line's contract (`docs/exit-codes.md`) holds the whole list.
pub(crate) mod exit {
    /// Exit code when everything succeeded.
    pub(crate) const OK: i32 = 0;
    /// Exit code when a step failed.
    pub(crate) const FAILED: i32 = 1;
    /// Exit code when something outside that a step needs is not to be had.
    pub(crate) const UNAVAILABLE: i32 = 4;
    /// Exit code when a plugin failed.
    pub(crate) const PLUGIN: i32 = 6;
    /// Exit code when the user stopped the build.
    pub(crate) const INTERRUPTED: i32 = 130;
}
