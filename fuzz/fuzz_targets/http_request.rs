//! Any bytes as the JSON of an HTTP request.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::http_request(data));
