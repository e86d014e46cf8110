//! Samples that verify the signature of a callback.

use super::samples::Sample;

/// One function per language, which verifies the raw body.
pub fn samples() -> [Sample; 5] {
    let sample = |language, label, source: &str| Sample { language, label, source: source.to_owned() };
    [
        sample("javascript", "Node", include_str!("../../../templates/docs/verify/node.mjs")),
        sample("python", "Python", include_str!("../../../templates/docs/verify/python.py")),
        sample("php", "PHP", include_str!("../../../templates/docs/verify/php.php")),
        sample("go", "Go", include_str!("../../../templates/docs/verify/go.go")),
        sample("rust", "Rust", include_str!("../../../templates/docs/verify/rust.rs")),
    ]
}
