//! The one place that trusts a file to be machine code. Whether it may be trusted is decided in `compiled`.
#![allow(unsafe_code)]

use hm_abi::{Engine, HostFunctions, LoadError, Module, ModuleLimits};

/// Loads what [`Module::serialize`] wrote. Only `compiled` calls this, with bytes that it has authenticated.
pub(super) fn load<T: Send + 'static>(
    engine: &Engine,
    authenticated: &[u8],
    host: &HostFunctions<T>,
    limits: &ModuleLimits,
) -> Result<Module<T>, LoadError> {
    // SAFETY: the caller has checked a MAC over these bytes with a key that only this user can read, under a name
    // that fixes the engine's settings: they are what `Module::serialize` of the same engine returned.
    unsafe { Module::load_precompiled(engine, authenticated, host, limits) }
}
