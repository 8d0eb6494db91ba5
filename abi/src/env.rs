//! The imports of `extism:host/env` but HTTP: Extism memory, input, output, config, variables and log.
//! Each is a thin, typed door to the state; `load_*` and `store_*` cost what their wasm call costs.

use wasmtime::{Caller, IntoFunc, Linker, WasmRet, WasmTyList};

use crate::fault::Fault;
use crate::log::LogLevel;
use crate::state::State;
use crate::{fuel, http};

/// The import module of the ABI.
pub(crate) const MODULE: &str = "extism:host/env";

/// Names that only the host's side of the ABI uses. A guest that could call them could rewrite its own call.
pub(crate) const FORBIDDEN: &[&str] =
    &["reset", "input_set", "error_get", "output_offset", "output_length", "memory_bytes"];

/// Most bytes of an error message: what is beyond is cut off.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// The module and the prefix of the names that PDKs before 2024 used for the same functions.
pub(crate) const OLD_MODULE: &str = "env";
const OLD_PREFIX: &str = "extism_";

/// Links all of it, under the present and the old names.
pub(crate) fn link<T: Send + 'static>(linker: &mut Linker<State<T>>) -> wasmtime::Result<()> {
    for (module, prefix) in [(MODULE, ""), (OLD_MODULE, OLD_PREFIX)] {
        let mut imports = Imports { linker: &mut *linker, module, prefix };
        link_memory(&mut imports)?;
        link_call(&mut imports)?;
        link_config_and_vars(&mut imports)?;
        link_log(&mut imports)?;
        http::link(&mut imports)?;
    }
    Ok(())
}

/// Where functions are being linked.
pub(crate) struct Imports<'a, T: 'static> {
    linker: &'a mut Linker<State<T>>,
    module: &'a str,
    prefix: &'a str,
}

impl<T: Send + 'static> Imports<'_, T> {
    /// Links one function.
    pub(crate) fn define<P, R>(
        &mut self,
        name: &str,
        function: impl IntoFunc<State<T>, P, R>,
    ) -> wasmtime::Result<()> {
        self.linker.func_wrap(self.module, &format!("{}{name}", self.prefix), function)?;
        Ok(())
    }

    /// Links one function that may wait.
    pub(crate) fn define_async<P: WasmTyList, R: WasmRet>(
        &mut self,
        name: &str,
        function: impl for<'a> Fn(Caller<'a, State<T>>, P) -> Box<dyn Future<Output = R> + Send + 'a>
        + Send
        + Sync
        + 'static,
    ) -> wasmtime::Result<()> {
        self.linker.func_wrap_async(self.module, &format!("{}{name}", self.prefix), function)?;
        Ok(())
    }
}

fn link_memory<T: Send + 'static>(imports: &mut Imports<'_, T>) -> wasmtime::Result<()> {
    imports.define("alloc", |mut caller: Caller<'_, State<T>>, length: u64| -> wasmtime::Result<u64> {
        fuel::charge(&mut caller, fuel::ALLOC, 0)?;
        let offset = caller.data_mut().blocks.alloc(length)?;
        fuel::charge(&mut caller, 0, length)?;
        Ok(offset)
    })?;
    imports.define("free", |mut caller: Caller<'_, State<T>>, offset: u64| {
        caller.data_mut().blocks.free(offset);
    })?;
    for name in ["length", "length_unsafe"] {
        imports.define(name, |mut caller: Caller<'_, State<T>>, offset: u64| {
            caller.data_mut().blocks.length(offset)
        })?;
    }
    imports.define("load_u8", |mut caller: Caller<'_, State<T>>, offset: u64| {
        u32::from(caller.data_mut().blocks.load_u8(offset))
    })?;
    imports.define("load_u64", |mut caller: Caller<'_, State<T>>, offset: u64| {
        caller.data_mut().blocks.load_u64(offset)
    })?;
    imports.define("store_u8", |mut caller: Caller<'_, State<T>>, offset: u64, value: u32| {
        let [low, ..] = value.to_le_bytes();
        caller.data_mut().blocks.store_u8(offset, low);
    })?;
    imports.define("store_u64", |mut caller: Caller<'_, State<T>>, offset: u64, value: u64| {
        caller.data_mut().blocks.store_u64(offset, value);
    })
}

