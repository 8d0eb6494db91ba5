//! What host functions reach outside of their instance: one for each start of `hm`, shared by all its plugins. Everything in it
//! is kept apart by plugin; who may use what is the gate's business.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Audit, Authorities, Secrets};
use crate::backend::browser::Browser;
use crate::backend::keyring::Keyring;
use crate::backend::kv::{KeptValues, SharedValues};
use crate::backend::terminal::Terminal;

/// The outside of the sandbox.
#[derive(Debug, Default)]
pub struct World {
    /// The project; none, where a command works on none.
    pub project: Option<PathBuf>,
    /// Where each host call is written down, if anywhere.
    pub audit: Option<Audit>,
    /// Who vouches for servers.
    pub authorities: Authorities,
    /// What must not be shown.
    pub secrets: Arc<Secrets>,
    /// Where values are kept for ever, if anywhere.
    pub kept_values: Option<KeptValues>,
    /// Values that last as long as this.
    pub build_values: SharedValues,
    /// Where secrets are kept.
    pub keyring: Keyring,
    /// Where the person can be asked.
    pub terminal: Terminal,
    /// What shows the person a page.
    pub browser: Browser,
}
