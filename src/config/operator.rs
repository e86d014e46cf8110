//! Who may open the operator's page, and under which names its listener is reached.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{faults::Faults, section::Section};
use crate::domain::{
    keys::sha256,
    password::{MAX_PASSWORD_LEN, MIN_PASSWORD_CHARS, PasswordDigest},
};

/// A password: its digest, or a file's content.
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

/// Who may use the operator's page.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Stands in the log, in timelines and in the audit stream.
    pub name: String,
    pub password: Password,
}

/// The operator's page and listener.
#[derive(Clone, Default, Debug)]
pub struct Access {
    /// Nobody: there is no page.
    pub operators: Vec<Operator>,
    /// Names under which the listener is reached, beside addresses and names that nobody can register.
    pub hosts: Vec<String>,
}

/// The name of whoever logs in with `operator_password`.
pub const UNNAMED: &str = "operator";

impl Access {
    pub(super) fn read(s: &mut Section, faults: &mut Faults) -> Self {
        let alone = Password::read(s, "operator_password", faults);
        let mut operators: Vec<Operator> = Vec::new();
        for mut one in s.sections("operator", faults) {
            let name = one.required_text("name", "who it is, as the log and the audit stream name him", faults);
            if !name.is_empty() && !super::token::is_id(&name) {
                faults.add(one.key("name"), "expected 1 to 32 letters, digits, dots, dashes and underscores");
            }
            if operators.iter().any(|other| other.name == name) {
                faults.add(one.key("name"), format!("{name:?} occurs twice"));
            }
            if !one.has("password") && !one.has("password_file") {
                faults.add(one.key("password"), "is missing: a digest, which `countersign hash-password` makes");
            }
            let password = Password::read(&mut one, "password", faults);
            one.finish(faults);
            operators.extend(password.map(|password| Operator { name, password }));
        }
        if let Some(password) = alone {
            if !operators.is_empty() {
                faults.add("operator_password", "is given together with [[operator]]: give this one a name there");
            }
            operators.push(Operator { name: UNNAMED.to_owned(), password });
        }
        let mut hosts = s.texts("operator_hosts", faults);
        for host in &mut hosts {
            host.make_ascii_lowercase();
            if host.contains(['/', ':', ' ', '*']) {
                faults.add("operator_hosts", format!("expected a name such as ops.example.org, not {host:?}"));
            }
        }
        Self { operators, hosts }
    }

    pub fn operator(&self, name: &str) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.name == name)
    }
}

impl Password {
    /// From `name`, or from `name_file`.
    fn read(s: &mut Section, name: &str, faults: &mut Faults) -> Option<Self> {
        let written_out = s.has(name);
        let secret = s.secret(name, faults)?;
        let text = secret.expose_secret();
        if text.starts_with('$') {
            return match text.parse() {
                Ok(digest) => Some(Self::Digest(digest)),
                Err(error) => {
                    faults.add(s.key(name), error.to_string());
                    None
                }
            };
        }
        let file = s.key(&format!("{name}_file"));
        if written_out {
            let problem = format!(
                "expected a digest: `countersign hash-password` makes one; a password itself belongs into {name}_file"
            );
            faults.add(s.key(name), problem);
            return None;
        }
        if text.chars().count() < MIN_PASSWORD_CHARS {
            faults.add(file, format!("holds a password of under {MIN_PASSWORD_CHARS} characters"));
            return None;
        }
        if text.len() > MAX_PASSWORD_LEN {
            faults.add(file, format!("holds a password of over {MAX_PASSWORD_LEN} bytes"));
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
