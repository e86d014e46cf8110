//! `hash-password`: what a configuration may hold in the place of a password.
#![expect(clippy::print_stderr, reason = "standard output is the digest alone, so that it can be piped")]

use std::io::{BufRead as _, IsTerminal as _, Read as _, stdin};

use anyhow::{Context as _, ensure};

use crate::{
    domain::password::{MAX_PASSWORD_LEN, MIN_PASSWORD_CHARS, PasswordDigest},
    random,
};

/// Of the first line of standard input: as an argument, everybody on the machine could read it.
pub(super) fn read_and_hash() -> anyhow::Result<PasswordDigest> {
    if stdin().is_terminal() {
        eprintln!("Write the password and press Enter. It is shown as you write.");
    }
    let mut line = String::new();
    let most = MAX_PASSWORD_LEN as u64 + 2;
    stdin().lock().take(most).read_line(&mut line).context("cannot read the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    ensure!(password.chars().count() >= MIN_PASSWORD_CHARS, "the password has under {MIN_PASSWORD_CHARS} characters");
    ensure!(password.len() <= MAX_PASSWORD_LEN, "the password has over {MAX_PASSWORD_LEN} bytes");
    Ok(PasswordDigest::of(password, random::bytes()))
}
