//! Failures of a call, and telling one from another when the engine has ended it.

use std::error::Error;
use std::fmt::{self, Write};
use std::time::Duration;

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::fault::Fault;

/// Most bytes of a name in a backtrace.
const MAX_NAME_BYTES: usize = 256;

/// Failure of a call. `message`, where there is one, is the error that the guest had set before.
///
/// After [`Guest`](Self::Guest), [`NoSuchExport`](Self::NoSuchExport) and
/// [`WrongSignature`](Self::WrongSignature) the instance goes on as it was; after all others the next call starts
/// in a fresh one. Texts that come from the guest may hold anything: escape them before a terminal sees them.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest says that it failed.
    #[error("{}", guest_text(*.code, .message.as_deref()))]
    Guest {
        /// Code that it returned, or -1 if that was 0 and a message tells of the failure. Never 0.
        code: i32,
        /// The error it set.
        message: Option<String>,
    },
    /// The guest broke a rule of wasm or of the ABI.
    #[error("trap: {reason}{}", after_reason(.message.as_deref()))]
    Trap {
        /// The broken rule, in words.
        reason: String,
        /// The error it had set.
        message: Option<String>,
        /// The guest's functions that were running, innermost first.
        backtrace: Vec<String>,
    },
    /// The guest ended itself, with a code that is not 0.
    #[error("exit with code {code}{}", after_reason(.message.as_deref()))]
    Exit {
        /// Exit code, never 0.
        code: i32,
        /// The error it had set.
        message: Option<String>,
    },
    /// The call's fuel is used up.
    #[error("the call used up its {allowed} units of fuel{}", after_reason(.message.as_deref()))]
    OutOfFuel {
        /// The fuel it had.
        allowed: u64,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// The call's time is over.
    #[error("the call took longer than {deadline:?}{}", after_reason(.message.as_deref()))]
    TimedOut {
        /// The time it had.
        deadline: Duration,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// Whoever made the call has ended it.
    #[error("the call was cancelled{}", after_reason(.message.as_deref()))]
    Cancelled {
        /// The error the guest had set.
        message: Option<String>,
    },
    /// A limit of the instance, or of the embedder, was reached.
    #[error("limit on {which}: {asked} asked, {allowed} allowed{}", after_reason(.message.as_deref()))]
    Limit {
        /// Name of the limited quantity.
        which: &'static str,
        /// Amount there would have been.
        asked: u64,
        /// Amount there may be.
        allowed: u64,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// The guest did what it has no permission for.
    #[error("denied: {capability}{}", after_reason(.message.as_deref()))]
    Denied {
        /// Permission that it lacks.
        capability: String,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// A host function failed.
    #[error("host function `{function}` failed{}", after_reason(.message.as_deref()))]
    Host {
        /// Import name of the host function.
        function: String,
        /// Error of the host function.
        source: Box<dyn Error + Send + Sync>,
        /// The error the guest had set.
        message: Option<String>,
    },
    /// There is no exported function of this name.
    #[error("the plug-in has no function `{name}`")]
    NoSuchExport {
        /// Name that was called.
        name: String,
    },
    /// The function has parameters, or results other than one i32.
    #[error(
        "the plug-in's function `{name}` has type `{found}`, but must take nothing and return at most an i32"
    )]
    WrongSignature {
        /// Name of the export that was called.
        name: String,
        /// Its type in wasm.
        found: String,
    },
    /// The engine failed for a reason that is not the guest's, such as a lack of memory.
    #[error("the wasm engine failed: {message}")]
    Engine {
        /// Message of the engine.
        message: String,
    },
}

impl CallError {
    /// The error that the guest had set, to be changed before it is shown.
    pub fn message_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Guest { message, .. }
            | Self::Trap { message, .. }
            | Self::Exit { message, .. }
            | Self::OutOfFuel { message, .. }
            | Self::TimedOut { message, .. }
            | Self::Cancelled { message }
            | Self::Limit { message, .. }
            | Self::Denied { message, .. }
            | Self::Host { message, .. } => message.as_mut(),
            Self::NoSuchExport { .. } | Self::WrongSignature { .. } | Self::Engine { .. } => None,
        }
    }

    /// Kind of the failure, in one word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Guest { .. } => "guest",
            Self::Trap { .. } => "trap",
            Self::Exit { .. } => "exit",
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::TimedOut { .. } => "timed-out",
            Self::Cancelled { .. } => "cancelled",
            Self::Limit { .. } => "limit",
            Self::Denied { .. } => "denied",
            Self::Host { .. } => "host-function",
            Self::NoSuchExport { .. } => "no-such-export",
            Self::WrongSignature { .. } => "wrong-signature",
            Self::Engine { .. } => "engine",
        }
    }

    /// The error that ended a call of the guest, with the fuel it had and the message it had set.
    pub(crate) fn of(error: wasmtime::Error, budget: &Budget, message: Option<String>) -> Self {
        let backtrace = backtrace_of(&error);
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return match trap {
                Trap::OutOfFuel => budget.used_up(message),
                other => Self::Trap { reason: reason_of(*other), message, backtrace },
            };
        }
        match error.downcast::<Fault>() {
            Ok(Fault::Misuse(reason)) => Self::Trap { reason, message, backtrace },
            Ok(Fault::Exit(code)) => Self::Exit { code, message },
            Ok(Fault::OutOfFuel) => budget.used_up(message),
            Ok(Fault::TimedOut) => Self::TimedOut { deadline: budget.deadline, message },
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

/// Fuel and time of one call.
pub(crate) struct Budget {
    /// The fuel that the caller allowed.
    pub(crate) fuel: u64,
    /// The fuel there was: less, if the instance's own is running low.
    pub(crate) had: u64,
    /// The fuel that all calls of the instance together may use.
    pub(crate) in_total: u64,
    /// Wall-clock time that the call may take.
    pub(crate) deadline: Duration,
}

impl Budget {
    fn used_up(&self, message: Option<String>) -> CallError {
        if self.had == self.fuel {
            return CallError::OutOfFuel { allowed: self.fuel, message };
        }
        let asked = self.in_total.saturating_sub(self.had).saturating_add(self.fuel);
        CallError::Limit { which: "units of fuel in total", asked, allowed: self.in_total, message }
    }
}

/// The trap in the engine's words, without the prefix that says it is one.
fn reason_of(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").map_or(text.clone(), str::to_owned)
}

fn backtrace_of(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace.frames().iter().map(frame_text).collect()
}

/// A frame as the name of its function, where the module has names, else its number.
fn frame_text(frame: &FrameInfo) -> String {
    let Some(name) = frame.func_name() else { return format!("function {}", frame.func_index()) };
    let mut text = CutText(String::new());
    // The demangler stops where no more is taken: names can be made to unfold without end.
    if write!(text, "{:#}", rustc_demangle::demangle(name)).is_err() {
        text.0.push('…');
    }
    text.0
}

/// The first [`MAX_NAME_BYTES`] of what is written.
struct CutText(String);

impl fmt::Write for CutText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_NAME_BYTES - self.0.len();
        let end = text.floor_char_boundary(room.min(text.len()));
        self.0.push_str(&text[..end]);
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

fn guest_text(code: i32, message: Option<&str>) -> String {
    message.map_or_else(|| format!("the plug-in returned code {code}"), str::to_owned)
}

fn after_reason(message: Option<&str>) -> String {
    message.map(|message| format!(" (the plug-in's own message: {message})")).unwrap_or_default()
}
