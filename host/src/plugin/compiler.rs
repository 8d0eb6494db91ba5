//! From the bytes of a module to code: out of the cache, or compiled in a process of its own. A module of 20 KB can
//! keep the compiler busy for minutes and make it take gigabytes; in a process it has limits, and ends with them.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hm_abi::{Code, Engine, ModuleLimits};
use hm_disk::sha256_hex;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::compiled::ModuleCache;
use super::precompiled::{self, MAX_ARTEFACT};

/// The argument that makes this program a compiler.
const COMPILER: &str = "__compile";

/// Address space of a compiler. A large honest module, such as a whole Python, takes less than half of it.
const MEMORY: u64 = 4 << 30;

/// Most of what a compiler says about a module that it refuses.
const MAX_MESSAGE: u64 = 64 * 1024;

/// Error of a module that there is no code for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// A module that the ABI does not take.
    #[error(transparent)]
    Module(#[from] hm_abi::LoadError),
    /// The compiler ran into its limits, or died of something else.
    #[error("the module could not be compiled in {} GiB of memory: the compiler ended with {status}", MEMORY >> 30)]
    Died { status: ExitStatus },
    /// A compiler that there is no talking to.
    #[error("the compiler cannot be run")]
    Process(#[source] io::Error),
}

/// Turns modules into code.
pub(crate) struct Compiler {
    engine: Engine,
    program: PathBuf,
    cache: Option<ModuleCache>,
}

impl Compiler {
    /// A compiler for `engine`, whose process is `program`: this program, or another whose `main` begins with
    /// [`compiler_main`]. Without a cache, each module is compiled each time.
    #[must_use]
    pub(crate) fn new(engine: Engine, program: PathBuf, cache: Option<ModuleCache>) -> Self {
        Self { engine, program, cache }
    }

    /// The engine that all code is for.
    #[must_use]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The code for these bytes.
    ///
    /// # Errors
    /// [`CompileError`]
    pub(crate) async fn code(&self, wasm: &[u8], limits: &ModuleLimits) -> Result<Code, CompileError> {
        let digest = sha256_hex(wasm);
        if let Some(cache) = &self.cache
            && let Some(code) = cache.get(&self.engine, &digest, limits)
        {
            tracing::debug!(target: "hm::plugin", digest, "compiled module from the cache");
            return Ok(code);
        }
        let started = Instant::now();
        Code::check(&self.engine, wasm, limits)?;
        let artefact = self.compile(wasm, limits.compile_time).await?;
        let code = precompiled::load(&self.engine, &artefact, limits)?;
        tracing::debug!(target: "hm::plugin", digest, took = ?started.elapsed(), "module compiled");
        if let Some(cache) = &self.cache {
            cache.put(&self.engine, &digest, &artefact);
        }
        Ok(code)
    }

    /// Compiles a module in a process of its own, which ends when this future is dropped.
    async fn compile(&self, wasm: &[u8], time: Duration) -> Result<Vec<u8>, CompileError> {
        let mut child = Command::new(&self.program)
            .arg(COMPILER)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Whoever presses Ctrl-C means us, and we end it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(CompileError::Process)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(CompileError::Process(io::Error::other("a pipe is missing")));
        };
        let (mut artefact, mut message) = (Vec::new(), Vec::new());
        // All three at once: a pipe holds 64 KiB, and a child that waits to write reads no more.
        let finished = async {
            let max_artefact = MAX_ARTEFACT.try_into().unwrap_or(u64::MAX);
            let (mut stdout, mut stderr) = (stdout.take(max_artefact), stderr.take(MAX_MESSAGE));
            let write = async {
                // A compiler that has died says more by how it ended than by what it did not read.
                let _ = stdin.write_all(wasm).await;
                drop(stdin);
            };
            let (_, read, said) =
                tokio::join!(write, stdout.read_to_end(&mut artefact), stderr.read_to_end(&mut message));
            read.and(said)?;
            child.wait().await
        };
        let status = match tokio::time::timeout(time, finished).await {
            Ok(finished) => finished.map_err(CompileError::Process)?,
            Err(_) => return Err(hm_abi::LoadError::CompileTime { allowed: time }.into()),
        };
        match status.code() {
            Some(0) => Ok(artefact),
            Some(REFUSED) => {
                let message = String::from_utf8_lossy(&message).trim_end().to_owned();
                Err(hm_abi::LoadError::Invalid { message }.into())
            }
            _ => Err(CompileError::Died { status }),
        }
    }
}

/// Exit code of a compiler that refuses a module, and says why on standard error.
const REFUSED: i32 = 3;

/// Acts as the compiler, if the arguments, the program's name first, say so: a module on standard input, its artefact
/// on standard output.
pub fn compiler_main(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<ExitCode> {
    (arguments.nth(1)? == COMPILER).then(|| match compile_standard_input() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Whoever does not read this sees the exit code.
            let _ = writeln!(io::stderr(), "{message}");
            ExitCode::from(u8::try_from(REFUSED).unwrap_or(1))
        }
    })
}

fn compile_standard_input() -> Result<(), String> {
    confine().map_err(|e| format!("no limits: {e}"))?;
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm).map_err(|e| format!("no module: {e}"))?;
    let engine = Engine::new().map_err(|e| e.to_string())?;
    // How a module starts is checked, and said better, by whoever loads the artefact.
    let limits = ModuleLimits {
        max_initial_pages: u64::MAX,
        max_initial_table_elements: u64::MAX,
        ..ModuleLimits::standard()
    };
    let artefact = Code::compile(&engine, &wasm, &limits)
        .and_then(|code| code.serialize())
        .map_err(|e| e.to_string())?;
    io::stdout().lock().write_all(&artefact).map_err(|e| format!("no way to answer: {e}"))
}

/// Gives this process little to break with, and the fate of whoever waits for it.
fn confine() -> io::Result<()> {
    // The kernel sends it when the thread that started us ends, which is one of the runtime's and ends with the
    // program.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Out of memory is a way for a compiler to end, and nobody wants gigabytes of core file of that.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    // Before the engine is made: it reserves address space of its own.
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) })?;
    Ok(())
}
