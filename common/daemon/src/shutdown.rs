//! One stop signal for the whole process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that is cancelled on SIGTERM or SIGINT. A second signal ends the process at once with
/// status 1, as upstream does. Must be called inside the runtime.
///
/// # Errors
/// Where the handlers cannot be installed.
pub fn install() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if first {
                tracing::info!("received a signal, shutting down");
                stop.cancel();
            } else {
                std::process::exit(1);
            }
        }
    });
    Ok(token)
}
