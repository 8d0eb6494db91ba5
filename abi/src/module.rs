//! Loading: from the bytes of a plug-in to a module that is validated, compiled, and linked as far as it can
//! be without an instance. Nothing of the guest runs here.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::{ExternType, FuncType, InstancePre, Linker, ModuleExport, UnknownImportError, ValType};

use crate::call_error::CallError;
use crate::engine::Engine;
use crate::host_function::{HostFunctions, USER_MODULE};
use crate::instance::{Instance, InstanceOptions};
use crate::state::State;
use crate::{assembly_script, env, wasi};

/// First bytes of a core wasm module in binary form, and of a component.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// What a module may be, checked before it is compiled or before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Bytes of the binary. Compiling takes time and memory in proportion, and cannot be interrupted.
    pub max_bytes: usize,
    /// Pages of 64 KiB that its memory may have from the start.
    pub max_initial_pages: u64,
    /// Elements that one of its tables may have from the start.
    pub max_initial_table_elements: u64,
}

impl ModuleLimits {
    /// 64 MiB of binary, 4096 pages (256 MiB) of initial memory, 131,072 initial elements of a table.
    pub const fn standard() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, max_initial_pages: 4096, max_initial_table_elements: 131_072 }
    }
}

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
    /// The embedder declared a host function with too many parameters.
    #[error("host function `{name}` is declared with {params} parameters, more than 4")]
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

/// A plug-in's code: validated, compiled and linked. Clones are cheap and share it.
pub struct Module<T: 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: 'static> {
    linked: InstancePre<State<T>>,
    functions: BTreeMap<String, Function>,
    initialisers: Initialisers,
}

/// An exported function.
pub(crate) struct Function {
    pub(crate) export: ModuleExport,
    pub(crate) result: CallResult,
}

/// What a call of an exported function yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallResult {
    Nothing,
    Code,
    /// The function cannot be called from outside.
    NotCallable,
}

/// Which exports have to run before all others, in this order.
#[derive(Clone, Copy)]
pub(crate) struct Initialisers {
    /// `_initialize` or else `__wasm_call_ctors`: the former calls the latter, and twice is once too often.
    pub(crate) reactor: Option<&'static str>,
    /// `hs_init`, of the Haskell run time.
    pub(crate) haskell: bool,
}

impl<T: 'static> Clone for Module<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: Send + 'static> Module<T> {
    /// Validates, compiles and links a module. This takes up to seconds of processor time: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// The bytes are not a core module in binary form, break a limit, use a wasm feature that is off, or import
    /// what is not there.
    pub fn load(
        engine: &Engine,
        wasm: &[u8],
        host: &HostFunctions<T>,
        limits: &ModuleLimits,
    ) -> Result<Self, LoadError> {
        if wasm.len() > limits.max_bytes {
            return Err(LoadError::TooLarge { bytes: wasm.len(), allowed: limits.max_bytes });
        }
        if wasm.starts_with(COMPONENT) {
            return Err(LoadError::Component);
        }
        if !wasm.starts_with(CORE_MODULE) {
            return Err(LoadError::NotWasm);
        }
        let module = wasmtime::Module::from_binary(engine.wasmtime(), wasm)
            .map_err(|error| LoadError::Invalid { message: format!("{error:#}") })?;
        Self::link(engine, &module, host, limits)
    }

    /// Links compiled code.
    pub(crate) fn link(
        engine: &Engine,
        module: &wasmtime::Module,
        host: &HostFunctions<T>,
        limits: &ModuleLimits,
    ) -> Result<Self, LoadError> {
        check_start(module, limits)?;
        if let Some(import) = module
            .imports()
            .find(|import| import.module() == env::MODULE && env::FORBIDDEN.contains(&import.name()))
        {
            return Err(LoadError::ForbiddenImport { name: import.name().to_owned() });
        }
        let mut linker = Linker::new(engine.wasmtime());
        linker.allow_shadowing(true);
        wasi::link(&mut linker)
            .and_then(|()| env::link(&mut linker))
            .and_then(|()| assembly_script::link(&mut linker))
            .map_err(|error| LoadError::Engine { message: format!("{error:#}") })?;
        host.link(&mut linker)?;
        let linked = linker.instantiate_pre(module).map_err(|error| match error.downcast_ref() {
            Some::<&UnknownImportError>(import) => LoadError::UnknownImport {
                module: import.module().to_owned(),
                name: import.name().to_owned(),
            },
            None => LoadError::WrongImportType { message: format!("{error:#}") },
        })?;
        let functions = functions_of(module);
        let initialisers = Initialisers::of(module);
        Ok(Self { inner: Arc::new(Inner { linked, functions, initialisers }) })
    }

