#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| countersign_fuzz::webhook("cloud-api", body));
