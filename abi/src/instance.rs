//! A plug-in that can be called: the life cycle of its wasm instance and of each call. What a call may use
//! is decided by whoever makes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use wasmtime::{Store, UpdateDeadline};

use crate::call_error::{Budget, CallError};
use crate::http::HttpClient;
use crate::limits::InstanceLimits;
use crate::log::LogSink;
use crate::module::{CallResult, Function, Module};
use crate::report::Report;
use crate::state::State;
use crate::wasi::Directories;

/// The export of a command module that runs its `main`.
const COMMAND: &str = "_start";

/// Code of a failure that a message tells of while the returned code would read as success.
const FAILED: i32 = -1;

/// What an instance gets for its life.
#[derive(Debug, Clone)]
pub struct InstanceOptions {
    /// What it may hold.
    pub limits: InstanceLimits,
    /// What `config_get` finds.
    pub config: BTreeMap<String, String>,
    /// Where its log goes.
    pub log: LogSink,
    /// What `http_request` does. None: it is denied.
    pub http: Option<Arc<dyn HttpClient>>,
    /// What it sees through WASI.
    pub directories: Directories,
}

impl InstanceOptions {
    /// [`InstanceLimits::standard`], no configuration, no log, no HTTP, no directories.
    pub fn standard() -> Self {
        Self {
            limits: InstanceLimits::standard(),
            config: BTreeMap::new(),
            log: LogSink::off(),
            http: None,
            directories: Directories::default(),
        }
    }
}

/// What one call may use. The first call in a fresh wasm instance pays for its start from the same purse.
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
    store: Option<Store<State<T>>>,
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
    /// Ends the running call with [`CallError::Cancelled`]. Without one, nothing happens: the next call is not touched.
    pub fn cancel(&self) {
        self.cancel.notify_waiters();
    }
}

/// The wasm instance in the store.
#[derive(Clone, Copy)]
enum Guest {
    /// None yet.
    Absent,
    /// Ready for the next call.
    Ready(wasmtime::Instance),
    /// In the middle of something that was not, or not yet, ended properly.
    Spent,
}

/// Why a call did not come to its own end.
enum Stopped {
    Cancelled,
    TimedOut,
}

/// Where in a call the guest was when it ended.
enum Ended {
    Starting(wasmtime::Error),
    Running(wasmtime::Error),
}

