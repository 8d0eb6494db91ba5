//! Why bytes do not become a module that can be called.

use std::time::Duration;

/// Why a module cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More bytes than allowed.
    #[error("the module has {bytes} bytes, more than the {allowed} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The ceiling.
        allowed: usize,
    },
    /// The bytes do not start like a binary wasm module.
    #[error("not a binary WebAssembly module")]
    NotWasm,
    /// A component: another format, with another ABI.
    #[error("a WebAssembly component, but plug-ins are core modules")]
    Component,
    /// Malformed, or using a wasm feature that is off.
    #[error("not a valid module: {message}")]
    Invalid {
        /// What the engine says of it.
        message: String,
    },
    /// An import that nobody offers.
    #[error("the module imports `{name}` from `{module}`, which does not exist")]
    UnknownImport {
        /// Import module.
        module: String,
        /// Import name.
        name: String,
    },
    /// An import that exists, with another type.
    #[error("the module imports something with a wrong type: {message}")]
    WrongImportType {
        /// Which one, and both types.
        message: String,
    },
    /// An import that only hosts may use.
    #[error("the module imports `{name}` from `extism:host/env`, which is the host's alone")]
    ForbiddenImport {
        /// Import name.
        name: String,
    },
    /// More initial memory than allowed.
    #[error("the module starts with {pages} pages of memory, more than the {allowed} allowed")]
    InitialMemory {
        /// Its size in pages of 64 KiB.
        pages: u64,
        /// The ceiling.
        allowed: u64,
    },
    /// A larger initial table than allowed.
    #[error("the module starts with a table of {elements} elements, more than the {allowed} allowed")]
    InitialTable {
        /// Its size.
        elements: u64,
        /// The ceiling.
        allowed: u64,
    },
    /// Compiling took too long.
    #[error("the module could not be compiled in {allowed:?}")]
    CompileTime {
        /// The time there was.
        allowed: Duration,
    },
    /// Linked modules that import from each other, or one from itself.
    #[error("linked modules import from each other in a circle: {}", path.join(" -> "))]
    Circle {
        /// Names of modules: each imports from the next, and the last is the first again.
        path: Vec<String>,
    },
    /// A linked module with a name that is taken.
    #[error("a linked module cannot have the name `{name}`: it is taken")]
    ModuleName {
        /// The name.
        name: String,
    },
    /// A linked module that exports more than allowed.
    #[error("the linked module `{name}` exports {exports} things, more than the {allowed} allowed")]
    TooManyExports {
        /// Its name.
        name: String,
        /// Their number.
        exports: usize,
        /// The ceiling.
        allowed: usize,
    },
    /// More linked modules than allowed.
    #[error("{modules} modules are linked to the main one, more than the {allowed} allowed")]
    TooManyModules {
        /// Their number.
        modules: usize,
        /// The ceiling.
        allowed: usize,
    },
    /// The embedder declared a host function with too many parameters.
    #[error("host function `{name}` is declared with {params} parameters, more than 5")]
    HostFunction {
        /// Its name.
        name: String,
        /// Their number.
        params: u8,
    },
    /// The engine failed for a reason that is not the module's.
    #[error("the wasm engine failed: {message}")]
    Engine {
        /// What the engine says.
        message: String,
    },
}
