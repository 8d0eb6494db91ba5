//! The imports of `extism:host/env` but HTTP: Extism memory, input, output, config, variables and log.
//! Each is a thin, typed door to the state; `load_*` and `store_*` cost what their wasm call costs.

use wasmtime::Caller;

use crate::fault::Fault;
use crate::fuel;
use crate::log::LogLevel;
use crate::state::InstanceState;

use super::env_linker::{EnvLinker, charge_argument, read_argument};

/// The import module of the ABI.
pub(crate) const MODULE: &str = "extism:host/env";

/// Names that only the host's side of the ABI uses. A guest that could call them could rewrite its own call.
pub(crate) const FORBIDDEN: &[&str] =
    &["reset", "input_set", "error_get", "output_offset", "output_length", "memory_bytes"];

/// Most bytes of an error message: what is beyond is cut off.
const MAX_ERROR_BYTES: u64 = 1024 * 1024;

/// The module and the prefix of the names that PDKs before 2024 used for the same functions.
pub(crate) const OLD_MODULE: &str = "env";
pub(crate) const OLD_PREFIX: &str = "extism_";

/// Links all but HTTP, under the names of one import module.
pub(super) fn link<T: Send + 'static>(env: &mut EnvLinker<'_, T>) -> wasmtime::Result<()> {
    link_memory(env)?;
    link_call(env)?;
    link_config_and_vars(env)?;
    link_log(env)
}

fn link_memory<T: Send + 'static>(env: &mut EnvLinker<'_, T>) -> wasmtime::Result<()> {
    env.define("alloc", |mut caller: Caller<'_, InstanceState<T>>, length: u64| -> wasmtime::Result<u64> {
        // The ceiling is asked before the bytes are paid: a block that is too large is a limit, not a lack of fuel.
        fuel::charge(&mut caller, fuel::ALLOC, 0)?;
        let offset = caller.data_mut().blocks.alloc(length)?;
        fuel::charge(&mut caller, 0, length)?;
        Ok(offset)
    })?;
    env.define("free", |mut caller: Caller<'_, InstanceState<T>>, offset: u64| {
        caller.data_mut().blocks.free(offset);
    })?;
    for name in ["length", "length_unsafe"] {
        env.define(name, |mut caller: Caller<'_, InstanceState<T>>, offset: u64| {
            caller.data_mut().blocks.length(offset)
        })?;
    }
    env.define("load_u8", |mut caller: Caller<'_, InstanceState<T>>, offset: u64| {
        u32::from(caller.data_mut().blocks.load_u8(offset))
    })?;
    env.define("load_u64", |mut caller: Caller<'_, InstanceState<T>>, offset: u64| {
        caller.data_mut().blocks.load_u64(offset)
    })?;
    env.define("store_u8", |mut caller: Caller<'_, InstanceState<T>>, offset: u64, value: u32| {
        let [low, ..] = value.to_le_bytes();
        caller.data_mut().blocks.store_u8(offset, low);
    })?;
    env.define("store_u64", |mut caller: Caller<'_, InstanceState<T>>, offset: u64, value: u64| {
        caller.data_mut().blocks.store_u64(offset, value);
    })
}

fn link_call<T: Send + 'static>(env: &mut EnvLinker<'_, T>) -> wasmtime::Result<()> {
    env.define("input_offset", |caller: Caller<'_, InstanceState<T>>| caller.data().input)?;
    env.define("input_length", |mut caller: Caller<'_, InstanceState<T>>| input_length(caller.data_mut()))?;
    env.define("input_load_u8", |mut caller: Caller<'_, InstanceState<T>>, index: u64| -> u32 {
        let state = caller.data_mut();
        if index < input_length(state) { state.blocks.load_u8(state.input + index).into() } else { 0 }
    })?;
    env.define("input_load_u64", |mut caller: Caller<'_, InstanceState<T>>, index: u64| -> u64 {
        let state = caller.data_mut();
        let inside = index.checked_add(8).is_some_and(|end| end <= input_length(state));
        if inside { state.blocks.load_u64(state.input + index) } else { 0 }
    })?;
    env.define(
        "output_set",
        |mut caller: Caller<'_, InstanceState<T>>, offset: u64, length: u64| -> wasmtime::Result<()> {
            caller.data_mut().count_host_call("output_set");
            fuel::charge(&mut caller, fuel::LOOK_UP, 0)?;
            if length == 0 {
                caller.data_mut().blocks.set_output(None);
                return Ok(());
            }
            let Some(part) = caller.data_mut().blocks.part(offset, length) else {
                return Err(Fault::Misuse(format!(
                    "`output_set` was given {length} bytes at offset {offset}, which no block holds"
                ))
                .into());
            };
            // Only now that `length` is known to be the size of something: a forged one is a mistake, not a bill. It
            // pays for the copy that is made when the call ends or the block is freed.
            fuel::charge(&mut caller, 0, length)?;
            caller.data_mut().blocks.set_output(Some(part));
            Ok(())
        },
    )?;
    env.define("error_set", |mut caller: Caller<'_, InstanceState<T>>, offset: u64| -> wasmtime::Result<()> {
        caller.data_mut().count_host_call("error_set");
        if offset == 0 {
            caller.data_mut().blocks.set_error(None);
            return Ok(());
        }
        let length = charge_argument(&mut caller, "error_set", offset)?;
        let blocks = &mut caller.data_mut().blocks;
        let part = blocks.part(offset, length.min(MAX_ERROR_BYTES));
        blocks.set_error(part);
        Ok(())
    })
}

