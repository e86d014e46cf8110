//! `hash-password`: the digest of a password, for the configuration.
#![expect(clippy::print_stderr, reason = "standard output is only the digest, so that it can be piped")]

use std::io::{BufRead as _, IsTerminal as _, Read as _, stdin};

use anyhow::{Context as _, ensure};

use crate::{
    domain::password::{MAX_PASSWORD_LEN, MIN_PASSWORD_CHARS, PasswordDigest},
    random,
};

/// Hashes the first line of standard input: arguments are visible to every user of the machine.
pub(super) fn read_and_hash() -> anyhow::Result<PasswordDigest> {
    if stdin().is_terminal() {
        eprintln!("Type the password and press Enter. It is shown as you type.");
    }
    let mut line = String::new();
    let most = MAX_PASSWORD_LEN as u64 + 2;
    stdin().lock().take(most).read_line(&mut line).context("cannot read the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    ensure!(
        password.chars().count() >= MIN_PASSWORD_CHARS,
        "the password has fewer than {MIN_PASSWORD_CHARS} characters"
    );
    ensure!(password.len() <= MAX_PASSWORD_LEN, "the password has more than {MAX_PASSWORD_LEN} bytes");
    Ok(PasswordDigest::of(password, random::bytes()))
}
