//! The error that host code raises to end a call. It travels through the wasm stack inside a
//! [`wasmtime::Error`] and comes out as a [`CallError`](crate::CallError).

use std::error::Error;

/// The end of a call, as decided by host code that the guest had called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The guest broke a rule of the ABI; reads as a trap.
    #[error("{0}")]
    Misuse(String),
    /// The guest ended itself with `proc_exit`.
    #[error("exit with code {0}")]
    Exit(i32),
    #[error("out of fuel")]
    OutOfFuel,
    #[error("out of time")]
    TimedOut,
    #[error("{which}: {asked} asked, {allowed} allowed")]
    Limit { which: &'static str, asked: u64, allowed: u64 },
    #[error("denied: {capability}")]
    Denied { capability: String },
    #[error("host function `{function}` failed")]
    Host {
        function: String,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Fault {
    /// More of `which` was asked for than is allowed.
    pub(crate) fn limit(which: &'static str, asked: usize, allowed: usize) -> Self {
        let number = |size: usize| size.try_into().unwrap_or(u64::MAX);
        Self::Limit { which, asked: number(asked), allowed: number(allowed) }
    }

    /// The guest handed `function` an offset at which no live block starts.
    pub(crate) fn bad_offset(function: &str, offset: u64) -> Self {
        Self::Misuse(format!("`{function}` was given offset {offset}, where no block starts"))
    }
}
