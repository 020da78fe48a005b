//! A stream of WebSocket frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| opamp_operator_fuzz::frame(data));
