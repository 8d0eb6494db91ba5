//! Imports of a plug-in's modules, from the host and from each other. Making the wasm instances, in the
//! order in which they need one another, is here too; when that happens is up to `instance`.

use std::collections::BTreeMap;

use wasmtime::{
    AsContextMut, ExternType, FuncType, InstancePre, Linker, Store, StoreContextMut, UnknownImportError, Val,
    ValType, WasmBacktrace,
};

use crate::code::Code;
use crate::engine::Engine;
use crate::host_function::HostFunctions;
use crate::imports::{self, env, wasi};
use crate::lent::Lent;
use crate::load_error::{ImportName, LoadError};
use crate::state::InstanceState;

/// The name of the main module, which no other may have.
const MAIN: &str = "main";

/// Modules beside the main one.
const MAX_OTHERS: usize = 16;

/// The modules of a plug-in, ready to be instantiated.
pub(crate) enum Linked<T: 'static> {
    /// Only the main one, with all imports resolved.
    Alone(InstancePre<InstanceState<T>>, Initialisers),
    /// Several, whose imports from each other exist only in a store.
    Several {
        host: Linker<InstanceState<T>>,
        /// In an order in which each comes after those it imports from.
        others: Vec<(String, wasmtime::Module)>,
        main: wasmtime::Module,
    },
}

/// Exports of a module beside the main one: each is linked anew for every instance of the plug-in.
const MAX_EXPORTS: usize = 10_000;

/// Exports that have to run before all others, in this order.
#[derive(Clone, Copy)]
pub(crate) struct Initialisers {
    /// `_initialize` or else `__wasm_call_ctors`: the former calls the latter, and twice is once too often.
    reactor: Option<&'static str>,
    /// `hs_init`, of the Haskell run time.
    haskell: bool,
}

impl<T: Send + 'static> Linked<T> {
    pub(crate) fn new(
        engine: &Engine,
        main: &Code,
        others: &[(&str, Code)],
        host: &HostFunctions<T>,
    ) -> Result<Self, LoadError> {
        let linker = host_linker(engine, host)?;
        if others.is_empty() {
            let module = main.module();
            let ready = resolve(&linker, module, Vec::new())?;
            return Ok(Self::Alone(ready, Initialisers::of(module)));
        }
        let modules = by_name(others, host)?;
        for module in modules.values().copied().chain([main.module()]) {
            check_imports(&linker, module, &modules)?;
        }
        let others = in_order(&modules)?
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), (*modules.get(name)?).clone())))
            .collect();
        Ok(Self::Several { host: linker, others, main: main.module().clone() })
    }

    /// Makes the wasm instances, and returns the main one: for each module, its start function, then its initialisers.
    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<InstanceState<T>>,
    ) -> wasmtime::Result<wasmtime::Instance> {
        match self {
            Self::Alone(ready, initialisers) => {
                let instance = make(ready, &mut *store, true).await?;
                initialisers.run(store, instance).await?;
                Ok(instance)
            }
            Self::Several { host, others, main } => {
                let mut linker = host.clone();
                for (name, module) in others {
                    let ready = linker.instantiate_pre(module)?;
                    if is_command(module) {
                        let alone = stands_alone(module, others);
                        link_command(&mut linker, name, &ready, alone)?;
                    } else {
                        let instance = make(&ready, &mut *store, true).await?;
                        // Ready before it can be imported: start functions of those that follow may call it.
                        Initialisers::of(module).run(store, instance).await?;
                        linker.instance(&mut *store, name, instance)?;
                    }
                }
                let instance = make(&linker.instantiate_pre(main)?, &mut *store, true).await?;
                Initialisers::of(main).run(store, instance).await?;
                Ok(instance)
            }
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

    async fn run<T: Send + 'static>(
        self,
        store: &mut Store<InstanceState<T>>,
        instance: wasmtime::Instance,
    ) -> wasmtime::Result<()> {
        if let Some(name) = self.reactor {
            instance.get_typed_func::<(), ()>(&mut *store, name)?.call_async(&mut *store, ()).await?;
        }
        // After the reactor, which sets up the C library that Haskell's run time stands on.
        if self.haskell {
            let function = instance.get_typed_func::<(i32, i32), ()>(&mut *store, "hs_init")?;
            function.call_async(&mut *store, (0, 0)).await?;
        }
        Ok(())
    }
}

