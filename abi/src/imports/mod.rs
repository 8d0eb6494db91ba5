//! Everything that a guest can import from this crate: `extism:host/env` with HTTP, WASI, and AssemblyScript's abort.
//! Functions of the embedder are `host_function`'s; imports from other modules are `link`'s.

mod assembly_script;
pub(crate) mod env;
mod env_linker;
mod http;
pub(crate) mod wasi;

use wasmtime::Linker;

use crate::state::InstanceState;
use env_linker::EnvLinker;

/// Links all of it, the functions of the ABI under their present and their old names.
pub(crate) fn link<T: Send + 'static>(linker: &mut Linker<InstanceState<T>>) -> wasmtime::Result<()> {
    wasi::link(linker)?;
    for (module, prefix) in [(env::MODULE, ""), (env::OLD_MODULE, env::OLD_PREFIX)] {
        let mut env = EnvLinker::new(linker, module, prefix);
        env::link(&mut env)?;
        http::link(&mut env)?;
    }
    assembly_script::link(linker)
}
