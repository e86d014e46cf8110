//! Detection of weak secrets: too short, following a pattern, or published.

use crate::domain::standard_webhooks;

/// In bytes. Shorter secrets can be guessed or were made up by hand.
const SHORTEST: usize = 24;

/// Defaults of gateways and samples from documentation that are long enough to be mistaken for a secret.
const PUBLISHED: &[&str] = &[
    "429683C4C977415CAAFCCE10F7D57E11",
    "B6D711FCDE4D4FD5936544120E713976",
    "00112233445566778899aabbccddeeff",
    "a-string-secret-at-least-256-bits-long",
    "replace_with_lengthy_secure_hex",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "your_32_byte_encryption_key_here",
    "your_global_hmac_key_here",
    "your_global_hmac_key_here_minimum_32_chars",
    "your-super-secret-jwt-token-with-at-least-32-characters-long",
];

/// Why a secret is weak; `None` if no weakness is found.
pub fn weakness(secret: &str) -> Option<&'static str> {
    if PUBLISHED.iter().any(|known| secret.to_ascii_lowercase().contains(&known.to_ascii_lowercase())) {
        return Some("is printed in a guide, where everybody can read it");
    }
    if let Some(key) = standard_webhooks::key(secret) {
        return weak_bytes(&key);
    }
    // The full value of a header has a scheme, or a user name, before the secret.
    let scheme =
        secret.split_once(' ').filter(|(word, _)| SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(word)));
    let secret = scheme.map_or(secret, |(_, rest)| rest);
    let password = secret.split_once(':').map_or("", |(_, password)| password);
    weak_bytes(secret.as_bytes()).or_else(|| pattern(password.as_bytes()))
}

const SCHEMES: &[&str] = &["basic", "bearer", "token"];

/// The same check for the bytes of a secret.
pub(super) fn weak_bytes(bytes: &[u8]) -> Option<&'static str> {
    if bytes.len() < SHORTEST { Some("has under 24 bytes") } else { pattern(bytes) }
}

/// Whether the bytes repeat a single unit, or form an arithmetic sequence such as an alphabet.
fn pattern(bytes: &[u8]) -> Option<&'static str> {
    let repeats = |unit: usize| bytes.iter().zip(&bytes[unit..]).all(|(left, right)| left == right);
    let steps = || bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let counts = || steps().zip(steps().skip(1)).all(|(left, right)| left == right);
    let follows = bytes.len() >= 4 && ((1..=bytes.len() / 2).any(repeats) || counts());
    follows.then_some("follows a pattern")
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;
    use crate::random;

    fn whsec(bytes: &[u8]) -> String {
        format!("whsec_{}", STANDARD.encode(bytes))
    }

    #[test]
    fn published_secrets_are_refused_because_they_are_published() {
        for known in PUBLISHED {
            let bytes = standard_webhooks::key(known).unwrap_or_else(|| known.as_bytes().to_vec());
            assert_eq!(weak_bytes(&bytes), None, "{known}: no other rule would refuse it");
            for spelt in
                [(*known).to_owned(), known.to_ascii_lowercase(), format!("Bearer {known}"), format!("me:{known}")]
            {
                assert!(weakness(&spelt).is_some_and(|why| why.contains("guide")), "{spelt}");
            }
        }
    }

    #[test]
    fn short_and_patterned_secrets_are_refused() {
        for weak in [
            String::new(),
            "secret".to_owned(),
            "x".repeat(23),
            "a".repeat(64),
            "changeme".repeat(3),
            "0123456789abcdef".repeat(2),
            "0123456789abcdef".repeat(2) + "01",
            "abcdefghijklmnopqrstuvwxyz".to_owned(),
            "Bearer 0123456789abcdef0123456789abcdef".to_owned(),
            format!("countersign:{}", "x1".repeat(20)),
            "Bearer of-less-than-24-bytes".to_owned(),
            whsec(b"thirteen byte"),
            whsec(&[0; 32]),
            whsec(b"0123456789abcdef0123456789abcdef"),
        ] {
            assert!(weakness(&weak).is_some(), "{weak}");
        }
        assert!(weak_bytes(&[0; 32]).is_some() && weak_bytes(&[7; 32]).is_some());
        assert!(weak_bytes(&std::array::from_fn::<u8, 32, _>(|index| u8::try_from(index).unwrap())).is_some());
    }

    #[test]
    fn drawn_secrets_pass() {
        for _ in 0..1000 {
            let bytes = random::bytes::<32>();
            let hex = bytes.iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"));
            for secret in [whsec(&bytes), hex.clone(), format!("Bearer {hex}")] {
                assert_eq!(weakness(&secret), None, "{secret}");
            }
            assert_eq!(weak_bytes(&bytes), None);
        }
    }
}
