//! The `hm` program: a step's supervisor or a compiler of modules if it was started as one, else the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a supervisor must start fast and with one thread.
    hm_step_sandbox::helper_main(std::env::args_os())
        .or_else(|| hm_host::plugin::compiler_main(std::env::args_os()))
        .unwrap_or_else(hm_host::cli::main)
}
