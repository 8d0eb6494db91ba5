//! The one place that trusts a file to be machine code. Whether it may be trusted is decided in `compiled` and
//! `compiler`.
#![allow(unsafe_code)]

use hm_abi::{Code, Engine, LoadError, ModuleLimits};

/// Bytes of an artefact, at the most.
pub(super) const MAX_ARTEFACT: usize = 1 << 30;

/// Loads what [`Code::serialize`] wrote. Only `compiled` calls this, with bytes that it has authenticated, and
/// `compiler`, with those of its own process.
pub(super) fn load(engine: &Engine, artefact: &[u8], limits: &ModuleLimits) -> Result<Code, LoadError> {
    // SAFETY: the caller has these bytes from a process of this very program, or has checked a MAC over them with a key
    // that only this user can read, under a name that fixes the engine's settings: they are what `Code::serialize`
    // returned.
    unsafe { Code::load_precompiled(engine, artefact, limits) }
}
