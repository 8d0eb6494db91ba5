//! WASI preview 1 as the plug-in sees it: all functions are there, and [`State`] gives them nothing to reach.

use wasmtime::Linker;
use wasmtime_wasi::p1;

use crate::fault::Fault;
use crate::state::State;

/// The import module of WASI preview 1.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Links it.
pub(crate) fn link<T: Send + 'static>(linker: &mut Linker<State<T>>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, State::wasi)?;
    // The library's own refuses codes above 125; here every code is an answer.
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(Fault::Exit(code).into())
    })?;
    Ok(())
}
