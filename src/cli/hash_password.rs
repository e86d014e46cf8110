//! `hash-password`: the digest of a password, for the configuration.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Stdin, Write as _, stderr, stdin};

use anyhow::{Context as _, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{
    config::password::{MAX_PASSWORD_LEN, MIN_PASSWORD_CHARS, PasswordDigest},
    random,
};

/// Hashes the first line of standard input: arguments are visible to every user of the machine. At a terminal the
/// password is not shown, and is asked for twice.
pub(super) fn read_and_hash() -> anyhow::Result<PasswordDigest> {
    let password = if stdin().is_terminal() {
        let _hidden = HiddenInput::new(stdin())?;
        let password = ask("Password: ")?;
        ensure!(password == ask("Again: ")?, "the two passwords differ");
        password
    } else {
        read_line()?
    };
    ensure!(
        password.chars().count() >= MIN_PASSWORD_CHARS,
        "the password has fewer than {MIN_PASSWORD_CHARS} characters"
    );
    ensure!(password.len() <= MAX_PASSWORD_LEN, "the password has more than {MAX_PASSWORD_LEN} bytes");
    Ok(PasswordDigest::of(&password, random::bytes()))
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let mut terminal = stderr();
    write!(terminal, "{prompt}").context("cannot ask for the password")?;
    let line = read_line()?;
    // Enter was not shown either.
    writeln!(terminal).context("cannot ask for the password")?;
    Ok(line)
}

fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    let most = MAX_PASSWORD_LEN as u64 + 2;
    stdin().lock().take(most).read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// While it lives, the terminal does not show what is typed.
struct HiddenInput {
    terminal: Stdin,
    before: Termios,
}

impl HiddenInput {
    fn new(terminal: Stdin) -> anyhow::Result<Self> {
        let before = tcgetattr(&terminal).context("cannot read the settings of the terminal")?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &hidden).context("cannot hide the password")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
