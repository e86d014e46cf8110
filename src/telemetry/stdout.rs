//! Results of commands on standard output. Its reader may close it early, as `head` does, where `println!` panics.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Standard output cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// The reader has closed the pipe: it has read what it wanted.
    pub fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes a line at once, also into a pipe.
pub fn print(line: impl fmt::Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
