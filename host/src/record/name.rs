//! Names within a record.

/// Header. It is written when all else is in place: where there is none, there is no record.
pub(super) const RUN: &str = "run.json";
/// Steps as they were planned.
pub(super) const PLAN: &str = "plan.json";
/// Events, without what the steps printed.
pub(super) const EVENTS: &str = "events.jsonl";
/// Decisions of the cache.
pub(super) const DECISIONS: &str = "cache.jsonl";
/// A file for each step that printed something.
pub(super) const LOGS: &str = "logs";
/// Locked while the build runs.
pub(super) const LOCK: &str = "lock";
