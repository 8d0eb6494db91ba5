//! All that host functions reach outside of their instance: one for each start of `hm`, shared by all its plugins.
//! Everything in it is kept apart by plugin; who may use what is the gate's business.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Audit, Authorities, Secrets};
use crate::backend::browser::Browser;
use crate::backend::keyring::Keyring;
use crate::backend::kv::{SharedValues, StoredValues};
use crate::backend::terminal::Terminal;

/// The outside world, as all instances of a start share it.
#[derive(Debug, Default)]
pub struct HostContext {
    /// Root of the project; none, where a command works on none.
    pub project: Option<PathBuf>,
    /// Log of host calls, if one was asked for.
    pub audit: Option<Audit>,
    /// Certificate authorities that vouch for servers.
    pub authorities: Authorities,
    /// Texts that must not be shown.
    pub secrets: Arc<Secrets>,
    /// Values that are kept for ever, if there is a place for them.
    pub kept_values: Option<StoredValues>,
    /// Values that last as long as this.
    pub build_values: SharedValues,
    /// Keyring of the person.
    pub keyring: Keyring,
    /// Terminal at which the person can be asked.
    pub terminal: Terminal,
    /// Browser of the person.
    pub browser: Browser,
}
