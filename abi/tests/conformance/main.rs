//! Hand-written guests, at least one for each rule of the ABI. Each file is one chapter; `guest` says how a
//! guest is written down and run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "where these fail, a test fails")]

mod config_vars_log;
mod guest;
mod host_functions;
mod interruption;
mod life_cycle;
mod limits;
mod linking;
mod loading;
mod memory;
mod reports;
mod results;
mod wasi;
