//! A plug-in that can be called: the life cycle of its wasm instance and of each call. What a call may use
//! is decided by whoever makes it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use wasmtime::Store;

use crate::call_error::{Budget, CallError};
use crate::instance_options::InstanceOptions;
use crate::module::{CallResult, Function, Module};
use crate::report::Report;
use crate::state::InstanceState;
use crate::store::store_for;

/// The export of a command module that runs its `main`.
const COMMAND: &str = "_start";

/// Code of a failure that a message tells of while the returned code would read as success.
const FAILED: i32 = -1;

/// Fuel and time of one call. The first call in a fresh wasm instance pays for its start too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Fuel: about one unit for a wasm instruction, and what host functions cost.
    pub fuel: u64,
    /// Time, by the clock on the wall.
    pub deadline: Duration,
}

/// A plug-in: a module, the host's data about it, and, from the first call on, a wasm instance.
///
/// The wasm instance serves many calls, and keeps its memory and globals between them. After an abnormal end
/// of a call, and after a call of `_start`, the next call gets a fresh one; variables and data stay.
pub struct Instance<T: 'static> {
    module: Module<T>,
    /// Always there but inside [`Instance::renew`].
    store: Option<Store<InstanceState<T>>>,
    guest: Guest,
    cancel: Arc<Notify>,
    report: Report,
}

/// Ends calls of one instance, from anywhere. Clones are cheap and end the same calls.
#[derive(Debug, Clone)]
pub struct CancelHandle {
    cancel: Arc<Notify>,
}

impl CancelHandle {
    /// Ends the running call with [`CallError::Cancelled`]: also one whose future was made and not polled yet. Without
    /// one, nothing happens: the next call is not touched.
    pub fn cancel(&self) {
        self.cancel.notify_waiters();
    }
}

impl<T: 'static> fmt::Debug for Instance<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = matches!(self.guest, Guest::Ready(_));
        formatter
            .debug_struct("Instance")
            .field("module", &self.module)
            .field("started", &started)
            .finish_non_exhaustive()
    }
}

/// An instance in a call. However that ends, also by being dropped, a wasm instance that is spent is given back.
struct Running<'a, T: Send + 'static>(&'a mut Instance<T>);

impl<T: Send + 'static> Drop for Running<'_, T> {
    fn drop(&mut self) {
        if matches!(self.0.guest, Guest::Spent) {
            self.0.renew();
        }
    }
}

/// The wasm instance in the store.
#[derive(Clone, Copy)]
enum Guest {
    /// None was made yet.
    Absent,
    /// Ready for the next call.
    Ready(wasmtime::Instance),
    /// In the middle of a call, or left by one that did not end properly.
    Spent,
}

/// End of a call that was not the guest's.
enum Interruption {
    Cancelled,
    TimedOut,
}

/// Error of a guest, by the part of the call in which it ended.
enum GuestError {
    Starting(wasmtime::Error),
    Running(wasmtime::Error),
}

impl<T: Send + 'static> Module<T> {
    /// A plug-in made of this module, with `data` for its host functions. No code of the guest runs before the
    /// first call.
    pub fn instance(&self, data: T, options: InstanceOptions) -> Instance<T> {
        let store = Some(store_for(self.engine(), InstanceState::new(Some(data), options)));
        let (module, cancel) = (self.clone(), Arc::default());
        Instance { module, store, guest: Guest::Absent, cancel, report: Report::default() }
    }
}

