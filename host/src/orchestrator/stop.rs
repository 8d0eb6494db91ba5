//! The end of a build before its time. There is one token for it: whatever stops a build cancels that, and whatever has
//! to stop waits for it or asks it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Reason why a build is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The user wants it, or nobody takes its output any more.
    Interrupted,
    /// A hook wants it.
    Hook,
}

/// Stop of one build. Clones are the same stop.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
}

impl Stop {
    /// Stop of a build that ends when the user interrupts it.
    pub(super) fn new(interrupted: &CancellationToken) -> Self {
        Self { token: interrupted.child_token(), reason: Arc::default() }
    }

    /// Token for whatever has to stop with the build.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Stops the build, unless that has happened.
    pub(super) fn request(&self, reason: StopReason) {
        if !self.token.is_cancelled() {
            // Before the token: who sees that it is cancelled has to find the reason.
            let _ = self.reason.set(reason);
        }
        self.token.cancel();
    }

    /// Reason of the stop, once it was requested.
    pub(super) fn requested(&self) -> Option<StopReason> {
        // Where nobody has left a reason, it was the user who cancelled the token above.
        self.token.is_cancelled().then(|| *self.reason.get_or_init(|| StopReason::Interrupted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts_and_all_that_derives_from_it_stops() {
        let interrupted = CancellationToken::new();
        let (stop, other) = (Stop::new(&interrupted), Stop::new(&interrupted));
        let step = stop.token().child_token();
        assert_eq!(stop.requested(), None);
        stop.request(StopReason::Hook);
        interrupted.cancel();
        stop.request(StopReason::Interrupted);
        assert_eq!((stop.requested(), step.is_cancelled()), (Some(StopReason::Hook), true));
        other.request(StopReason::Hook);
        assert_eq!(other.requested(), Some(StopReason::Interrupted));
    }
}