/// Makes one wasm instance, which lives on after the call or does not.
async fn make<T: Send + 'static>(
    ready: &InstancePre<InstanceState<T>>,
    mut context: impl AsContextMut<Data = InstanceState<T>>,
    lasting: bool,
) -> wasmtime::Result<wasmtime::Instance> {
    let mut store = context.as_context_mut();
    let growth = &mut store.data_mut().growth;
    growth.count_instance(lasting)?;
    // What was turned down before has nothing to do with this.
    growth.take_refused();
    let result = ready.instantiate_async(context.as_context_mut()).await;
    result.map_err(|error| {
        // A memory or table that is turned down is an untyped error of the engine, before any wasm runs.
        let refused = context.as_context_mut().data_mut().growth.take_refused();
        match refused {
            Some(refused) if !error.is::<WasmBacktrace>() => refused.into(),
            _ => error,
        }
    })
}

/// All that the host offers.
fn host_linker<T: Send + 'static>(
    engine: &Engine,
    host: &HostFunctions<T>,
) -> Result<Linker<InstanceState<T>>, LoadError> {
    let mut linker = Linker::new(engine.wasmtime());
    linker.allow_shadowing(true);
    imports::link(&mut linker).map_err(|error| LoadError::Engine { message: format!("{error:#}") })?;
    // After the crate's own, which the embedder may replace.
    host.link(&mut linker)?;
    Ok(linker)
}

/// Resolves all imports of a module, or says which cannot be: those too that are known to be `missing`.
fn resolve<T: Send + 'static>(
    linker: &Linker<InstanceState<T>>,
    module: &wasmtime::Module,
    mut missing: Vec<ImportName>,
) -> Result<InstancePre<InstanceState<T>>, LoadError> {
    if let Some(import) = module
        .imports()
        .find(|import| import.module() == env::MODULE && env::FORBIDDEN.contains(&import.name()))
    {
        return Err(LoadError::ForbiddenImport { name: import.name().to_owned() });
    }
    let result = linker.instantiate_pre(module);
    if result.as_ref().err().is_some_and(|error| error.is::<UnknownImportError>()) {
        missing.extend(unknown_imports(linker, module));
    }
    if let Some(error) = LoadError::unknown(missing) {
        return Err(error);
    }
    result.map_err(|error| LoadError::WrongImportType { message: format!("{error:#}") })
}

/// The imports that are not in a linker, in their order. The engine tells one at a time, so that something has to
/// stand in for each to hear of the next; for what is no function, nothing can.
fn unknown_imports<T: Send + 'static>(
    linker: &Linker<InstanceState<T>>,
    module: &wasmtime::Module,
) -> Vec<ImportName> {
    let (mut linker, mut found) = (linker.clone(), Vec::new());
    while found.len() <= LoadError::MOST_UNKNOWN
        && let Err(error) = linker.instantiate_pre(module)
        && let Some(import) = error.downcast_ref::<UnknownImportError>()
    {
        found.push(ImportName { module: import.module().to_owned(), name: import.name().to_owned() });
        let ExternType::Func(ty) = import.ty() else { break };
        if linker.func_new(import.module(), import.name(), ty, |_, _, _| Ok(())).is_err() {
            break;
        }
    }
    found
}

type Modules<'a> = BTreeMap<&'a str, &'a wasmtime::Module>;

fn by_name<'a, T: Send + 'static>(
    others: &'a [(&str, Code)],
    host: &HostFunctions<T>,
) -> Result<Modules<'a>, LoadError> {
    if others.len() > MAX_OTHERS {
        return Err(LoadError::TooManyModules { modules: others.len(), allowed: MAX_OTHERS });
    }
    let mut modules = BTreeMap::new();
    for (name, code) in others {
        let taken =
            [MAIN, env::MODULE, env::OLD_MODULE, wasi::MODULE].contains(name) || host.has_module(name);
        let exports = code.module().exports().len();
        if exports > MAX_EXPORTS {
            return Err(LoadError::TooManyExports {
                name: (*name).to_owned(),
                exports,
                allowed: MAX_EXPORTS,
            });
        }
        if taken || modules.insert(*name, code.module()).is_some() {
            return Err(LoadError::ModuleName { name: (*name).to_owned() });
        }
    }
    Ok(modules)
}