impl<T: Send + 'static> Instance<T> {
    /// Calls an export, with `input`, and returns its output.
    ///
    /// Needs a tokio runtime with time. Dropping the future cancels the call, and so does a [`CancelHandle`]: within a
    /// tick of the engine even if the guest computes without end. The wasm instance is given back at once then, with
    /// its memory, and the next call gets a fresh one.
    ///
    /// # Errors
    /// The guest failed, or was stopped; or there is no such function. See [`CallError`].
    pub fn call(
        &mut self,
        export: &str,
        input: &[u8],
        limits: &CallLimits,
    ) -> impl Future<Output = Result<Vec<u8>, CallError>> {
        // Registered when the future is made, so that no cancellation falls between that and the first poll.
        let cancelled = Arc::clone(&self.cancel).notified_owned();
        async move { Running(self).0.run(export, input, limits, cancelled).await }
    }

    async fn run(
        &mut self,
        export: &str,
        input: &[u8],
        limits: &CallLimits,
        cancelled: OwnedNotified,
    ) -> Result<Vec<u8>, CallError> {
        self.report = Report::default();
        let module = self.module.clone();
        let function = module.function(export)?;
        // Spent until the call has come to a proper end: neither an early return nor the dropping of this future may
        // leave the instance looking ready.
        let guest = std::mem::replace(&mut self.guest, Guest::Spent);
        let began = Instant::now();
        let store = self.store_mut();
        let granted = limits.fuel.min(store.data().fuel_left);
        store.set_fuel(granted).map_err(|error| engine_error(&error))?;
        // From the present epoch on: without this, the ticks since the last call would count at once.
        store.set_epoch_deadline(1);
        store.data_mut().growth.begin_call();
        store.data_mut().deadline = began.checked_add(limits.deadline);

        // The cancellation is looked at first at every turn, so that a guest which is ready each time cannot keep it
        // waiting.
        let ended = tokio::select! {
            biased;
            () = cancelled => Err(Interruption::Cancelled),
            result = tokio::time::timeout(limits.deadline, run_guest(store, &module, guest, function, input)) => {
                result.map_err(|_| Interruption::TimedOut)
            }
        };

        // Before the ways out below: a call that was stopped has used its fuel too.
        let fuel_used = granted.saturating_sub(store.get_fuel().map_err(|error| engine_error(&error))?);
        let state = store.data_mut();
        let ended_call = state.end_call();
        state.fuel_left = state.fuel_left.saturating_sub(fuel_used);
        let budget = Budget {
            fuel: limits.fuel,
            had: granted,
            in_total: state.fuel_in_total(),
            deadline: limits.deadline,
        };
        self.report = Report {
            fuel_used,
            wall: began.elapsed(),
            memory_bytes: count(ended_call.memory_bytes),
            block_bytes: count(ended_call.block_bytes),
            host_calls: ended_call.host_calls,
            bytes_in: count(input.len()),
            bytes_out: count(ended_call.output.len()),
        };
        let message = ended_call.message;
        let code = match ended {
            Err(Interruption::Cancelled) => return Err(CallError::Cancelled { message }),
            Err(Interruption::TimedOut) => {
                return Err(CallError::TimedOut { deadline: limits.deadline, message });
            }
            Ok(Err(GuestError::Starting(error))) => return Err(start_error(error, &budget, message)),
            Ok(Err(GuestError::Running(error))) => match CallError::of(error, &budget, message.clone()) {
                CallError::Exit { code: 0, .. } => 0,
                other => return Err(other),
            },
            Ok(Ok((instance, code))) => {
                if export != COMMAND {
                    self.guest = Guest::Ready(instance);
                }
                code
            }
        };
        match (code, message) {
            (0, None) => Ok(ended_call.output),
            (0, message) => Err(CallError::Guest { code: FAILED, message }),
            (code, message) => Err(CallError::Guest { code, message }),
        }
    }

    /// Gives the wasm instance back, with its memory: the next call makes a fresh one. Variables and data stay.
    pub fn reset(&mut self) {
        self.renew();
    }

    /// Report of the last call; empty before the first, and where a call was dropped.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Ends calls of this instance while somebody waits for them.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle { cancel: Arc::clone(&self.cancel) }
    }

    /// The data that the host functions of this instance work on.
    pub fn data(&self) -> &T {
        self.store_ref().data().data()
    }

    /// The data that the host functions of this instance work on.
    pub fn data_mut(&mut self) -> &mut T {
        self.store_mut().data_mut().data_mut()
    }

    /// Puts the host's data into a new store, where the next call makes a fresh wasm instance.
    fn renew(&mut self) {
        // Taken out first: the old store has to be gone, with its memories, before the data can move into another.
        if let Some(old) = self.store.take() {
            self.store = Some(store_for(self.module.engine(), old.into_data().for_fresh_guest()));
            self.guest = Guest::Absent;
        }
    }

    #[expect(clippy::expect_used, reason = "only `renew` takes the store, and it puts another one there")]
    fn store_ref(&self) -> &Store<InstanceState<T>> {
        self.store.as_ref().expect("the store of an instance")
    }

    #[expect(clippy::expect_used, reason = "only `renew` takes the store, and it puts another one there")]
    fn store_mut(&mut self) -> &mut Store<InstanceState<T>> {
        self.store.as_mut().expect("the store of an instance")
    }
}

/// Starts the guest if need be, and runs one of its functions: its code, and the instance.
async fn run_guest<T: Send + 'static>(
    store: &mut Store<InstanceState<T>>,
    module: &Module<T>,
    guest: Guest,
    function: &Function,
    input: &[u8],
) -> Result<(wasmtime::Instance, i32), GuestError> {
    let instance = match guest {
        Guest::Ready(instance) => instance,
        Guest::Absent | Guest::Spent => start(store, module).await.map_err(GuestError::Starting)?,
    };
    let code = enter(store, instance, function, input).await.map_err(GuestError::Running)?;
    Ok((instance, code))
}

/// Makes the wasm instance: start functions and initialisers.
async fn start<T: Send + 'static>(
    store: &mut Store<InstanceState<T>>,
    module: &Module<T>,
) -> wasmtime::Result<wasmtime::Instance> {
    // Without input: initialisers run for the instance, not for the call that happens to be the first.
    store.data_mut().begin_call(&[])?;
    module.linked().instantiate(store).await
}

/// Runs one function of a started guest.
async fn enter<T: Send + 'static>(
    store: &mut Store<InstanceState<T>>,
    instance: wasmtime::Instance,
    function: &Function,
    input: &[u8],
) -> wasmtime::Result<i32> {
    store.data_mut().begin_call(input)?;
    let callee = instance
        .get_module_export(&mut *store, &function.export)
        .and_then(wasmtime::Extern::into_func)
        .ok_or_else(|| wasmtime::Error::msg("the export is gone"))?;
    if function.result == CallResult::Code {
        callee.typed::<(), i32>(&*store)?.call_async(&mut *store, ()).await
    } else {
        callee.typed::<(), ()>(&*store)?.call_async(&mut *store, ()).await.map(|()| 0)
    }
}

/// The error of a guest that could not be started: an exit is one, whatever its code.
fn start_error(error: wasmtime::Error, budget: &Budget, message: Option<String>) -> CallError {
    match CallError::of(error, budget, message) {
        CallError::Exit { code: 0, message } => CallError::Trap {
            reason: "exit with code 0 before the function was called".to_owned(),
            message,
            backtrace: Vec::new(),
        },
        other => other,
    }
}

fn engine_error(error: &wasmtime::Error) -> CallError {
    CallError::Engine { message: format!("{error:#}") }
}

fn count(bytes: usize) -> u64 {
    bytes.try_into().unwrap_or(u64::MAX)
}
