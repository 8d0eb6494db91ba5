//! Loading compiled code from a cache: the one place of the crate where Rust cannot check what is promised.
#![allow(unsafe_code)]

use crate::code::{Code, ModuleLimits};
use crate::engine::Engine;
use crate::load_error::LoadError;

impl Code {
    /// Loads what [`Code::serialize`] returned, without compiling. The limits on what a module starts with are checked
    /// anew.
    ///
    /// # Safety
    /// `artefact` must be, unchanged, what [`Code::serialize`] returned: it is machine code, and the engine
    /// trusts it. Artefacts of engines with another [`Engine::fingerprint`] are refused, forged ones are not.
    ///
    /// # Errors
    /// The artefact is another engine's, or breaks a limit.
    pub unsafe fn load_precompiled(
        engine: &Engine,
        artefact: &[u8],
        limits: &ModuleLimits,
    ) -> Result<Self, LoadError> {
        // SAFETY: the caller vouches for the artefact, as this function demands.
        let module = unsafe { wasmtime::Module::deserialize(engine.wasmtime(), artefact) }
            .map_err(|error| LoadError::Invalid { message: format!("{error:#}") })?;
        Self::checked(module, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_loads_into_another_engine_with_the_same_settings() {
        let wasm = wat::parse_str("(module (memory 3) (func (export \"f\")))").unwrap();
        let limits = ModuleLimits::standard();
        let artefact = Code::compile(&Engine::new().unwrap(), &wasm, &limits).unwrap().serialize().unwrap();
        let engine = Engine::new().unwrap();
        // SAFETY: straight from `serialize`.
        let code = unsafe { Code::load_precompiled(&engine, &artefact, &limits) }.unwrap();
        assert!(code.module().get_export("f").is_some());
        let small = ModuleLimits { max_initial_pages: 2, ..limits };
        // SAFETY: straight from `serialize`.
        let refused = unsafe { Code::load_precompiled(&engine, &artefact, &small) };
        assert!(matches!(refused, Err(LoadError::InitialMemory { pages: 3, allowed: 2 })));
    }

    #[test]
    fn what_is_no_artefact_is_refused() {
        let wasm = wat::parse_str("(module)").unwrap();
        let limits = ModuleLimits::standard();
        // SAFETY: the bytes are no machine code at all, which the engine notices.
        let result = unsafe { Code::load_precompiled(&Engine::new().unwrap(), &wasm, &limits) };
        assert!(matches!(result, Err(LoadError::Invalid { .. })));
    }
}
