//! What ends leases: the clock, and workers that are gone.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::{Event, JobState};
use crate::store::JobFilter;

use super::dispatcher::Dispatcher;
use super::error::DispatchError;

/// A lost job is at work elsewhere within its lease and a second.
const EVERY: Duration = Duration::from_millis(500);
/// Rounds between two looks at what only a broken-off gateway leaves behind.
const ROUNDS_PER_SWEEP: u32 = 20;
/// Leases that are ended in one go.
const BATCH: u32 = 200;

/// Looks after leases until `cancel`, or until the dispatcher is gone.
///
/// While this gateway or its database was away, no worker could renew its lease: after that each has
/// the time of one lease to do so before any is ended. Leases that were given since are not longer for
/// it.
pub(super) async fn run(dispatcher: Weak<Dispatcher>, cancel: CancellationToken) {
    let mut round: u32 = 0;
    let mut back_since = Instant::now();
    let mut is_well = true;
    loop {
        let Some(dispatcher) = dispatcher.upgrade() else {
            return;
        };
        let work = async {
            if back_since.elapsed() < dispatcher.settings.lease {
                dispatcher.store.ping().await?;
            } else {
                dispatcher.reap().await?;
            }
            if round.is_multiple_of(ROUNDS_PER_SWEEP) {
                dispatcher.advance_waiting().await?;
            }
            Ok::<_, DispatchError>(())
        };
        match cancel.run_until_cancelled(work).await {
            None => return,
            Some(Ok(())) => is_well = true,
            Some(Err(error)) => {
                // Not twice a second.
                if is_well {
                    tracing::warn!(%error, "cannot look after leases");
                }
                (is_well, back_since) = (false, Instant::now());
            }
        }
        drop(dispatcher);
        round = round.wrapping_add(1);
        if cancel
            .run_until_cancelled(tokio::time::sleep(EVERY))
            .await
            .is_none()
        {
            return;
        }
    }
}

impl Dispatcher {
    /// Ends all leases that are over, and those of workers that are gone; the number of them. Called
    /// by itself twice a second.
    pub async fn reap(&self) -> Result<usize, DispatchError> {
        let mut ended = 0;
        loop {
            let expired = self.store.expired(self.clock.now(), BATCH).await?;
            let full = expired.len() == BATCH as usize;
            for job in expired {
                match self.change(&job.id, Event::Expire).await {
                    Ok(_) => ended += 1,
                    // It was renewed or ended in this moment.
                    Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                    Err(error) => return Err(error),
                }
            }
            if !full {
                break;
            }
        }
        // Shorter leases are over before their worker counts as gone.
        if self.settings.lease > self.settings.worker_expiry {
            ended += self.reap_of_the_gone().await?;
        }
        self.expired_leases
            .fetch_add(ended as u64, Ordering::Relaxed);
        Ok(ended)
    }

    async fn reap_of_the_gone(&self) -> Result<usize, DispatchError> {
        let leased = JobFilter {
            states: vec![JobState::Leased],
            ..JobFilter::default()
        };
        let leased = self.store.list(&leased).await?;
        if leased.is_empty() {
            return Ok(0);
        }
        let workers = self.store.workers().await?;
        let heard: HashMap<_, _> = workers.iter().map(|w| (&w.id, w.last_contact)).collect();
        let now = self.clock.now();
        let mut ended = 0;
        for job in &leased {
            let Some(lease) = &job.lease else { continue };
            // A renewal is a word of its worker too.
            let renewed = lease.begun_at.max(lease.expires_at - self.settings.lease);
            let contacts = [&lease.carrier, &lease.worker].map(|w| heard.get(w).copied());
            let Some(last) = contacts.into_iter().flatten().max() else {
                // Of workers that never said anything, only the lease tells.
                continue;
            };
            if now.since(last.max(renewed)) <= self.settings.worker_expiry {
                continue;
            }
            match self.change(&job.id, Event::Abandon).await {
                Ok(_) => ended += 1,
                Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }
}
