//! Who works: what they said of themselves, and when they were last heard of.

use std::collections::HashSet;

use crate::base::WorkerId;
use crate::job::{Event, Proof, Worker};

use super::dispatcher::Dispatcher;
use super::error::DispatchError;

/// A worker as it is seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    pub worker: Worker,
    /// Whether a job is booked on it.
    pub booked: bool,
    /// Whether it was heard of lately.
    pub alive: bool,
}

/// Times that a change is tried again because the same worker says several things at once.
const MOST_TRIES: usize = 64;

impl Dispatcher {
    /// A worker that has no tokens is there: as `heard_from`, and all its leases are kept alive.
    pub async fn heartbeat(
        &self,
        id: &WorkerId,
        change: impl Fn(&mut Worker),
    ) -> Result<Worker, DispatchError> {
        let worker = self.heard_from(id, change).await?;
        for job in self.store.held_by(id).await? {
            let Some(lease) = &job.lease else { continue };
            match self.renew(&job.id, Proof::Token(lease.token), None).await {
                // It was ended or given to another in this moment.
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(worker)
    }

    /// A worker is there: notes what it says of itself (`change`). One that was not known is known from
    /// now on. Its leases are not touched: it may not know of one whose grant was lost on the way.
    pub async fn heard_from(
        &self,
        id: &WorkerId,
        change: impl Fn(&mut Worker),
    ) -> Result<Worker, DispatchError> {
        let now = self.clock.now();
        let worker = self
            .update_worker(id, |known| {
                let mut worker = known.unwrap_or_else(|| Worker::new(id.clone(), now));
                worker.last_contact = worker.last_contact.max(now);
                change(&mut worker);
                Some(worker)
            })
            .await?;
        worker.ok_or(DispatchError::NoSuchWorker)
    }

    /// Changes what is known of a worker, without having heard from it.
    ///
    /// # Errors
    /// `NoSuchWorker`.
    pub async fn change_worker(
        &self,
        id: &WorkerId,
        change: impl Fn(&mut Worker),
    ) -> Result<Worker, DispatchError> {
        let changed = self.update_worker(id, |known| {
            let mut worker = known?;
            change(&mut worker);
            Some(worker)
        });
        changed.await?.ok_or(DispatchError::NoSuchWorker)
    }

    async fn update_worker(
        &self,
        id: &WorkerId,
        change: impl Fn(Option<Worker>) -> Option<Worker>,
    ) -> Result<Option<Worker>, DispatchError> {
        for _ in 0..MOST_TRIES {
            let Some(mut worker) = change(self.store.worker(id).await?) else {
                return Ok(None);
            };
            if self.store.put_worker(&worker).await? {
                worker.version += 1;
                return Ok(Some(worker));
            }
        }
        Err(DispatchError::Contended)
    }

    /// # Errors
    /// `NoSuchWorker`.
    pub async fn worker(&self, id: &WorkerId) -> Result<Worker, DispatchError> {
        let worker = self.store.worker(id).await?;
        worker.ok_or(DispatchError::NoSuchWorker)
    }

    /// All workers, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, DispatchError> {
        let booked: HashSet<_> = self.store.booked_workers().await?.into_iter().collect();
        let now = self.clock.now();
        let view = |worker: Worker| WorkerView {
            booked: booked.contains(&worker.id),
            alive: worker.is_alive(now, self.settings.worker_expiry),
            worker,
        };
        Ok(self.store.workers().await?.into_iter().map(view).collect())
    }

    /// Whether `worker` takes more work once it has finished what it has.
    pub async fn drain(&self, id: &WorkerId, draining: bool) -> Result<Worker, DispatchError> {
        self.change_worker(id, |w| w.abilities.draining = draining)
            .await
    }

    /// Forgets a worker; what it has is offered again at once.
    ///
    /// # Errors
    /// `NoSuchWorker`.
    pub async fn deregister(&self, id: &WorkerId) -> Result<(), DispatchError> {
        if !self.store.remove_worker(id).await? {
            return Err(DispatchError::NoSuchWorker);
        }
        self.take_back(id).await
    }

    /// Puts back what `worker` has: it is known to have lost it.
    pub async fn take_back(&self, id: &WorkerId) -> Result<(), DispatchError> {
        for job in self.store.held_by(id).await? {
            match self.change(&job.id, Event::Abandon).await {
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
