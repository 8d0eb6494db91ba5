//! Hand-written guests, at least one for each rule of the ABI. Each file is one chapter; `guest` says how a
//! guest is written down and run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "where these fail, a test fails")]

mod amplification;
mod config_vars_log;
mod coverage;
mod debug;
mod directories;
mod features;
mod files;
mod fuel;
mod guest;
mod host_functions;
mod imports;
mod input_output;
mod interruption;
mod life_cycle;
mod limits;
mod linking;
mod loading;
mod memory;
mod pdks;
mod reports;
mod results;
mod straight;
mod wasi;
