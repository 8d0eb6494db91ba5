//! A module's code: from bytes of unknown origin to something validated and compiled. What it is linked with, and
//! what it may use while it runs, is decided elsewhere.

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use crate::engine::Engine;
use crate::load_error::LoadError;

/// First bytes of a core wasm module in binary form, and of a component.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Ceilings on a module, checked before it is compiled or before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Bytes of the binary.
    pub max_bytes: usize,
    /// Wall-clock time that compiling may take. A compiler cannot be interrupted: past this time the
    /// caller gets its error, and the work goes on, on a thread that nobody waits for.
    pub compile_time: Duration,
    /// Pages of 64 KiB that its memory may have from the start.
    pub max_initial_pages: u64,
    /// Elements that one of its tables may have from the start.
    pub max_initial_table_elements: u64,
}

impl ModuleLimits {
    /// 32 MiB of binary, compiled within a minute; 4096 pages (256 MiB) of initial memory, 131,072 initial elements of
    /// a table.
    pub const fn standard() -> Self {
        Self {
            max_bytes: 32 * 1024 * 1024,
            compile_time: Duration::from_secs(60),
            max_initial_pages: 4096,
            max_initial_table_elements: 131_072,
        }
    }
}

/// Validated and compiled code of one module. Clones are cheap and share it.
#[derive(Clone)]
pub struct Code {
    module: wasmtime::Module,
}

impl Code {
    /// Validates a module without compiling it, in time and memory in proportion to its bytes.
    ///
    /// # Errors
    /// The bytes are not a core module in binary form, are too many, or use a wasm feature that is off.
    pub fn check(engine: &Engine, wasm: &[u8], limits: &ModuleLimits) -> Result<(), LoadError> {
        check_form(wasm, limits)?;
        wasmtime::Module::validate(engine.wasmtime(), wasm)
            .map_err(|error| LoadError::Invalid { message: format!("{error:#}") })
    }

    /// Validates and compiles a module. This blocks, for up to [`ModuleLimits::compile_time`].
    ///
    /// Time and memory are not in proportion to the module: there are modules of 20 KB that keep the compiler busy for
    /// minutes and take gigabytes. Who compiles what strangers have written does it in a process of its own with a
    /// limit on its memory, ends that process when its time is over, and hands the result on with [`Code::serialize`].
    ///
    /// # Errors
    /// The bytes are not a core module in binary form, break a limit, or use a wasm feature that is off.
    pub fn compile(engine: &Engine, wasm: &[u8], limits: &ModuleLimits) -> Result<Self, LoadError> {
        check_form(wasm, limits)?;
        let module = within(limits.compile_time, {
            let (engine, wasm) = (engine.wasmtime().clone(), wasm.to_vec());
            move || wasmtime::Module::from_binary(&engine, &wasm)
        })?
        .map_err(|error| LoadError::Invalid { message: format!("{error:#}") })?;
        Self::checked(module, limits)
    }

    /// The compiled code, to be kept where nobody else can write, under the digest of the module's bytes and
    /// [`Engine::fingerprint`]. See [`Code::load_precompiled`].
    ///
    /// # Errors
    /// [`LoadError::Engine`] if the engine cannot.
    pub fn serialize(&self) -> Result<Vec<u8>, LoadError> {
        self.module.serialize().map_err(|error| LoadError::Engine { message: format!("{error:#}") })
    }

    /// Code whose module starts within the ceilings.
    pub(crate) fn checked(module: wasmtime::Module, limits: &ModuleLimits) -> Result<Self, LoadError> {
        let needs = module.resources_required();
        let pages = needs.max_initial_memory_size.unwrap_or(0);
        if pages > limits.max_initial_pages {
            return Err(LoadError::InitialMemory { pages, allowed: limits.max_initial_pages });
        }
        let elements = needs.max_initial_table_size.unwrap_or(0);
        if elements > limits.max_initial_table_elements {
            return Err(LoadError::InitialTable { elements, allowed: limits.max_initial_table_elements });
        }
        Ok(Self { module })
    }

    pub(crate) fn module(&self) -> &wasmtime::Module {
        &self.module
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Code").field("name", &self.module.name()).finish_non_exhaustive()
    }
}

/// Looks at no more than the size and the first bytes.
fn check_form(wasm: &[u8], limits: &ModuleLimits) -> Result<(), LoadError> {
    if wasm.len() > limits.max_bytes {
        return Err(LoadError::TooLarge { bytes: wasm.len(), allowed: limits.max_bytes });
    }
    if wasm.starts_with(COMPONENT) {
        return Err(LoadError::Component);
    }
    if !wasm.starts_with(CORE_MODULE) {
        return Err(LoadError::NotWasm);
    }
    Ok(())
}

/// Runs `work` on a thread of its own, and waits for it no longer than `time`.
fn within<R: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, LoadError> {
    let (send, receive) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("hm-abi compile".to_owned())
        .spawn(move || {
            // Nobody is waiting any more when this fails.
            let _ = send.send(work());
        })
        .map_err(|error| LoadError::Engine { message: format!("no thread to compile on: {error}") })?;
    match receive.recv_timeout(time) {
        Ok(result) => Ok(result),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(LoadError::CompileTime { allowed: time }),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(LoadError::Engine { message: "the compiler gave up".to_owned() })
        }
    }
}