fn input_length<T>(state: &mut InstanceState<T>) -> u64 {
    state.blocks.length(state.input)
}

fn link_config_and_vars<T: Send + 'static>(env: &mut EnvLinker<'_, T>) -> wasmtime::Result<()> {
    env.define(
        "config_get",
        |mut caller: Caller<'_, InstanceState<T>>, key: u64| -> wasmtime::Result<u64> {
            caller.data_mut().count_host_call("config_get");
            let name = take_key(&mut caller, "config_get", key)?;
            let value = caller.data().config.get(&name).map(|value| value.clone().into_bytes());
            insert_answer(&mut caller, value)
        },
    )?;
    env.define("var_get", |mut caller: Caller<'_, InstanceState<T>>, key: u64| -> wasmtime::Result<u64> {
        caller.data_mut().count_host_call("var_get");
        let name = take_key(&mut caller, "var_get", key)?;
        let value = caller.data().vars.get(&name).map(<[u8]>::to_vec);
        insert_answer(&mut caller, value)
    })?;
    env.define(
        "var_set",
        |mut caller: Caller<'_, InstanceState<T>>, key: u64, value: u64| -> wasmtime::Result<()> {
            caller.data_mut().count_host_call("var_set");
            // Both are read before either is freed: they may be the same block.
            let bytes = read_argument(&mut caller, "var_set", value)?;
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

fn link_log<T: Send + 'static>(env: &mut EnvLinker<'_, T>) -> wasmtime::Result<()> {
    for (name, level) in [
        ("log_trace", LogLevel::Trace),
        ("log_debug", LogLevel::Debug),
        ("log_info", LogLevel::Info),
        ("log_warn", LogLevel::Warn),
        ("log_error", LogLevel::Error),
    ] {
        env.define(
            name,
            move |mut caller: Caller<'_, InstanceState<T>>, offset: u64| -> wasmtime::Result<()> {
                caller.data_mut().count_host_call(name);
                fuel::charge(&mut caller, fuel::LOG, 0)?;
                // Paid also below the threshold, so that what a plug-in costs does not depend on who looks.
                let text = read_argument(&mut caller, name, offset)?;
                let state = caller.data_mut();
                state.blocks.free(offset);
                state.log.write(level, &text);
                Ok(())
            },
        )?;
    }
    env.define("get_log_level", |caller: Caller<'_, InstanceState<T>>| caller.data().log.threshold())
}

/// The text of a key, whose block is freed.
fn take_key<T: 'static>(
    caller: &mut Caller<'_, InstanceState<T>>,
    function: &str,
    offset: u64,
) -> wasmtime::Result<String> {
    let bytes = read_argument(caller, function, offset)?;
    caller.data_mut().blocks.free(offset);
    String::from_utf8(bytes)
        .map_err(|_| Fault::Misuse(format!("`{function}` was given a key that is not UTF-8")).into())
}

/// A block with what was found, paid for; 0 for nothing.
fn insert_answer<T: 'static>(
    caller: &mut Caller<'_, InstanceState<T>>,
    found: Option<Vec<u8>>,
) -> wasmtime::Result<u64> {
    let bytes = found.unwrap_or_default();
    fuel::charge(&mut *caller, 0, bytes.len().try_into().unwrap_or(u64::MAX))?;
    Ok(caller.data_mut().blocks.insert(bytes)?)
}
