//! Waking those who wait for work.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Counts how often there was new work; who waits sees the number change.
#[derive(Debug)]
pub(super) struct WorkSignal(watch::Sender<u64>);

impl WorkSignal {
    pub(super) fn new() -> Self {
        WorkSignal(watch::Sender::new(0))
    }

    pub(super) fn raise(&self) {
        self.0.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Sees every call of `raise` from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Wait before listening again after the database broke off.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Passes on what other gateways announce, until `cancel`. Ends at once where the database has no
/// such thing; where it breaks off, workers still look for themselves.
pub(super) async fn relay(
    store: Store,
    cancel: CancellationToken,
    raise: impl Fn() + Send + 'static,
) {
    let listen = async {
        loop {
            match store.listen_for_work().await {
                Ok(None) => return,
                Ok(Some(mut listener)) => {
                    raise();
                    while listener.heard().await.is_ok() {
                        raise();
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot listen for work"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    cancel.run_until_cancelled(listen).await;
}
