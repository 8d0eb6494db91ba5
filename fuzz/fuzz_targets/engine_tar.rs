//! Any bytes as what an engine hands out of a container.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::engine_tar(data));
