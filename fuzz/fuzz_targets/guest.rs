//! Any bytes as a whole guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::guest(data));
