//! Any bytes as a script of host calls.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::host_calls(data));
