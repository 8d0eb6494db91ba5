//! Any text as a URL and a list of allowed hosts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hm_fuzz::allowed_hosts(data));
