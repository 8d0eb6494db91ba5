//! Exit codes of a build; the command line's contract (`docs/exit-codes.md`) holds the whole list.

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
