//! Any bytes as a command that a plugin declares.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::args_schema(data));
