//! Certificate authorities of the machine, for all instances of a start.

use std::sync::OnceLock;

use hm_abi::{TlsError, TlsRoots};

/// The certificate authorities of the system, read when somebody first needs them.
#[derive(Default)]
pub struct Authorities(OnceLock<TlsRoots>);

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorities")
    }
}

impl Authorities {
    /// The authorities.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn get(&self) -> Result<TlsRoots, TlsError> {
        match self.0.get() {
            Some(roots) => Ok(roots.clone()),
            None => TlsRoots::system().map(|roots| self.0.get_or_init(|| roots).clone()),
        }
    }
}
