//! How much a plugin may use, for each kind of call. One place, so that the numbers can be compared.

use std::time::Duration;

use hm_abi::CallLimits;

/// `hm_manifest`: a small object, written down. Real plugins use less than a hundredth of this.
pub const MANIFEST_CALL: CallLimits = CallLimits { fuel: 500_000_000, deadline: Duration::from_secs(5) };

/// One event for a formatter or a hook.
pub const EVENT_CALL: CallLimits = CallLimits { fuel: 1_000_000_000, deadline: Duration::from_secs(30) };

/// A step that names no time may take this long: longer than any build, so that a plugin that waits for ever does end.
const LONGEST_STEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// `hm_executor_run`. The fuel is for what the plugin computes itself; what its command does costs none of it.
#[must_use]
pub fn executor_call(timeout: Option<Duration>) -> CallLimits {
    CallLimits { fuel: 5_000_000_000, deadline: timeout.unwrap_or(LONGEST_STEP) }
}
