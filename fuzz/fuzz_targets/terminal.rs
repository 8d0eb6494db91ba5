//! Any bytes on their way to a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::terminal(data));
