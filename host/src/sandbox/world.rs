//! What host functions reach outside of their instance: one for each start of `hm`, shared by all its plugins. Everything in it
//! is kept apart by plugin; who may use what is the gate's business.

use std::sync::Arc;

use super::{Audit, Secrets};

/// The outside of the sandbox.
#[derive(Debug, Default)]
pub struct World {
    /// Where each host call is written down, if anywhere.
    pub audit: Option<Audit>,
    /// What must not be shown.
    pub secrets: Arc<Secrets>,
}
