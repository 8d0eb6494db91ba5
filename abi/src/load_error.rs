//! Reasons for which bytes do not become a module that can be called.

use std::time::Duration;

/// Failure to load or link a module.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// More bytes than allowed.
    #[error("the module has {bytes} bytes, more than the {allowed} allowed")]
    TooLarge {
        /// Size of the module in bytes.
        bytes: usize,
        /// Ceiling on bytes.
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
        /// Message of the validator.
        message: String,
    },
    /// An import that nobody offers.
    #[error("the module imports `{name}` from `{module}`, which does not exist")]
    UnknownImport {
        /// Module that it is imported from.
        module: String,
        /// Name of the import.
        name: String,
    },
    /// An import that exists, with another type.
    #[error("the module imports something with a wrong type: {message}")]
    WrongImportType {
        /// The import, and both types.
        message: String,
    },
    /// An import that only hosts may use.
    #[error("the module imports `{name}` from `extism:host/env`, which is the host's alone")]
    ForbiddenImport {
        /// Name of the import.
        name: String,
    },
    /// More initial memory than allowed.
    #[error("the module starts with {pages} pages of memory, more than the {allowed} allowed")]
    InitialMemory {
        /// Its size in pages of 64 KiB.
        pages: u64,
        /// Ceiling on pages.
        allowed: u64,
    },
    /// A larger initial table than allowed.
    #[error("the module starts with a table of {elements} elements, more than the {allowed} allowed")]
    InitialTable {
        /// Number of its elements.
        elements: u64,
        /// Ceiling on elements.
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
        /// Name that is taken.
        name: String,
    },
    /// A linked module that exports more than allowed.
    #[error("the linked module `{name}` exports {exports} things, more than the {allowed} allowed")]
    TooManyExports {
        /// Name of the linked module.
        name: String,
        /// Number of its exports.
        exports: usize,
        /// Ceiling on exports of one module.
        allowed: usize,
    },
    /// More linked modules than allowed.
    #[error("{modules} modules are linked to the main one, more than the {allowed} allowed")]
    TooManyModules {
        /// Number of linked modules.
        modules: usize,
        /// Ceiling on linked modules.
        allowed: usize,
    },
    /// The embedder declared a host function with too many parameters.
    #[error("host function `{name}` is declared with {params} parameters, more than 5")]
    HostFunction {
        /// Import name of the function.
        name: String,
        /// Number of its parameters.
        params: u8,
    },
    /// The engine failed for a reason that is not the module's.
    #[error("the wasm engine failed: {message}")]
    Engine {
        /// Message of the engine.
        message: String,
    },
}