    /// The compiled code, to be kept where nobody else can write, under the digest of the module's bytes and
    /// [`Engine::fingerprint`]. See [`Module::load_precompiled`].
    ///
    /// # Errors
    /// [`LoadError::Engine`] if the engine cannot.
    pub fn serialize(&self) -> Result<Vec<u8>, LoadError> {
        self.inner
            .linked
            .module()
            .serialize()
            .map_err(|error| LoadError::Engine { message: format!("{error:#}") })
    }

    /// The names of the functions that [`Instance::call`] can call, sorted.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        let callable = |function: &Function| function.result != CallResult::NotCallable;
        self.inner
            .functions
            .iter()
            .filter(move |(_, function)| callable(function))
            .map(|(name, _)| name.as_str())
    }

    /// Whether [`Instance::call`] can call this export.
    pub fn has_function(&self, name: &str) -> bool {
        self.function(name).is_ok()
    }

    /// The names that the module imports from [`USER_MODULE`], in the module's order, each once.
    pub fn host_imports(&self) -> Vec<String> {
        let mut names = Vec::new();
        for import in self.inner.linked.module().imports() {
            if import.module() == USER_MODULE && !names.iter().any(|name| name == import.name()) {
                names.push(import.name().to_owned());
            }
        }
        names
    }

    /// A plug-in made of this module, with `data` for its host functions. No code of the guest runs before the
    /// first call.
    pub fn instance(&self, data: T, options: InstanceOptions) -> Instance<T> {
        Instance::new(self.clone(), State::new(data, options))
    }

    pub(crate) fn linked(&self) -> &InstancePre<State<T>> {
        &self.inner.linked
    }

    pub(crate) fn initialisers(&self) -> Initialisers {
        self.inner.initialisers
    }

    /// The function with this name, if it can be called.
    pub(crate) fn function(&self, name: &str) -> Result<&Function, CallError> {
        let function = self
            .inner
            .functions
            .get(name)
            .ok_or_else(|| CallError::NoSuchExport { name: name.to_owned() })?;
        if function.result == CallResult::NotCallable {
            let found = match self.inner.linked.module().get_export(name) {
                Some(ExternType::Func(found)) => found.to_string(),
                _ => "no function".to_owned(),
            };
            return Err(CallError::WrongSignature { name: name.to_owned(), found });
        }
        Ok(function)
    }
}

/// Checks what the module starts with against the ceilings.
fn check_start(module: &wasmtime::Module, limits: &ModuleLimits) -> Result<(), LoadError> {
    let needs = module.resources_required();
    let pages = needs.max_initial_memory_size.unwrap_or(0);
    if pages > limits.max_initial_pages {
        return Err(LoadError::InitialMemory { pages, allowed: limits.max_initial_pages });
    }
    let elements = needs.max_initial_table_size.unwrap_or(0);
    if elements > limits.max_initial_table_elements {
        return Err(LoadError::InitialTable { elements, allowed: limits.max_initial_table_elements });
    }
    Ok(())
}

fn functions_of(module: &wasmtime::Module) -> BTreeMap<String, Function> {
    module
        .exports()
        .filter_map(|export| {
            let ExternType::Func(ty) = export.ty() else { return None };
            let function =
                Function { export: module.get_export_index(export.name())?, result: CallResult::of(&ty) };
            Some((export.name().to_owned(), function))
        })
        .collect()
}

impl CallResult {
    fn of(ty: &FuncType) -> Self {
        let mut results = ty.results();
        match (ty.params().len(), results.next(), results.next()) {
            (0, None, _) => Self::Nothing,
            (0, Some(ValType::I32), None) => Self::Code,
            _ => Self::NotCallable,
        }
    }
}

impl Initialisers {
    /// Exports with these names and another type are the guest's own business.
    fn of(module: &wasmtime::Module) -> Self {
        let is = |name: &str, params: usize| match module.get_export(name) {
            Some(ExternType::Func(ty)) => {
                ty.params().len() == params
                    && ty.params().all(|param| matches!(param, ValType::I32))
                    && ty.results().len() == 0
            }
            _ => false,
        };
        let reactor = ["_initialize", "__wasm_call_ctors"].into_iter().find(|name| is(name, 0));
        Self { reactor, haskell: is("hs_init", 2) }
    }
}
