//! The one place that trusts a file to be machine code. Whether it may be trusted is decided in `compiled`.
#![allow(unsafe_code)]

use hm_abi::{Code, Engine, LoadError, ModuleLimits};

/// Loads what [`Code::serialize`] wrote. Only `compiled` calls this, with bytes that it has authenticated.
pub(super) fn load(engine: &Engine, authenticated: &[u8], limits: &ModuleLimits) -> Result<Code, LoadError> {
    // SAFETY: the caller has checked a MAC over these bytes with a key that only this user can read, under a name
    // that fixes the engine's settings: they are what `Code::serialize` of the same engine returned.
    unsafe { Code::load_precompiled(engine, authenticated, limits) }
}
