//! Stores: each is under the limits of the state in it, and can be interrupted.

use wasmtime::{Store, UpdateDeadline};

use crate::state::InstanceState;

/// A store under the limits of its state, interrupted at each tick of the engine.
pub(crate) fn store_for<T: Send + 'static>(
    engine: &wasmtime::Engine,
    state: InstanceState<T>,
) -> Store<InstanceState<T>> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.growth);
    // tokio's own yield lets its clock run before the guest goes on, so that deadlines are seen.
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
    store
}
