//! Encoders that may run at one time: over all streams, and of one kind in one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A fixed number of permits, handed out in the order they were asked for. A holder that could do
/// without its own hears when somebody has to wait.
pub(super) struct Encoders {
    permits: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    asked: Notify,
}

/// Counts a wait, for as long as it lasts.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Encoders {
    pub(super) fn new(most: usize) -> Self {
        Encoders {
            permits: Arc::new(Semaphore::new(most)),
            most,
            waiting: AtomicUsize::new(0),
            asked: Notify::new(),
        }
    }

    /// Takes a permit, waiting until there is one; never fails. Cancel-safe, but loses its place.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        if let Some(permit) = self.try_acquire() {
            return Some(permit);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        self.asked.notify_one();
        // The semaphore is never closed.
        self.permits.clone().acquire_owned().await.ok()
    }

    /// Takes a permit if there is one.
    pub(super) fn try_acquire(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Waits until somebody waits for a permit. Each wait wakes one listener. Cancel-safe.
    pub(super) async fn wanted(&self) {
        // A wait that is over may have left a wake-up behind.
        while self.waiting.load(Ordering::Acquire) == 0 {
            self.asked.notified().await;
        }
    }

    /// How many may run at one time.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn in_use(&self) -> usize {
        self.most - self.permits.available_permits()
    }

    pub(super) fn all_in_use(&self) -> bool {
        self.permits.available_permits() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_wait_is_heard_and_ends_with_the_permit_given_back() {
        let encoders = Encoders::new(1);
        let held = encoders.acquire().await.unwrap();
        assert!(encoders.all_in_use());
        let yielding = async {
            encoders.wanted().await;
            drop(held);
        };
        let (other, ()) = tokio::join!(encoders.acquire(), yielding);
        drop(other.unwrap());
        assert_eq!(encoders.in_use(), 0);
        // Nobody waits any more: a wake-up that is left over means nothing.
        encoders.asked.notify_one();
        let quiet = tokio::time::timeout(Duration::from_millis(20), encoders.wanted());
        assert!(quiet.await.is_err());
    }
}
