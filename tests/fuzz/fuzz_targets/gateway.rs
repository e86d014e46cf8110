#![no_main]

use std::sync::LazyLock;

/// The gateway whose parser is fuzzed.
static KIND: LazyLock<String> =
    LazyLock::new(|| std::env::var("COUNTERSIGN_KIND").expect("COUNTERSIGN_KIND names a kind of gateway"));

libfuzzer_sys::fuzz_target!(|body: &[u8]| countersign_fuzz::webhook(&KIND, body));