/// Checks that all a module imports is there: from the host by resolving it, from the other modules by name and, for
/// functions, by type. What those offer exists in a store only, so that places are held for it here.
fn check_imports<T: Send + 'static>(
    host: &Linker<InstanceState<T>>,
    module: &wasmtime::Module,
    modules: &Modules<'_>,
) -> Result<(), LoadError> {
    let mut linker = host.clone();
    let (mut only_functions, mut missing) = (true, Vec::new());
    for import in module.imports() {
        let Some(other) = modules.get(import.module()) else { continue };
        let found = other.get_export(import.name());
        let name = ImportName { module: import.module().to_owned(), name: import.name().to_owned() };
        if found.is_none() && !missing.contains(&name) && missing.len() <= LoadError::MOST_UNKNOWN {
            missing.push(name);
        }
        match (import.ty(), found) {
            (ExternType::Func(wanted), found)
                if found.as_ref().is_none_or(
                    |found| matches!(found, ExternType::Func(found) if FuncType::eq(&wanted, found)),
                ) =>
            {
                linker
                    .func_new(import.module(), import.name(), wanted, |_, _, _| Ok(()))
                    .map_err(|error| LoadError::Engine { message: format!("{error:#}") })?;
            }
            (ExternType::Func(wanted), Some(found)) => {
                let message = format!(
                    "`{}` from `{}` is wanted as {wanted}, and is {}",
                    import.name(),
                    import.module(),
                    match found {
                        ExternType::Func(found) => found.to_string(),
                        _ => "no function".to_owned(),
                    }
                );
                return Err(LoadError::WrongImportType { message });
            }
            // Whether memories, tables and globals fit, the engine says when they exist.
            _ => only_functions = false,
        }
    }
    if only_functions {
        resolve(&linker, module, missing).map(|_| ())
    } else {
        LoadError::unknown(missing).map_or(Ok(()), Err)
    }
}

/// The names in an order in which each comes after those it imports from.
fn in_order<'a>(modules: &Modules<'a>) -> Result<Vec<&'a str>, LoadError> {
    let mut waiting: BTreeMap<&str, Vec<&str>> = modules
        .iter()
        .map(|(name, module)| {
            let needs = module.imports().filter_map(|import| modules.get_key_value(import.module()));
            (*name, needs.map(|(needed, _)| *needed).collect())
        })
        .collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<&str> = waiting
            .iter()
            .filter(|(_, needs)| needs.iter().all(|needed| !waiting.contains_key(needed)))
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            return Err(LoadError::Circle { path: circle(&waiting) });
        }
        waiting.retain(|name, _| !ready.contains(name));
        order.extend(ready);
    }
    Ok(order)
}

/// A way from a module back to itself, in modules that all wait for one another.
fn circle(waiting: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            path.drain(..start);
            path.push(name);
            break;
        }
        path.push(name);
        next = waiting.get(name).and_then(|needs| needs.iter().find(|n| waiting.contains_key(**n)).copied());
    }
    path.into_iter().map(str::to_owned).collect()
}

/// A module with a `main`, to be used once: not one that also is a library.
fn is_command(module: &wasmtime::Module) -> bool {
    let function = |name| matches!(module.get_export(name), Some(ExternType::Func(_)));
    function("_start") && !function("_initialize")
}

/// True if instances of a command can be in a store of their own: nothing of another store's comes in.
fn stands_alone(module: &wasmtime::Module, others: &[(String, wasmtime::Module)]) -> bool {
    let number = |ty: &ValType| !matches!(ty, ValType::Ref(_));
    module.imports().all(|import| others.iter().all(|(name, _)| name != import.module()))
        && module.exports().all(|export| match export.ty() {
            ExternType::Func(ty) => ty.params().all(|ty| number(&ty)) && ty.results().all(|ty| number(&ty)),
            _ => true,
        })
}

/// Links the functions of a command: each call makes an instance of its own, in a store of its own if it can stand
/// alone.
fn link_command<T: Send + 'static>(
    linker: &mut Linker<InstanceState<T>>,
    name: &str,
    ready: &InstancePre<InstanceState<T>>,
    alone: bool,
) -> wasmtime::Result<()> {
    let functions: Vec<(String, FuncType)> = ready
        .module()
        .exports()
        .filter_map(|export| match export.ty() {
            ExternType::Func(ty) => Some((export.name().to_owned(), ty)),
            _ => None,
        })
        .collect();
    for (function, ty) in functions {
        let ready = ready.clone();
        let export = function.clone();
        linker.func_new_async(name, &function, ty, move |mut caller, params, results| {
            let (ready, export) = (ready.clone(), export.clone());
            Box::new(async move {
                if alone {
                    let mut lent = Lent::new(caller.as_context_mut())?;
                    let instance = make(&ready, lent.store(), false).await?;
                    call_in(instance, lent.store(), &export, params, results).await
                } else {
                    let instance = make(&ready, caller.as_context_mut(), true).await?;
                    call_in(instance, caller.as_context_mut(), &export, params, results).await
                }
            })
        })?;
    }
    Ok(())
}

/// Calls a function of an instance of a command.
async fn call_in<T: Send + 'static>(
    instance: wasmtime::Instance,
    mut context: StoreContextMut<'_, InstanceState<T>>,
    export: &str,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let callee =
        instance.get_func(&mut context, export).ok_or_else(|| wasmtime::Error::msg("the export is gone"))?;
    callee.call_async(context, params, results).await
}
