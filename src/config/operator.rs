//! The operators who may use the operator page, and the host names of its listener.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::hash::sha256;
use crate::{
    config::password::{MAX_PASSWORD_LEN, MIN_PASSWORD_CHARS, PasswordDigest},
    reader::Reader,
};

/// A password, either as a digest or in plain text from a file.
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

/// A person who may use the operator page.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Appears in the log, in timelines and in the audit stream.
    pub name: String,
    pub password: Password,
}

/// Access to the operator page and its listener.
#[derive(Clone, Default, Debug)]
pub struct OperatorAccess {
    /// Empty: there is no operator page.
    pub operators: Vec<Operator>,
    /// Host names of the listener, besides IP addresses and names that cannot be registered publicly.
    pub hosts: Vec<String>,
}

/// The name of the operator who logs in with `operator_password`.
pub const UNNAMED: &str = "operator";

impl OperatorAccess {
    pub(super) fn read(s: &mut Reader<'_>) -> Self {
        let alone = Password::read(s, "operator_password");
        let mut names: Vec<String> = Vec::new();
        let operators = s.tables("operator", |one| {
            let name =
                one.required_text("name", "who it is, as the log and the audit stream name him").unwrap_or_default();
            if !name.is_empty() && !super::token::is_id(&name) {
                one.fault("name", "expected 1 to 32 letters, digits, dots, dashes and underscores");
            }
            if names.contains(&name) {
                one.fault("name", format!("{name:?} occurs twice"));
            }
            names.push(name.clone());
            if !one.has("password") && !one.has("password_file") {
                one.fault("password", "is missing: a digest, which `countersign hash-password` makes");
            }
            let password = Password::read(one, "password");
            password.map(|password| Operator { name, password })
        });
        let mut operators: Vec<Operator> = operators.into_iter().flatten().collect();
        if let Some(password) = alone {
            if !operators.is_empty() {
                s.fault("operator_password", "is given together with [[operator]]: give this one a name there");
            }
            operators.push(Operator { name: UNNAMED.to_owned(), password });
        }
        let mut hosts = s.texts("operator_hosts");
        for host in &mut hosts {
            host.make_ascii_lowercase();
            if host.contains(['/', ':', ' ', '*']) {
                s.fault("operator_hosts", format!("expected a name such as ops.example.org, not {host:?}"));
            }
        }
        Self { operators, hosts }
    }

    pub fn operator(&self, name: &str) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.name == name)
    }
}

impl Password {
    /// Reads the password under `name`, or in the file under `name_file`.
    fn read(s: &mut Reader<'_>, name: &str) -> Option<Self> {
        let written_out = s.has(name);
        let secret = s.secret(name)?;
        let text = secret.expose_secret();
        if text.starts_with('$') {
            return match text.parse() {
                Ok(digest) => Some(Self::Digest(digest)),
                Err(error) => {
                    s.fault(name, error.to_string());
                    None
                }
            };
        }
        let file = format!("{name}_file");
        if written_out {
            let problem = format!(
                "expected a digest: `countersign hash-password` makes one; a password itself belongs into {name}_file"
            );
            s.fault(name, problem);
            return None;
        }
        if text.chars().count() < MIN_PASSWORD_CHARS {
            s.fault(&file, format!("holds a password of under {MIN_PASSWORD_CHARS} characters"));
            return None;
        }
        if text.len() > MAX_PASSWORD_LEN {
            s.fault(&file, format!("holds a password of over {MAX_PASSWORD_LEN} bytes"));
            return None;
        }
        Some(Self::Plain(secret))
    }

    /// Compares in constant time. With a digest this takes some tenths of a second.
    pub fn is(&self, given: &str) -> bool {
        match self {
            Self::Digest(digest) => digest.is_of(given),
            Self::Plain(secret) => {
                sha256(secret.expose_secret().as_bytes())[..].ct_eq(&sha256(given.as_bytes())).into()
            }
        }
    }

    /// A fingerprint that changes with the password. It is only used under a MAC with the daemon's key, without which
    /// the MAC reveals nothing about the password.
    pub fn print(&self) -> [u8; 32] {
        match self {
            Self::Digest(digest) => sha256(digest.to_string().as_bytes()),
            Self::Plain(secret) => sha256(secret.expose_secret().as_bytes()),
        }
    }
}
