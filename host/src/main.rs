//! The `hm` program: a step's supervisor if it was started as one, else the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a supervisor must start fast and with one thread.
    match hm_host::backend::local::helper_main(std::env::args_os()) {
        Some(code) => code,
        None => hm_host::cli::main(),
    }
}
