//! Ceilings on what one instance holds, and the meter of memories and tables that the engine asks.
//! Fuel and deadlines belong to calls, module size to loading.

use wasmtime::ResourceLimiter;

use crate::fault::Fault;

/// Size of a wasm page in bytes.
const PAGE_BYTES: usize = 64 * 1024;

/// Ceilings on one instance. All are on totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Pages of 64 KiB over all linear memories. `memory.grow` beyond answers -1.
    pub memory_pages: usize,
    /// Elements over all tables. `table.grow` beyond answers -1.
    pub table_elements: usize,
    /// Wasm instances that live, one for each module, and those that one call makes of linked commands. Each holds some
    /// bytes for every import, function and global of its module, up to 16 MiB, beside what it counts for elsewhere.
    /// Those of a command are gone after its call, unless it imports from other linked modules or takes or returns
    /// references: then they live as long as the plug-in's own.
    pub instances: usize,
    /// Bytes of Extism memory that are live at one time, the input among them.
    pub memory_bytes: usize,
    /// Blocks of Extism memory that are live at one time.
    pub blocks: usize,
    /// Bytes of all variables: for each, its key, its value and 48.
    pub var_bytes: usize,
    /// Number of variables that exist at one time.
    pub vars: usize,
    /// Fuel for all calls together.
    pub fuel: u64,
    /// Lines a call may log. What is beyond is counted and dropped.
    pub log_lines: usize,
    /// Bytes a call may log. Lines that do not fit are counted and dropped.
    pub log_bytes: usize,
    /// HTTP requests a call may make. The redirects that one follows are not counted.
    pub http_requests: usize,
    /// Bytes of all bodies of HTTP responses in a call.
    pub http_bytes: usize,
    /// Bytes of the body of one HTTP response, as sent and decoded.
    pub http_body_bytes: usize,
    /// Bytes of status line and headers of one HTTP response.
    pub http_header_bytes: usize,
    /// Bytes written to files, in all calls together.
    pub file_bytes: u64,
}

impl InstanceLimits {
    /// 256 MiB of linear memory, 131,072 table elements, 100 wasm instances, 128 MiB in 65,536 blocks of Extism
    /// memory, 1 MiB in 1024 variables, 10^13 units of fuel, 1 GiB written to files; for each call 1 MiB in 10,000
    /// lines of log and 100 HTTP requests, for each response 50 MiB of body and 64 KiB of headers.
    pub const fn standard() -> Self {
        Self {
            memory_pages: 4096,
            table_elements: 131_072,
            instances: 100,
            memory_bytes: 128 * 1024 * 1024,
            blocks: 65_536,
            var_bytes: 1024 * 1024,
            vars: 1024,
            fuel: 10_000_000_000_000,
            log_lines: 10_000,
            log_bytes: 1024 * 1024,
            http_requests: 100,
            http_bytes: 256 * 1024 * 1024,
            http_body_bytes: 50 * 1024 * 1024,
            http_header_bytes: 64 * 1024,
            file_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// Counts what the memories and tables of one instance hold.
pub(crate) struct GrowthMeter {
    memory_bytes: Total,
    table_elements: Total,
    /// Those that live, and those that the running call has made of commands.
    instances: Total,
    /// Wasm instances that live until the plug-in's own are gone.
    lasting: usize,
    /// The most bytes of linear memory at one time in the running call.
    most_bytes: usize,
    /// The last request that was turned down: why an instance could not be made.
    refused: Option<Fault>,
}

/// Bytes of memories and elements of tables at some time.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    memory_bytes: usize,
    table_elements: usize,
}

struct Total {
    which: &'static str,
    used: usize,
    allowed: usize,
}

impl Total {
    /// Charges the growth of one memory or table, whose own maximum it may have; or says no, and why if it is for the
    /// total.
    ///
    /// A growth that fails later for lack of machine memory stays charged: giving it back would need to know
    /// which one failed, and the engine does not say.
    fn charge(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        refused: &mut Option<Fault>,
    ) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let asked = self.used.saturating_add(desired.saturating_sub(current));
        if asked > self.allowed {
            *refused = Some(Fault::limit(self.which, asked, self.allowed));
            return false;
        }
        self.used = asked;
        true
    }
}

impl GrowthMeter {
    pub(crate) fn new(limits: &InstanceLimits) -> Self {
        let total = |which, allowed| Total { which, used: 0, allowed };
        Self {
            memory_bytes: total("bytes of linear memory", limits.memory_pages.saturating_mul(PAGE_BYTES)),
            table_elements: total("table elements", limits.table_elements),
            instances: total("wasm instances", limits.instances),
            lasting: 0,
            most_bytes: 0,
            refused: None,
        }
    }

    /// Commands that earlier calls have started count no more.
    pub(crate) fn begin_call(&mut self) {
        self.instances.used = self.lasting;
        self.most_bytes = self.memory_bytes.used;
    }

    /// Memories and tables that there are now.
    pub(crate) fn held(&self) -> Held {
        Held { memory_bytes: self.memory_bytes.used, table_elements: self.table_elements.used }
    }

    /// All memories and tables are gone that were made since.
    pub(crate) fn give_back(&mut self, since: Held) {
        self.memory_bytes.used = since.memory_bytes;
        self.table_elements.used = since.table_elements;
    }

    /// Counts one more wasm instance, which lives on after the call or does not.
    ///
    /// # Errors
    /// [`Fault::Limit`] over the ceiling.
    pub(crate) fn count_instance(&mut self, lasting: bool) -> Result<(), Fault> {
        let mut refused = None;
        self.instances.charge(0, 1, None, &mut refused);
        if let Some(refused) = refused {
            return Err(refused);
        }
        self.lasting += usize::from(lasting);
        Ok(())
    }

    /// The most bytes of all linear memories at one time in the call.
    pub(crate) fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    pub(crate) fn take_refused(&mut self) -> Option<Fault> {
        self.refused.take()
    }
}

impl ResourceLimiter for GrowthMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grows = self.memory_bytes.charge(current, desired, maximum, &mut self.refused);
        self.most_bytes = self.most_bytes.max(self.memory_bytes.used);
        Ok(grows)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table_elements.charge(current, desired, maximum, &mut self.refused))
    }
}
