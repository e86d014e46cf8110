//! SIGTERM and SIGINT. The first signal starts an orderly shutdown, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// A token that the first SIGTERM or SIGINT cancels. Needs a runtime.
pub fn shutdown_token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = token.clone();
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if second {
                tracing::warn!("second signal: exiting now; jobs in flight are retried when their leases expire");
                crate::telemetry::stderr::flush_with_timeout();
                std::process::exit(EXIT_INTERRUPTED);
            }
            shutdown.cancel();
        }
    });
    Ok(token)
}