impl<T: Send + 'static> Instance<T> {
    pub(crate) fn new(module: Module<T>, state: State<T>) -> Self {
        let store = Some(store_for(&module, state));
        Self { module, store, guest: Guest::Absent, cancel: Arc::default(), report: Report::default() }
    }

    /// Calls an export, with `input`, and returns its output.
    ///
    /// Needs a tokio runtime with time. Dropping the future cancels the call, and so does a [`CancelHandle`]: within a
    /// tick of the engine even if the guest computes without end. The next call then gets a fresh wasm instance.
    ///
    /// # Errors
    /// The guest failed, or was stopped; or there is no such function. See [`CallError`].
    pub async fn call(
        &mut self,
        export: &str,
        input: &[u8],
        limits: &CallLimits,
    ) -> Result<Vec<u8>, CallError> {
        self.report = Report::default();
        let module = self.module.clone();
        let function = module.function(export)?;
        if matches!(self.guest, Guest::Spent) {
            self.renew();
        }
        // Until a proper end, also if this future is dropped.
        let guest = std::mem::replace(&mut self.guest, Guest::Spent);
        let began = Instant::now();
        let cancel = Arc::clone(&self.cancel);
        let store = self.store_mut();
        let purse = limits.fuel.min(store.data().fuel_left);
        store.set_fuel(purse).map_err(|error| engine_error(&error))?;
        store.set_epoch_deadline(1);
        store.data_mut().deadline = began.checked_add(limits.deadline);

        let cancelled = cancel.notified();
        let ended = tokio::select! {
            biased;
            () = cancelled => Err(Stopped::Cancelled),
            result = tokio::time::timeout(limits.deadline, run(store, &module, guest, function, input)) => {
                result.map_err(|_| Stopped::TimedOut)
            }
        };

        let fuel_used = purse.saturating_sub(store.get_fuel().map_err(|error| engine_error(&error))?);
        let state = store.data_mut();
        let left = state.end_call();
        state.fuel_left = state.fuel_left.saturating_sub(fuel_used);
        let budget = Budget {
            fuel: limits.fuel,
            had: purse,
            in_total: state.fuel_in_total(),
            deadline: limits.deadline,
        };
        self.report = Report {
            fuel_used,
            wall: began.elapsed(),
            memory_bytes: count(left.memory_bytes),
            block_bytes: count(left.block_bytes),
            host_calls: left.host_calls,
            bytes_in: count(input.len()),
            bytes_out: count(left.output.len()),
        };
        let message = left.message;
        let code = match ended {
            Err(Stopped::Cancelled) => return Err(CallError::Cancelled { message }),
            Err(Stopped::TimedOut) => return Err(CallError::TimedOut { deadline: limits.deadline, message }),
            Ok(Err(Ended::Starting(error))) => return Err(start_error(error, &budget, message)),
            Ok(Err(Ended::Running(error))) => match CallError::of(error, &budget, message.clone()) {
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
            (0, None) => Ok(left.output),
            (0, message) => Err(CallError::Guest { code: FAILED, message }),
            (code, message) => Err(CallError::Guest { code, message }),
        }
    }

    /// What the last call has used; nothing before the first, and where a call was dropped.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Ends calls of this instance while somebody waits for them.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle { cancel: Arc::clone(&self.cancel) }
    }

    /// What the host functions of this instance work on.
    pub fn data(&self) -> &T {
        &self.store_ref().data().data
    }

    /// What the host functions of this instance work on.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.store_mut().data_mut().data
    }

    /// Puts the host's data into a new store, where the next call makes a fresh wasm instance.
    fn renew(&mut self) {
        if let Some(old) = self.store.take() {
            self.store = Some(store_for(&self.module, old.into_data().renewed()));
            self.guest = Guest::Absent;
        }
    }

    #[expect(clippy::expect_used, reason = "only `renew` takes the store, and it puts another one there")]
    fn store_ref(&self) -> &Store<State<T>> {
        self.store.as_ref().expect("the store of an instance")
    }

    #[expect(clippy::expect_used, reason = "only `renew` takes the store, and it puts another one there")]
    fn store_mut(&mut self) -> &mut Store<State<T>> {
        self.store.as_mut().expect("the store of an instance")
    }
}

/// A store under the limits of its state, interrupted at each tick of the engine.
fn store_for<T: Send + 'static>(module: &Module<T>, state: State<T>) -> Store<State<T>> {
    let mut store = Store::new(module.engine(), state);
    store.limiter(|state| &mut state.growth);
    // tokio's own yield lets its clock run before the guest goes on, so that deadlines are seen.
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
    store
}

/// Starts the guest if need be, and runs one of its functions: its code, and the instance.
async fn run<T: Send + 'static>(
    store: &mut Store<State<T>>,
    module: &Module<T>,
    guest: Guest,
    function: &Function,
    input: &[u8],
) -> Result<(wasmtime::Instance, i32), Ended> {
    let instance = match guest {
        Guest::Ready(instance) => instance,
        Guest::Absent | Guest::Spent => start(store, module).await.map_err(Ended::Starting)?,
    };
    let code = enter(store, instance, function, input).await.map_err(Ended::Running)?;
    Ok((instance, code))
}

/// Makes the wasm instance: start functions and initialisers.
async fn start<T: Send + 'static>(
    store: &mut Store<State<T>>,
    module: &Module<T>,
) -> wasmtime::Result<wasmtime::Instance> {
    store.data_mut().begin_call(&[])?;
    module.linked().instantiate(store).await
}

/// Runs one function of a started guest.
async fn enter<T: Send + 'static>(
    store: &mut Store<State<T>>,
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
