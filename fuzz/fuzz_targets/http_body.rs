//! A body over plain HTTP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| opamp_operator_fuzz::http_body(data));
