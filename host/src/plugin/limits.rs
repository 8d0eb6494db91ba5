//! Limits of plugins for each kind of call, and what `plugins.toml` makes of them. One place, so that the numbers can
//! be compared.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use hm_abi::{CallLimits, InstanceLimits};
use serde::{Deserialize, Serialize};

/// `hm_manifest`: a small object, written down. Real plugins use less than a hundredth of this.
pub(crate) const MANIFEST_CALL: CallLimits =
    CallLimits { fuel: 500_000_000, deadline: Duration::from_secs(5) };

/// One event for a formatter or a hook.
pub(crate) const EVENT_CALL: CallLimits =
    CallLimits { fuel: 1_000_000_000, deadline: Duration::from_secs(30) };

/// `hm_subcommand_run`. A person may have to be waited for, who is at lunch.
pub(crate) const SUBCOMMAND_CALL: CallLimits =
    CallLimits { fuel: 100_000_000_000, deadline: Duration::from_secs(24 * 60 * 60) };

/// A hook that names a longer time has this one.
const LONGEST_HOOK: Duration = Duration::from_secs(10 * 60);

/// A step that names no time may take this long: longer than any build, so that a plugin that waits for ever does end.
const LONGEST_STEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Pages of 64 KiB in 1 MiB.
const PAGES_PER_MB: usize = 16;

/// `hm_executor_run`. The fuel is for what the plugin computes itself; what its command does costs none of it.
#[must_use]
pub(crate) fn executor_call(timeout: Option<Duration>) -> CallLimits {
    CallLimits { fuel: 5_000_000_000, deadline: timeout.unwrap_or(LONGEST_STEP) }
}

/// `hm_hook_on_event`, with the time that its manifest names.
#[must_use]
pub(crate) fn hook_call(timeout_ms: u32) -> CallLimits {
    let deadline = Duration::from_millis(u64::from(timeout_ms.max(1))).min(LONGEST_HOOK);
    CallLimits { fuel: EVENT_CALL.fuel, deadline }
}

/// The table `limits` of a `plugins.toml`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    /// Fuel of each call, that of `hm_manifest` apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<NonZeroU64>,
    /// Linear memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<NonZeroU16>,
    /// The longest that a call may take, if it has not less time anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<NonZeroU64>,
    /// HTTP requests of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_requests: Option<u16>,
}

/// Limits of one plugin, as `plugins.toml` changes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The user's limits, in the place of the usual ones.
    pub set: LimitSettings,
    /// The project's limits, which only lower the others.
    pub cap: LimitSettings,
}

impl LimitSettings {
    /// The lower of both, in each respect.
    #[must_use]
    pub(crate) fn lower(&self, other: &Self) -> Self {
        Self {
            fuel: lower(self.fuel, other.fuel),
            memory_mb: lower(self.memory_mb, other.memory_mb),
            timeout_seconds: lower(self.timeout_seconds, other.timeout_seconds),
            http_requests: lower(self.http_requests, other.http_requests),
        }
    }
}

impl Limits {
    /// Those of an instance.
    #[must_use]
    pub(crate) fn instance(&self) -> InstanceLimits {
        let usual = InstanceLimits::standard();
        let pages = |mb: NonZeroU16| usize::from(mb.get()) * PAGES_PER_MB;
        let Self { set, cap } = self;
        InstanceLimits {
            memory_pages: within(usual.memory_pages, set.memory_mb.map(pages), cap.memory_mb.map(pages)),
            http_requests: within(
                usual.http_requests,
                set.http_requests.map(usize::from),
                cap.http_requests.map(usize::from),
            ),
            ..usual
        }
    }

    /// Those of a call that usually has these.
    #[must_use]
    pub(crate) fn call(&self, usual: &CallLimits) -> CallLimits {
        let Self { set, cap } = self;
        let longest = lower(set.timeout_seconds, cap.timeout_seconds);
        let longest = longest.map(|seconds| Duration::from_secs(seconds.get()));
        CallLimits {
            fuel: within(usual.fuel, set.fuel.map(NonZeroU64::get), cap.fuel.map(NonZeroU64::get)),
            deadline: longest.map_or(usual.deadline, |longest| longest.min(usual.deadline)),
        }
    }
}

/// The lower of two numbers, as far as there are any.
fn lower<N: Ord>(a: Option<N>, b: Option<N>) -> Option<N> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The number that counts: the usual one or the user's, and no more than the project allows.
fn within<N: Ord>(usual: N, set: Option<N>, cap: Option<N>) -> N {
    let chosen = set.unwrap_or(usual);
    match cap {
        Some(cap) => chosen.min(cap),
        None => chosen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> LimitSettings {
        toml::from_str(text).expect("settings")
    }

    #[test]
    fn the_user_sets_and_the_project_only_lowers() {
        let usual = EVENT_CALL;
        let call = |set: &str, cap: &str| {
            let limits = Limits { set: settings(set), cap: settings(cap) };
            let CallLimits { fuel, deadline } = limits.call(&usual);
            (fuel, deadline.as_secs())
        };
        assert_eq!(call("", ""), (1_000_000_000, 30));
        assert_eq!(call("fuel = 2_000_000_000", ""), (2_000_000_000, 30));
        assert_eq!(call("", "fuel = 2_000_000_000"), (1_000_000_000, 30));
        assert_eq!(call("fuel = 7", "fuel = 5\ntimeout_seconds = 3"), (5, 3));
        assert_eq!(call("timeout_seconds = 300", "timeout_seconds = 200"), (1_000_000_000, 30));
        let instance = |set: &str, cap: &str| {
            let limits = Limits { set: settings(set), cap: settings(cap) }.instance();
            (limits.memory_pages, limits.http_requests)
        };
        assert_eq!(instance("", ""), (4096, 100));
        assert_eq!(instance("memory_mb = 512\nhttp_requests = 0", "memory_mb = 300"), (4800, 0));
        assert_eq!(instance("", "memory_mb = 300\nhttp_requests = 7"), (4096, 7));
    }
}
