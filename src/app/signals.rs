//! From a signal to one token: the first asks for an orderly end, the second does not wait for it.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status of a process that was told twice.
const EXIT_INTERRUPTED: i32 = 130;

/// A token that SIGTERM or SIGINT cancels.
pub fn shutdown_token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = token.clone();
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if second {
                tracing::warn!("told to stop a second time; jobs in flight go on after their lease");
                crate::telemetry::stderr::flush_with_timeout();
                std::process::exit(EXIT_INTERRUPTED);
            }
            asked.cancel();
        }
    });
    Ok(token)
}
