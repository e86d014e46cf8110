//! Password digests that are slow to brute-force: PBKDF2 with SHA-256, written as a PHC string.

use std::{fmt, num::NonZeroU32, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};

/// The number of iterations that OWASP recommends for this function.
const ROUNDS: u32 = 600_000;
/// Fewer iterations make guessing too fast; more would delay a login by seconds.
const ACCEPTED: std::ops::RangeInclusive<u32> = 100_000..=10_000_000;
const NAME: &str = "pbkdf2-sha256";
/// Shorter passwords can be guessed.
pub const MIN_PASSWORD_CHARS: usize = 12;
/// Far longer than any typed password. A password of this length fits into the login form in any encoding.
pub const MAX_PASSWORD_LEN: usize = 1024;

/// `$pbkdf2-sha256$i=<rounds>$<salt>$<digest>`, with salt and digest in base64 without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordDigest {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    digest: [u8; 32],
}

/// The text is not a digest that [`PasswordDigest`] supports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected $pbkdf2-sha256$i=<100000 to 10000000>$<salt>$<32 bytes>")]
pub struct InvalidDigest;

impl PasswordDigest {
    pub fn of(password: &str, salt: [u8; 16]) -> Self {
        let rounds = NonZeroU32::new(ROUNDS).expect("it is not zero");
        let mut digest = [0; 32];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut digest);
        Self { rounds, salt: salt.to_vec(), digest }
    }

    /// Compares in constant time, which takes some tenths of a second.
    pub fn is_of(&self, password: &str) -> bool {
        pbkdf2::verify(PBKDF2_HMAC_SHA256, self.rounds, &self.salt, password.as_bytes(), &self.digest).is_ok()
    }
}

impl fmt::Display for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, digest] = [&self.salt[..], &self.digest[..]].map(|bytes| STANDARD_NO_PAD.encode(bytes));
        write!(f, "${NAME}$i={}${salt}${digest}", self.rounds)
    }
}

/// Omits the digest, because guessing the password from it is slow but possible.
impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigest(•)")
    }
}

impl FromStr for PasswordDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('$').collect();
        let ["", NAME, rounds, salt, digest] = parts[..] else { return Err(InvalidDigest) };
        let rounds = rounds.strip_prefix("i=").and_then(|rounds| rounds.parse().ok());
        let rounds = rounds.filter(|rounds: &NonZeroU32| ACCEPTED.contains(&rounds.get())).ok_or(InvalidDigest)?;
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| InvalidDigest);
        let salt = decode(salt)?;
        let digest = decode(digest)?.try_into().map_err(|_| InvalidDigest)?;
        if !(8..=64).contains(&salt.len()) {
            return Err(InvalidDigest);
        }
        Ok(Self { rounds, salt, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_knows_its_password_and_no_other() {
        let digest = PasswordDigest::of("correct horse", [7; 16]);
        assert!(digest.is_of("correct horse") && !digest.is_of("correct horse ") && !digest.is_of(""));
        let read: PasswordDigest = digest.to_string().parse().unwrap();
        assert_eq!(read, digest);
        assert_ne!(PasswordDigest::of("correct horse", [8; 16]).to_string(), digest.to_string());
        assert_eq!(format!("{digest:?}"), "PasswordDigest(•)");
    }

    /// The second vector of RFC 7914, section 11.
    #[test]
    fn it_is_the_function_that_others_compute() {
        let rounds = NonZeroU32::new(80_000).unwrap();
        let mut out = [0; 64];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, b"NaCl", b"Password", &mut out);
        assert_eq!(out[..4], [0x4d, 0xdc, 0xd8, 0xf6]);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let good = PasswordDigest::of("x", [7; 16]).to_string();
        for bad in [
            "",
            "secret",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
            &good.replace("600000", "1000"),
            &good.replace("600000", "99999999"),
            &good[..good.len() - 4],
            &format!("{good}$"),
        ] {
            assert_eq!(bad.parse::<PasswordDigest>(), Err(InvalidDigest), "{bad}");
        }
    }
}
