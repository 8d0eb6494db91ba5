//! Everything the host knows about one instance: what lives in its store. What the pieces do is in their own
//! files.

use std::collections::BTreeMap;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::blocks::Blocks;
use crate::fault::Fault;
use crate::instance::InstanceOptions;
use crate::limits::{Growth, InstanceLimits};
use crate::log::Log;
use crate::vars::Vars;

/// Most random bytes of one `random_get`: they are made while nothing can interrupt.
const MAX_RANDOM_BYTES: u64 = 1024 * 1024;

/// The host's side of one instance.
pub(crate) struct State<T> {
    /// The embedder's own, and all that its host functions see.
    pub(crate) data: T,
    limits: InstanceLimits,

    // For the life of the plug-in.
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) vars: Vars,
    pub(crate) log: Log,

    // For the life of the wasm instance.
    pub(crate) growth: Growth,
    pub(crate) wasi: WasiP1Ctx,

    // For one call.
    pub(crate) blocks: Blocks,
    /// Offset of the input block; 0 for an empty input.
    pub(crate) input: u64,
    pub(crate) output: Vec<u8>,
    pub(crate) error: Option<String>,
}

impl<T> State<T> {
    pub(crate) fn new(data: T, options: InstanceOptions) -> Self {
        let InstanceOptions { limits, config, log } = options;
        Self {
            data,
            config,
            vars: Vars::new(&limits),
            log: Log::new(log, &limits),
            growth: Growth::new(&limits),
            wasi: empty_wasi(),
            blocks: Blocks::new(limits.blocks, limits.memory_bytes),
            input: 0,
            output: Vec::new(),
            error: None,
            limits,
        }
    }

    /// The state for a fresh wasm instance: all that belonged to the old one is gone.
    pub(crate) fn renewed(mut self) -> Self {
        self.end_call();
        self.growth = Growth::new(&self.limits);
        self.wasi = empty_wasi();
        self
    }

    /// Nothing is left of what ran before, and `input` is there to be read.
    ///
    /// # Errors
    /// [`Fault::Limit`] if the input is larger than Extism memory may be.
    pub(crate) fn begin_call(&mut self, input: &[u8]) -> Result<(), Fault> {
        self.blocks.clear();
        self.output = Vec::new();
        self.error = None;
        self.input = self.blocks.insert(input)?;
        Ok(())
    }

    /// Gives the memory of the call back, and returns its output and its error message.
    pub(crate) fn end_call(&mut self) -> (Vec<u8>, Option<String>) {
        self.log.end();
        self.blocks.clear();
        self.input = 0;
        (std::mem::take(&mut self.output), self.error.take())
    }
}

/// WASI with nothing in it: no arguments, no environment, no directories, an input at its end, outputs that
/// swallow. Clocks and random numbers are real.
fn empty_wasi() -> WasiP1Ctx {
    WasiCtxBuilder::new().max_random_size(MAX_RANDOM_BYTES).build_p1()
}
