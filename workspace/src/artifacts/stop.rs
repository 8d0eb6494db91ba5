//! Stopping work in the background that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::ArtifactError;

/// Says that what goes on in the background is not wanted any more.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Fails once the work is not wanted any more.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self) -> Result<(), ArtifactError> {
        if self.0.load(Ordering::Relaxed) { Err(ArtifactError::Stopped) } else { Ok(()) }
    }
}

/// Says so when it goes.
pub struct StopOnDrop(pub Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
