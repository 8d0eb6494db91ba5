//! Carries out one attack in this process, beside a harmless neighbour on the same engine and the same thread: a guest
//! that held the thread would starve the neighbour, one that broke the engine would break it.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hm_abi::{
    AllowedHosts, AllowedHostsClient, AllowedHostsError, CallError, CallLimits, Engine, EngineError,
    HostFunctions, Instance, InstanceLimits, InstanceOptions, LogLevel, LogSink, Module, ModuleLimits,
    TlsError, TlsRoots,
};
use hm_disk::one_line;
use parking_lot::Mutex;

use super::guests::{Guest, file};
use super::{Attack, CallEnd, Observation};
use crate::plugin::{CompileError, Compiler};

/// In inputs, the port of the listener that nobody may reach.
const PORT: &[u8] = b"{port}";

/// Largest number that the neighbour adds: some milliseconds of work, so that it is interrupted now and then.
const NUMBERS: u64 = 3_000_000;

/// Limits of one call of the neighbour. It is late only if somebody holds the thread.
const PATIENCE: CallLimits = CallLimits { fuel: 1_000_000_000, deadline: Duration::from_secs(5) };

/// Most of an error or an output that is told.
const MAX_TEXT: usize = 1000;

/// Error of an attack that cannot even begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttackError {
    /// An engine that cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The neighbour cannot be compiled.
    #[error("the neighbour cannot be compiled")]
    Neighbour(#[from] CompileError),
    /// The neighbour cannot be linked.
    #[error("the neighbour cannot be linked")]
    Link(#[from] hm_abi::LoadError),
    /// The system does not let us watch.
    #[error("no listener, or no look at our own memory")]
    Watch(#[from] io::Error),
    /// The table of attacks names a host that is none.
    #[error(transparent)]
    Hosts(#[from] AllowedHostsError),
    /// An HTTP client that cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Carries out an attack, and tells what was seen. `program` is this program, as [`Compiler::new`] wants it.
///
/// # Errors
/// [`AttackError`], if it could not begin.
pub(crate) async fn act(attack: &Attack, program: PathBuf) -> Result<Observation, AttackError> {
    let compiler = Compiler::new(Engine::new()?, program, None);
    let canary = TcpListener::bind("127.0.0.1:0")?;
    canary.set_nonblocking(true)?;
    let port = canary.local_addr()?.port().to_string();
    let log = Arc::new(Mutex::new(LogWatch::default()));
    let options = options(attack, &log)?;
    let neighbour = load(&compiler, &file("neighbour"), &[], &ModuleLimits::standard()).await??;

    let over = Cell::new(false);
    let attacker = async {
        let ends = assault(attack, &compiler, options, port.as_bytes()).await;
        over.set(true);
        ends
    };
    // In one task, so on one thread: tasks of their own could run beside each other, and neither would starve.
    let (ends, neighbour) = tokio::join!(attacker, live(&neighbour, &over));
    let connections = std::iter::from_fn(|| canary.accept().ok()).count();
    let log = log.lock().trouble.take();
    Ok(Observation { ends, neighbour: neighbour.err(), log, connections, memory: peak()? })
}

/// The limits that plugins have.
fn options(attack: &Attack, log: &Arc<Mutex<LogWatch>>) -> Result<InstanceOptions, AttackError> {
    let mut options = InstanceOptions { log: watching(log), ..InstanceOptions::standard() };
    if !attack.hosts.is_empty() {
        let client = AllowedHostsClient::new(AllowedHosts::parse(attack.hosts)?, TlsRoots::only([])?);
        options.http = Some(Arc::new(client));
    }
    Ok(options)
}

/// Loads the attacker and makes its calls.
async fn assault(
    attack: &Attack,
    compiler: &Compiler,
    options: InstanceOptions,
    port: &[u8],
) -> Vec<CallEnd> {
    let limits = ModuleLimits { compile_time: attack.compile_time, ..ModuleLimits::standard() };
    let module = match load(compiler, &attack.module, &attack.links, &limits).await {
        Ok(Ok(module)) => module,
        Ok(Err(error)) => return vec![CallEnd::new("load", &one_line(&error))],
        Err(error) => return vec![CallEnd::new("load", &one_line(&error))],
    };
    let mut instance = module.instance((), options);
    let limits = CallLimits { fuel: attack.fuel, deadline: attack.deadline };
    let mut ends = Vec::new();
    for call in &attack.calls {
        let input = replaced(&call.input, PORT, port);
        let cancel = instance.cancel_handle();
        let mut running = std::pin::pin!(instance.call(call.export, &input, &limits));
        let result = match attack.cancelled_after {
            None => running.await,
            Some(after) => {
                tokio::select! {
                    biased;
                    result = &mut running => result,
                    () = tokio::time::sleep(after) => {
                        cancel.cancel();
                        running.await
                    }
                }
            }
        };
        ends.push(match result {
            Ok(output) => CallEnd::new("ok", &String::from_utf8_lossy(&output)),
            Err(error) => CallEnd::new(error.kind(), &told(&error)),
        });
    }
    ends
}

async fn load(
    compiler: &Compiler,
    main: &Guest,
    links: &[(&'static str, Guest)],
    limits: &ModuleLimits,
) -> Result<Result<Module<()>, hm_abi::LoadError>, CompileError> {
    let mut others = Vec::new();
    for (name, guest) in links {
        others.push((*name, compiler.code(&guest(), limits).await?));
    }
    let main = compiler.code(&main(), limits).await?;
    Ok(Module::new(compiler.engine(), &main, &others, &HostFunctions::new()))
}

/// Calls the neighbour until the attack is over, and twice more: it must answer, and remember how often it was called.
async fn live(module: &Module<()>, over: &Cell<bool>) -> Result<(), String> {
    let mut neighbour = module.instance((), InstanceOptions::standard());
    let mut calls = 0;
    let mut afterwards = 0;
    while afterwards < 2 {
        afterwards += u32::from(over.get());
        calls += 1;
        check(&mut neighbour, calls).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// One call of the neighbour, of as many.
async fn check(neighbour: &mut Instance<()>, calls: u64) -> Result<(), String> {
    let answer = neighbour.call("work", &NUMBERS.to_le_bytes(), &PATIENCE).await;
    let answer = answer.map_err(|error: CallError| format!("call {calls}: {}", one_line(&error)))?;
    let sum = NUMBERS * (NUMBERS + 1) / 2;
    if answer == [sum.to_le_bytes(), calls.to_le_bytes()].concat() {
        Ok(())
    } else {
        Err(format!("call {calls}: a wrong answer: {answer:?}"))
    }
}

/// Lines that the guest logs, and the first thing that was wrong with them.
#[derive(Default)]
struct LogWatch {
    lines: usize,
    bytes: usize,
    trouble: Option<String>,
}

/// A sink that looks at each line as a terminal would.
fn watching(log: &Arc<Mutex<LogWatch>>) -> LogSink {
    let log = Arc::clone(log);
    let limits = InstanceLimits::standard();
    LogSink::new(LogLevel::Debug, move |_, line| {
        let mut log = log.lock();
        log.lines += 1;
        log.bytes += line.len();
        let dangerous = |c: char| {
            c != '\t' && (c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        };
        let trouble = if line.contains(dangerous) {
            Some(format!(
                "a line that a terminal would obey: {:?}",
                line.chars().take(80).collect::<String>()
            ))
        // A line more, for the notice; and what is escaped is longer.
        } else if log.lines > limits.log_lines + 1 || log.bytes > 16 * limits.log_bytes {
            Some(format!("{} lines, {} bytes", log.lines, log.bytes))
        } else {
            None
        };
        if log.trouble.is_none() {
            log.trouble = trouble;
        }
    })
}

/// An error of a call, and the guest's names for what was running.
fn told(error: &CallError) -> String {
    match error {
        CallError::Trap { backtrace, .. } => format!("{} in {}", one_line(error), backtrace.join(", ")),
        _ => one_line(error),
    }
}

impl CallEnd {
    fn new(kind: &str, text: &str) -> Self {
        Self { kind: kind.to_owned(), text: text.chars().take(MAX_TEXT).collect() }
    }
}

/// The bytes with every `old` as `new`.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(old) {
            out.extend(new);
            rest = after;
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}

/// The most memory that this process has had, in bytes.
fn peak() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes.saturating_mul(1024))
        .ok_or_else(|| io::Error::other("/proc/self/status does not say how much memory there was"))
}
