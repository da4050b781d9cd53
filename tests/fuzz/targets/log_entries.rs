#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway_tests::fuzz::log_entries(data));