fn link_call<T: Send + 'static>(imports: &mut Imports<'_, T>) -> wasmtime::Result<()> {
    imports.define("input_offset", |caller: Caller<'_, State<T>>| caller.data().input)?;
    imports.define("input_length", |mut caller: Caller<'_, State<T>>| input_length(caller.data_mut()))?;
    imports.define("input_load_u8", |mut caller: Caller<'_, State<T>>, index: u64| -> u32 {
        let state = caller.data_mut();
        if index < input_length(state) { state.blocks.load_u8(state.input + index).into() } else { 0 }
    })?;
    imports.define("input_load_u64", |mut caller: Caller<'_, State<T>>, index: u64| -> u64 {
        let state = caller.data_mut();
        let inside = index.checked_add(8).is_some_and(|end| end <= input_length(state));
        if inside { state.blocks.load_u64(state.input + index) } else { 0 }
    })?;
    imports.define(
        "output_set",
        |mut caller: Caller<'_, State<T>>, offset: u64, length: u64| -> wasmtime::Result<()> {
            caller.data_mut().count("output_set");
            fuel::charge(&mut caller, fuel::LOOK_UP, 0)?;
            if length == 0 {
                caller.data_mut().output = Vec::new();
                return Ok(());
            }
            if caller.data_mut().blocks.range(offset, length).is_none() {
                return Err(Fault::Misuse(format!(
                    "`output_set` was given {length} bytes at offset {offset}, which no block holds"
                ))
                .into());
            }
            fuel::charge(&mut caller, 0, length)?;
            let state = caller.data_mut();
            state.output = state.blocks.range(offset, length).unwrap_or_default().to_vec();
            Ok(())
        },
    )?;
    imports.define("error_set", |mut caller: Caller<'_, State<T>>, offset: u64| -> wasmtime::Result<()> {
        caller.data_mut().count("error_set");
        let message = if offset == 0 { None } else { Some(read(&mut caller, "error_set", offset)?) };
        caller.data_mut().error = message.map(|text| {
            let start = text.get(..MAX_ERROR_BYTES).unwrap_or(&text);
            String::from_utf8_lossy(start).into_owned()
        });
        Ok(())
    })
}

fn input_length<T>(state: &mut State<T>) -> u64 {
    state.blocks.length(state.input)
}

fn link_config_and_vars<T: Send + 'static>(imports: &mut Imports<'_, T>) -> wasmtime::Result<()> {
    imports.define("config_get", |mut caller: Caller<'_, State<T>>, key: u64| -> wasmtime::Result<u64> {
        caller.data_mut().count("config_get");
        let name = take_key(&mut caller, "config_get", key)?;
        let value = caller.data().config.get(&name).map(|value| value.clone().into_bytes());
        answer(&mut caller, value)
    })?;
    imports.define("var_get", |mut caller: Caller<'_, State<T>>, key: u64| -> wasmtime::Result<u64> {
        caller.data_mut().count("var_get");
        let name = take_key(&mut caller, "var_get", key)?;
        let value = caller.data().vars.get(&name).map(<[u8]>::to_vec);
        answer(&mut caller, value)
    })?;
    imports.define(
        "var_set",
        |mut caller: Caller<'_, State<T>>, key: u64, value: u64| -> wasmtime::Result<()> {
            caller.data_mut().count("var_set");
            // Both are read before either is freed: they may be the same block.
            let bytes = read(&mut caller, "var_set", value)?;
            let name = take_key(&mut caller, "var_set", key)?;
            let state = caller.data_mut();
            state.blocks.free(value);
            if value == 0 {
                state.vars.remove(&name);
            } else {
                state.vars.set(name, bytes)?;
            }
            Ok(())
        },
    )
}

fn link_log<T: Send + 'static>(imports: &mut Imports<'_, T>) -> wasmtime::Result<()> {
    for (name, level) in [
        ("log_trace", LogLevel::Trace),
        ("log_debug", LogLevel::Debug),
        ("log_info", LogLevel::Info),
        ("log_warn", LogLevel::Warn),
        ("log_error", LogLevel::Error),
    ] {
        imports.define(
            name,
            move |mut caller: Caller<'_, State<T>>, offset: u64| -> wasmtime::Result<()> {
                caller.data_mut().count(name);
                fuel::charge(&mut caller, fuel::LOG, 0)?;
                let text = read(&mut caller, name, offset)?;
                let state = caller.data_mut();
                state.blocks.free(offset);
                state.log.write(level, &text);
                Ok(())
            },
        )?;
    }
    imports.define("get_log_level", |caller: Caller<'_, State<T>>| caller.data().log.threshold())
}

/// The bytes of an argument, paid for; offset 0 is empty.
pub(crate) fn read<T: 'static>(
    caller: &mut Caller<'_, State<T>>,
    function: &str,
    offset: u64,
) -> wasmtime::Result<Vec<u8>> {
    let length = caller.data_mut().blocks.length(offset);
    if offset != 0 && length == 0 {
        return Err(Fault::bad_offset(function, offset).into());
    }
    fuel::charge(&mut *caller, fuel::LOOK_UP, length)?;
    Ok(caller.data_mut().blocks.get(offset).unwrap_or_default().to_vec())
}

/// The text of a key, whose block is freed.
fn take_key<T: 'static>(
    caller: &mut Caller<'_, State<T>>,
    function: &str,
    offset: u64,
) -> wasmtime::Result<String> {
    let bytes = read(caller, function, offset)?;
    caller.data_mut().blocks.free(offset);
    String::from_utf8(bytes)
        .map_err(|_| Fault::Misuse(format!("`{function}` was given a key that is not UTF-8")).into())
}

/// A block with what was found, paid for; 0 for nothing.
fn answer<T: 'static>(caller: &mut Caller<'_, State<T>>, found: Option<Vec<u8>>) -> wasmtime::Result<u64> {
    let bytes = found.unwrap_or_default();
    fuel::charge(&mut *caller, 0, bytes.len().try_into().unwrap_or(u64::MAX))?;
    Ok(caller.data_mut().blocks.insert(bytes)?)
}
