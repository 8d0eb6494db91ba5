//! Loading compiled code from a cache: the one place of the crate where Rust cannot check what is promised.
#![allow(unsafe_code)]

use crate::engine::Engine;
use crate::host_function::HostFunctions;
use crate::module::{LoadError, Module, ModuleLimits};

impl<T: Send + 'static> Module<T> {
    /// Loads what [`Module::serialize`] returned, without compiling. The imports are checked and linked anew, so
    /// `host` and `limits` may differ from those it was first loaded with.
    ///
    /// # Safety
    /// `artefact` must be, unchanged, what [`Module::serialize`] returned: it is machine code, and the engine
    /// trusts it. Artefacts of engines with another [`Engine::fingerprint`] are refused, forged ones are not.
    ///
    /// # Errors
    /// The artefact is another engine's, breaks a limit, or imports what is not there.
    pub unsafe fn load_precompiled(
        engine: &Engine,
        artefact: &[u8],
        host: &HostFunctions<T>,
        limits: &ModuleLimits,
    ) -> Result<Self, LoadError> {
        // SAFETY: the caller vouches for the artefact, as this function demands.
        let module = unsafe { wasmtime::Module::deserialize(engine.wasmtime(), artefact) }
            .map_err(|error| LoadError::Invalid { message: format!("{error:#}") })?;
        Self::link(engine, &module, host, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_loads_into_another_engine_with_the_same_settings() {
        let wasm = wat::parse_str("(module (func (export \"f\")))").unwrap();
        let (host, limits) = (HostFunctions::<()>::new(), ModuleLimits::standard());
        let artefact =
            Module::load(&Engine::new().unwrap(), &wasm, &host, &limits).unwrap().serialize().unwrap();
        let engine = Engine::new().unwrap();
        // SAFETY: straight from `serialize`.
        let module = unsafe { Module::load_precompiled(&engine, &artefact, &host, &limits) }.unwrap();
        assert!(module.has_function("f"));
    }

    #[test]
    fn what_is_no_artefact_is_refused() {
        let (host, limits) = (HostFunctions::<()>::new(), ModuleLimits::standard());
        let wasm = wat::parse_str("(module)").unwrap();
        // SAFETY: the bytes are no machine code at all, which the engine notices.
        let result = unsafe { Module::load_precompiled(&Engine::new().unwrap(), &wasm, &host, &limits) };
        assert!(matches!(result, Err(LoadError::Invalid { .. })));
    }
}
