//! Ctrl-C, and its like from a service manager.

use tokio::signal::unix::{SignalKind, signal};

/// Ends at the first SIGINT or SIGTERM. From its first poll on, these do not end the process.
pub(super) async fn interrupted() {
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}
