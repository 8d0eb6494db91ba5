//! Prices of host-side work, and taking them from the fuel of the running call.
//! Wasm instructions are charged by the engine itself.

use wasmtime::{AsContextMut, StoreContextMut};

use crate::fault::Fault;
use crate::state::InstanceState;

/// One unit of fuel, about one wasm instruction, pays for moving this many bytes.
const BYTES_PER_UNIT: u64 = 8;

/// `alloc`: a look at the limits and a host allocation.
pub(crate) const ALLOC: u64 = 100;
/// `output_set`, `error_set`, `config_get`, `var_get`, `var_set`: a look-up and copies.
pub(crate) const LOOK_UP: u64 = 100;
/// One line of log: it leaves the sandbox, so that it costs more than work inside.
pub(crate) const LOG: u64 = 1000;
/// One HTTP request: a connection, and what it takes to make one.
pub(crate) const HTTP: u64 = 10_000;

/// A call of WASI.
pub(crate) const WASI: u64 = 500;
/// One that looks something up on a disk, or changes it there.
pub(crate) const WASI_FILES: u64 = 10_000;

/// Takes the price `call` and that of moving `bytes` bytes from the running call.
///
/// # Errors
/// [`Fault::OutOfFuel`] when less is left; all of it is gone then. [`Fault::TimedOut`] when the call's time is over.
pub(crate) fn charge<T: 'static>(
    context: impl AsContextMut<Data = InstanceState<T>>,
    call: u64,
    bytes: u64,
) -> wasmtime::Result<()> {
    consume(context, call.saturating_add(bytes / BYTES_PER_UNIT))
}

/// Takes `amount` from the running call.
///
/// # Errors
/// [`Fault::OutOfFuel`] when less is left; all of it is gone then. [`Fault::TimedOut`] when the call's time is over.
pub(crate) fn consume<T: 'static>(
    mut context: impl AsContextMut<Data = InstanceState<T>>,
    amount: u64,
) -> wasmtime::Result<()> {
    let mut store: StoreContextMut<'_, InstanceState<T>> = context.as_context_mut();
    let left = store.get_fuel()?;
    // Also where it is not enough: the report then says that all of it was used.
    store.set_fuel(left.saturating_sub(amount))?;
    if left < amount {
        Err(Fault::OutOfFuel.into())
    } else if store.data().is_past_deadline() {
        Err(Fault::TimedOut.into())
    } else {
        Ok(())
    }
}
