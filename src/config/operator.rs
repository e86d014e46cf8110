//! What opens the operator's page.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{faults::Faults, section::Section};
use crate::domain::{
    keys::sha256,
    password::{LONGEST, PasswordDigest, SHORTEST},
};

/// The password of the operator's page: a digest, or a file's content.
#[derive(Clone)]
pub enum Password {
    Digest(PasswordDigest),
    Plain(SecretString),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(•)")
    }
}

impl Password {
    pub(super) fn read(s: &mut Section, faults: &mut Faults) -> Option<Self> {
        let written_out = s.has("operator_password");
        let secret = s.secret("operator_password", faults)?;
        let text = secret.expose_secret();
        if text.starts_with('$') {
            return match text.parse() {
                Ok(digest) => Some(Self::Digest(digest)),
                Err(error) => {
                    faults.add("operator_password", error.to_string());
                    None
                }
            };
        }
        if written_out {
            let problem = "expected a digest: `countersign hash-password` makes one; a password itself belongs into \
                           operator_password_file";
            faults.add("operator_password", problem);
            return None;
        }
        if text.chars().count() < SHORTEST {
            faults.add("operator_password_file", format!("holds a password of under {SHORTEST} characters"));
            return None;
        }
        if text.len() > LONGEST {
            faults.add("operator_password_file", format!("holds a password of over {LONGEST} bytes"));
            return None;
        }
        Some(Self::Plain(secret))
    }

    /// In constant time; with a digest, after some tenths of a second.
    pub fn is(&self, given: &str) -> bool {
        match self {
            Self::Digest(digest) => digest.is_of(given),
            Self::Plain(secret) => {
                sha256(secret.expose_secret().as_bytes())[..].ct_eq(&sha256(given.as_bytes())).into()
            }
        }
    }

    /// Changes with the password, and tells nothing about it to who does not hold the daemon's key.
    pub fn print(&self) -> [u8; 32] {
        match self {
            Self::Digest(digest) => sha256(digest.to_string().as_bytes()),
            Self::Plain(secret) => sha256(secret.expose_secret().as_bytes()),
        }
    }
}
