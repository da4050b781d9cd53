#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway_tests::fuzz::v1_zlib(data));
