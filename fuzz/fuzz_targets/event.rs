//! Any bytes as each of the wire types.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::event(data));
