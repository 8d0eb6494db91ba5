//! The wasm engine of the process: which wasm features exist, fuel and epochs on, and the ticker that lets
//! running guests be interrupted. Modules, instances and their limits are elsewhere.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Config, EngineWeak, WasmBacktraceDetails, WasmFeatures};

/// Time between two interruptions of a running guest: a deadline or a cancellation can be late by this much.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Stack a guest may use. Deeper recursion is a trap.
const GUEST_STACK_BYTES: usize = 512 * 1024;

/// Stack of a call as a whole: the guest's share, and the rest for the host functions it calls.
const CALL_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Most frames of a backtrace, the innermost ones.
const BACKTRACE_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(64);

/// Every wasm feature a module may use, and no other. Each is emitted by default by a tool chain that has a
/// PDK (tail calls: GHC); the rest of what the engine could do is refused when a module is loaded.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL);

/// The wasm engine. One per process; clones are cheap and share it.
///
/// Its ticker thread ends when the last clone, module and instance are gone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
}

/// Failure to set the engine up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This machine cannot run the compiled code.
    #[error("the wasm engine cannot be set up on this machine: {0}")]
    Unsupported(String),
    /// No thread for the ticker.
    #[error("cannot start the thread that interrupts plug-ins")]
    Ticker(#[source] std::io::Error),
}

impl Engine {
    /// Sets the engine up and starts its ticker.
    ///
    /// # Errors
    /// The machine is not supported, or gives no thread.
    pub fn new() -> Result<Self, EngineError> {
        let inner = wasmtime::Engine::new(&config())
            .map_err(|error| EngineError::Unsupported(format!("{error:#}")))?;
        start_ticker(inner.weak()).map_err(EngineError::Ticker)?;
        Ok(Self { inner })
    }

    /// A hash, in hexadecimal, of everything compiled code depends on: engine version, processor and settings.
    /// Artefacts of [`Code::serialize`](crate::Code::serialize) belong to engines with the same fingerprint.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256Hasher(Sha256::new());
        self.inner.precompile_compatibility_hash().hash(&mut digest);
        digest.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").finish_non_exhaustive()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_features(FEATURES.complement(), false)
        .wasm_features(FEATURES, true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(CALL_STACK_BYTES)
        .wasm_backtrace_max_frames(BACKTRACE_FRAMES)
        // Reading debug information means parsing what the plug-in supplies, in the host.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

/// Advances the epoch of `engine` until nobody else holds it.
fn start_ticker(engine: EngineWeak) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hm-abi ticker".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            // Before the sleep: an engine that is held over it is never seen to be gone.
            drop(engine);
            std::thread::sleep(TICK);
        }
    })
}

/// Feeds what is hashed to SHA-256: the standard hasher gives 64 bits, too few to key a cache of code.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticker_ends_with_the_engine() {
        let engine = wasmtime::Engine::new(&config()).unwrap();
        let ticker = start_ticker(engine.weak()).unwrap();
        std::thread::sleep(3 * TICK);
        assert!(!ticker.is_finished());
        drop(engine);
        ticker.join().unwrap();
    }

    #[test]
    fn the_fingerprint_is_that_of_the_settings() {
        let one = Engine::new().unwrap();
        let two = Engine::new().unwrap();
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint().len(), 64);
        let mut other = config();
        other.consume_fuel(false);
        let other = Engine { inner: wasmtime::Engine::new(&other).unwrap() };
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
