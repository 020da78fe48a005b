//! Messages of agents, over sockets and polls.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| opamp_operator_fuzz::message(data));
