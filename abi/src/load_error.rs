//! Reasons for which bytes do not become a module that can be called.

use std::time::Duration;

/// The two names of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportName {
    /// Module that it is imported from.
    pub module: String,
    /// Name of the import.
    pub name: String,
}

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
    /// Imports that nobody offers: the first, and all others.
    #[error("the module imports {}", unknown_text(.module, .name, .also))]
    UnknownImport {
        /// Module that it is imported from.
        module: String,
        /// Name of the import.
        name: String,
        /// The others, each once, and of very many the first [`LoadError::MOST_UNKNOWN`]. After one that is no
        /// function there are none.
        also: Vec<ImportName>,
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

impl LoadError {
    /// Number of unknown imports that are named beside the first.
    pub const MOST_UNKNOWN: usize = 16;

    /// All of these are imports that nobody offers; none if there are none.
    pub(crate) fn unknown(mut names: Vec<ImportName>) -> Option<Self> {
        names.truncate(Self::MOST_UNKNOWN + 1);
        let mut names = names.into_iter();
        let ImportName { module, name } = names.next()?;
        Some(Self::UnknownImport { module, name, also: names.collect() })
    }
}

/// The names in words. The last that can be is not named: it stands for all that were left out.
fn unknown_text(module: &str, name: &str, also: &[ImportName]) -> String {
    let quoted = |import: &ImportName| format!("`{}` from `{}`", import.name, import.module);
    let first = format!("`{name}` from `{module}`");
    let Some((last, between)) = also.split_last() else { return format!("{first}, which does not exist") };
    let listed = [first].into_iter().chain(between.iter().map(quoted)).collect::<Vec<_>>().join(", ");
    let last = if also.len() < LoadError::MOST_UNKNOWN { quoted(last) } else { "others".to_owned() };
    format!("{listed} and {last}, which do not exist")
}
