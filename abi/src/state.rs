//! Everything the host knows about one instance: what lives in its store. What the pieces do is in their own
//! files.

use std::collections::BTreeMap;
use std::time::Instant;

use wasmtime_wasi::p1::WasiP1Ctx;

use crate::blocks::Blocks;
use crate::directories::Directories;
use crate::engine::TICK;
use crate::fault::Fault;
use crate::http::HttpSession;
use crate::instance_options::InstanceOptions;
use crate::limits::{GrowthMeter, InstanceLimits};
use crate::log::Log;
use crate::vars::Vars;

/// The host's side of one instance.
pub(crate) struct InstanceState<T> {
    /// The embedder's own, and all that its host functions see. None while the state is lent.
    data: Option<T>,
    limits: InstanceLimits,

    // For the life of the plug-in.
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) vars: Vars,
    pub(crate) log: Log,
    pub(crate) http: HttpSession,
    /// Rest of [`InstanceLimits::fuel`].
    pub(crate) fuel_left: u64,
    directories: Directories,
    /// Bytes written to files.
    written: u64,

    // For the life of the wasm instance.
    pub(crate) growth: GrowthMeter,
    pub(crate) wasi: WasiP1Ctx,
    /// Number of descriptors that are open in it.
    pub(crate) descriptors: usize,

    // For one call.
    pub(crate) blocks: Blocks,
    /// Offset of the input block; 0 for an empty input.
    pub(crate) input: u64,
    /// Number of calls of each function of the host.
    pub(crate) host_calls: BTreeMap<&'static str, u64>,
    /// Time at which the call has to be over.
    pub(crate) deadline: Option<Instant>,
    /// Time at which a host function last let others run.
    paused: Instant,
}

impl<T> InstanceState<T> {
    /// A state without data is one that nothing runs with.
    pub(crate) fn new(data: Option<T>, options: InstanceOptions) -> Self {
        let InstanceOptions { limits, config, log, http, directories } = options;
        Self {
            data,
            config,
            vars: Vars::new(&limits),
            log: Log::new(log, &limits),
            http: HttpSession::new(http, &limits),
            fuel_left: limits.fuel,
            growth: GrowthMeter::new(&limits),
            wasi: directories.wasi(),
            descriptors: directories.descriptors(),
            directories,
            written: 0,
            blocks: Blocks::new(limits.blocks, limits.memory_bytes),
            input: 0,
            host_calls: BTreeMap::new(),
            deadline: None,
            paused: Instant::now(),
            limits,
        }
    }

    #[expect(clippy::expect_used, reason = "nothing runs in a store whose state is lent")]
    pub(crate) fn data(&self) -> &T {
        self.data.as_ref().expect("the data of an instance")
    }

    #[expect(clippy::expect_used, reason = "nothing runs in a store whose state is lent")]
    pub(crate) fn data_mut(&mut self) -> &mut T {
        self.data.as_mut().expect("the data of an instance")
    }

    /// The data that host functions see, and the blocks of the call.
    #[expect(clippy::expect_used, reason = "nothing runs in a store whose state is lent")]
    pub(crate) fn data_and_blocks(&mut self) -> (&mut T, &mut Blocks) {
        (self.data.as_mut().expect("the data of an instance"), &mut self.blocks)
    }

    /// Takes the state for another store. It has to be put back before anything else runs here.
    pub(crate) fn lend(&mut self) -> Self {
        std::mem::replace(self, Self::new(None, InstanceOptions::standard()))
    }

    /// The state for a fresh wasm instance: all that belonged to the old one is gone.
    pub(crate) fn for_fresh_guest(mut self) -> Self {
        // A call whose future was dropped has not ended yet.
        self.end_call();
        self.growth = GrowthMeter::new(&self.limits);
        self.wasi = self.directories.wasi();
        self.descriptors = self.directories.descriptors();
        self
    }

    /// Fuel that all calls together may use.
    pub(crate) fn fuel_in_total(&self) -> u64 {
        self.limits.fuel
    }

    /// Counts bytes that were written to files, if there can be any: the standard streams swallow what is written.
    ///
    /// # Errors
    /// [`Fault::Limit`] over the ceiling.
    pub(crate) fn charge_written(&mut self, bytes: u64) -> Result<(), Fault> {
        if self.directories.is_empty() {
            return Ok(());
        }
        self.written = self.written.saturating_add(bytes);
        let (asked, allowed) = (self.written, self.limits.file_bytes);
        if asked > allowed {
            Err(Fault::Limit { which: "bytes written to files", asked, allowed })
        } else {
            Ok(())
        }
    }

    /// Counts a call of a function of the host.
    pub(crate) fn count_host_call(&mut self, function: &'static str) {
        *self.host_calls.entry(function).or_default() += 1;
    }

    /// True if the time of the call is over. Guests that compute are told at the engine's ticks; one that does
    /// nothing but call the host, without a loop, passes none.
    pub(crate) fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Lets others run, if they have waited for a tick: the one that ends this call among them.
    pub(crate) async fn yield_if_due(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.paused) >= TICK {
            tokio::task::yield_now().await;
            // Not `now`: the time that others took is over, and the next tick begins here.
            self.paused = Instant::now();
        }
    }

    /// Nothing is left of what ran before, and `input` is there to be read.
    ///
    /// # Errors
    /// [`Fault::Limit`] if the input is larger than Extism memory may be.
    pub(crate) fn begin_call(&mut self, input: &[u8]) -> Result<(), Fault> {
        self.blocks.clear();
        self.input = self.blocks.insert(input)?;
        Ok(())
    }

    /// Gives the memory of the call back, and returns what it has left.
    pub(crate) fn end_call(&mut self) -> EndedCall {
        self.log.end();
        self.http.end_call();
        // The error first: the output may take the block that both are in.
        let message = self.blocks.take_error().map(|text| String::from_utf8_lossy(&text).into_owned());
        let ended = EndedCall {
            output: self.blocks.take_output(),
            message,
            host_calls: std::mem::take(&mut self.host_calls),
            memory_bytes: self.growth.most_bytes(),
            block_bytes: self.blocks.take_most_bytes(),
        };
        // Not before its results and its most bytes were taken. An idle instance keeps no memory of its last call.
        self.blocks.clear();
        self.input = 0;
        ended
    }
}

/// Remains of a call that has ended: its output, and numbers for its report.
pub(crate) struct EndedCall {
    pub(crate) output: Vec<u8>,
    pub(crate) message: Option<String>,
    pub(crate) host_calls: BTreeMap<&'static str, u64>,
    pub(crate) memory_bytes: usize,
    pub(crate) block_bytes: usize,
}
