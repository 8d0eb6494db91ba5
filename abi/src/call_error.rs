//! How a call can fail, and telling one failure from another when the engine has ended it.

use std::error::Error;
use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::fault::Fault;

/// Why a call failed. `message`, where there is one, is what the guest had set as its error before.
///
/// After [`Guest`](Self::Guest), [`NoSuchExport`](Self::NoSuchExport) and
/// [`WrongSignature`](Self::WrongSignature) the instance goes on as it was; after all others the next call starts
/// in a fresh one. Texts that come from the guest may hold anything: escape them before a terminal sees them.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest says that it failed.
    #[error("{}", guest_text(*.code, .message.as_deref()))]
    Guest {
        /// What it returned, or -1 if that was 0 and a message tells of the failure. Never 0.
        code: i32,
        /// The error it set.
        message: Option<String>,
    },
    /// The guest broke a rule of wasm or of the ABI.
    #[error("trap: {reason}{}", beside(.message.as_deref()))]
    Trap {
        /// Which rule.
        reason: String,
        /// The error it had set.
        message: Option<String>,
        /// The guest's functions that were running, innermost first.
        backtrace: Vec<String>,
    },
    /// The guest ended itself, with a code that is not 0.
    #[error("exit with code {code}{}", beside(.message.as_deref()))]
    Exit {
        /// The code.
        code: i32,
        /// The error it had set.
        message: Option<String>,
    },
    /// The call's fuel is used up.
    #[error("the call used up its {allowed} units of fuel{}", beside(.message.as_deref()))]
    OutOfFuel {
        /// The fuel it had.
        allowed: u64,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// The call's time is over.
    #[error("the call took longer than {deadline:?}{}", beside(.message.as_deref()))]
    TimedOut {
        /// The time it had.
        deadline: Duration,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// A limit of the instance, or of the embedder, was reached.
    #[error("limit on {which}: {asked} asked, {allowed} allowed{}", beside(.message.as_deref()))]
    Limit {
        /// What is limited.
        which: &'static str,
        /// How much there would have been.
        asked: u64,
        /// How much there may be.
        allowed: u64,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// The guest did what it has no permission for.
    #[error("`{capability}` is denied{}", beside(.message.as_deref()))]
    Denied {
        /// What it lacks.
        capability: String,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// A host function failed.
    #[error("host function `{function}` failed{}", beside(.message.as_deref()))]
    Host {
        /// Its name.
        function: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// There is no exported function of this name.
    #[error("the plug-in has no function `{name}`")]
    NoSuchExport {
        /// The name.
        name: String,
    },
    /// The function has parameters, or results other than one i32.
    #[error(
        "the plug-in's function `{name}` has type `{found}`, but must take nothing and return at most an i32"
    )]
    WrongSignature {
        /// Its name.
        name: String,
        /// Its type in wasm.
        found: String,
    },
    /// The engine failed for a reason that is not the guest's, such as a lack of memory.
    #[error("the wasm engine failed: {message}")]
    Engine {
        /// What the engine says.
        message: String,
    },
}

impl CallError {
    /// The error that ended a call of the guest which had `fuel` to use and had set `message`.
    pub(crate) fn of(error: wasmtime::Error, fuel: u64, message: Option<String>) -> Self {
        let backtrace = backtrace_of(&error);
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return match trap {
                Trap::OutOfFuel => Self::OutOfFuel { allowed: fuel, message },
                other => Self::Trap { reason: reason_of(*other), message, backtrace },
            };
        }
        match error.downcast::<Fault>() {
            Ok(Fault::Misuse(reason)) => Self::Trap { reason, message, backtrace },
            Ok(Fault::Exit(code)) => Self::Exit { code, message },
            Ok(Fault::OutOfFuel) => Self::OutOfFuel { allowed: fuel, message },
            Ok(Fault::Limit { which, asked, allowed }) => Self::Limit { which, asked, allowed, message },
            Ok(Fault::Denied { capability }) => Self::Denied { capability, message },
            Ok(Fault::Host { function, source }) => Self::Host { function, source, message },
            // Errors of WASI functions over broken arguments have no type of their own.
            Err(other) if !backtrace.is_empty() => {
                Self::Trap { reason: other.root_cause().to_string(), message, backtrace }
            }
            Err(other) => Self::Engine { message: format!("{other:#}") },
        }
    }
}

/// The trap in the engine's words, without the prefix that says it is one.
fn reason_of(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").map_or(text.clone(), str::to_owned)
}

fn backtrace_of(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let frame_number =
        |line: &str| line.split_once(':').is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    backtrace
        .to_string()
        .lines()
        .map(str::trim)
        .filter(|line| frame_number(line))
        .map(str::to_owned)
        .collect()
}

fn guest_text(code: i32, message: Option<&str>) -> String {
    message.map_or_else(|| format!("the plug-in returned code {code}"), str::to_owned)
}

fn beside(message: Option<&str>) -> String {
    message.map(|message| format!(" (the plug-in's own message: {message})")).unwrap_or_default()
}
