//! Any bytes as a document of pipelines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::pipeline(data));
