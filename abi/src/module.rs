//! A plug-in that can be instantiated: code, linked with host functions and, if need be, with other modules.
//! Nothing of the guest runs here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use wasmtime::{ExternType, FuncType, ModuleExport, ValType};

use crate::call_error::CallError;
use crate::code::{Code, ModuleLimits};
use crate::engine::Engine;
use crate::host_function::{HostFunctions, USER_MODULE};
use crate::link::Linked;
use crate::load_error::LoadError;

/// A plug-in's code: validated, compiled and linked. Clones are cheap and share it.
pub struct Module<T: 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: 'static> {
    main: Code,
    linked: Linked<T>,
    functions: BTreeMap<String, Function>,
}

/// An exported function of the main module.
pub(crate) struct Function {
    pub(crate) export: ModuleExport,
    pub(crate) result: CallResult,
}

/// Result of an exported function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallResult {
    Nothing,
    Code,
    /// The function cannot be called from outside.
    NotCallable,
}

impl<T: 'static> Clone for Module<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: Send + 'static> Module<T> {
    /// Compiles and links a plug-in of one module: [`Code::compile`], then [`Module::new`].
    ///
    /// # Errors
    /// Those of both.
    pub fn load(
        engine: &Engine,
        wasm: &[u8],
        host: &HostFunctions<T>,
        limits: &ModuleLimits,
    ) -> Result<Self, LoadError> {
        Self::new(engine, &Code::compile(engine, wasm, limits)?, &[], host)
    }

    /// Links a plug-in. `main` is the module whose functions can be called; it and the other modules can import from
    /// those of `others` by their names, not from themselves and not in a circle.
    ///
    /// A module of `others` that is a command (it exports `_start`, and no `_initialize`) is made anew for each call
    /// of one of its functions; all others exist once in each instance of the plug-in. All share memory, variables and
    /// configuration of the plug-in, and its ceilings.
    ///
    /// # Errors
    /// A module imports what is not there, or a name of `others` cannot be.
    pub fn new(
        engine: &Engine,
        main: &Code,
        others: &[(&str, Code)],
        host: &HostFunctions<T>,
    ) -> Result<Self, LoadError> {
        let linked = Linked::new(engine, main, others, host)?;
        let functions = functions_of(main.module());
        Ok(Self { inner: Arc::new(Inner { main: main.clone(), linked, functions }) })
    }

    /// The names of the functions that [`Instance::call`](crate::Instance::call) can call, sorted.
    pub fn exports(&self) -> impl Iterator<Item = &str> {
        let callable = |function: &Function| function.result != CallResult::NotCallable;
        self.inner
            .functions
            .iter()
            .filter(move |(_, function)| callable(function))
            .map(|(name, _)| name.as_str())
    }

    /// True if [`Instance::call`](crate::Instance::call) can call this export.
    pub fn has_function(&self, name: &str) -> bool {
        self.function(name).is_ok()
    }

    /// The names that the main module imports from [`USER_MODULE`], in the module's order, each once.
    pub fn host_imports(&self) -> Vec<String> {
        let mut names = Vec::new();
        for import in self.inner.main.module().imports() {
            if import.module() == USER_MODULE && !names.iter().any(|name| name == import.name()) {
                names.push(import.name().to_owned());
            }
        }
        names
    }

    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        self.inner.main.module().engine()
    }

    pub(crate) fn linked(&self) -> &Linked<T> {
        &self.inner.linked
    }

    /// The function with this name, if it can be called.
    pub(crate) fn function(&self, name: &str) -> Result<&Function, CallError> {
        let function = self
            .inner
            .functions
            .get(name)
            .ok_or_else(|| CallError::NoSuchExport { name: name.to_owned() })?;
        if function.result == CallResult::NotCallable {
            let found = match self.inner.main.module().get_export(name) {
                Some(ExternType::Func(found)) => found.to_string(),
                _ => "no function".to_owned(),
            };
            return Err(CallError::WrongSignature { name: name.to_owned(), found });
        }
        Ok(function)
    }
}

impl<T: 'static> fmt::Debug for Module<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<&String> = self.inner.functions.keys().collect();
        formatter
            .debug_struct("Module")
            .field("main", &self.inner.main)
            .field("functions", &functions)
            .finish_non_exhaustive()
    }
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
