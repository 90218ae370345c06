//! Jobs: from submission to their end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::{LeaseToken, QueueId, UnixMillis, WorkerId};
use crate::job::{
    Effects, Event, Failure, Job, JobOutput, JobState, NewJob, Progress, Proof, Refused, apply,
};
use crate::store::{Claim, JobCount, JobFilter, Store, Wanted};

use super::clock::Clock;
use super::error::DispatchError;
use super::reaper;
use super::signal::{WorkSignal, relay};

/// Times of leases and workers.
#[derive(Debug, Clone)]
pub struct DispatchSettings {
    /// How long a lease lasts from its last renewal (`dispatch.lease_seconds`).
    pub lease: Duration,
    /// Time without a word after which a worker gets no more work (`dispatch.engine_expiry_seconds`).
    pub worker_expiry: Duration,
    /// Longest time that one attempt may take (`dispatch.job_timeout_seconds`).
    pub job_timeout: Duration,
}

/// What a dispatcher works with.
pub struct DispatchParts {
    pub store: Store,
    pub settings: DispatchSettings,
    pub clock: Clock,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// See the module.
pub struct Dispatcher {
    pub(super) store: Store,
    pub(super) settings: DispatchSettings,
    pub(super) clock: Clock,
    signal: WorkSignal,
    changes: broadcast::Sender<Arc<Job>>,
    /// Held while a job and a worker for it are chosen together.
    pub(super) assigning: tokio::sync::Mutex<()>,
    /// Since when workers that are booked have been asking for work.
    pub(super) asking: Mutex<HashMap<WorkerId, UnixMillis>>,
    /// Leases that were ended here because their worker fell silent.
    pub(super) expired_leases: AtomicU64,
}

/// Changes that a slow listener may be behind before it loses some.
const CHANGES: usize = 1024;
/// How often a waiting worker looks without having been woken: for work of other gateways whose
/// notice was lost, and for jobs whose wait is over.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Times that a change is tried again because others changed the same job.
const MOST_TRIES: usize = 64;
/// Children that are looked at together.
const SWEEP: u32 = 100;

impl Dispatcher {
    /// Must be called on a runtime; starts the tasks that end leases and hear of other gateways.
    pub fn new(parts: DispatchParts) -> Arc<Dispatcher> {
        let dispatcher = Arc::new(Dispatcher {
            store: parts.store.clone(),
            settings: parts.settings,
            clock: parts.clock,
            signal: WorkSignal::new(),
            changes: broadcast::Sender::new(CHANGES),
            assigning: tokio::sync::Mutex::default(),
            asking: Mutex::default(),
            expired_leases: AtomicU64::new(0),
        });
        let cancel = parts.cancel;
        parts
            .tracker
            .spawn(reaper::run(Arc::downgrade(&dispatcher), cancel.clone()));
        let waker = dispatcher.clone();
        parts
            .tracker
            .spawn(relay(parts.store, cancel, move || waker.signal.raise()));
        dispatcher
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn settings(&self) -> &DispatchSettings {
        &self.settings
    }

    /// Leases that this gateway ended because their worker fell silent.
    pub fn expired_leases(&self) -> u64 {
        self.expired_leases.load(Ordering::Relaxed)
    }

    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Every job after each of its changes on this gateway. Who is too slow misses some.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Job>> {
        self.changes.subscribe()
    }

    /// Changes whenever there is new work, here or on another gateway with the same database.
    pub fn new_work(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }

    /// Takes a job; when this returns, it survives the process.
    ///
    /// # Errors
    /// `Store(Exists)` when there is a job with its id.
    pub async fn submit(&self, new: NewJob) -> Result<Job, DispatchError> {
        let job = Job::new(new, self.clock.now());
        self.store.insert(&job).await?;
        tracing::info!(job.id = %job.id, kind = job.spec.kind().name(), "job queued");
        let ready = job.parents.is_empty();
        self.publish(
            &job,
            Effects {
                ready,
                settled: false,
            },
        )
        .await;
        if !ready {
            // All its parents may have ended before it was there.
            self.advance_waiting().await?;
        }
        Ok(job)
    }

    /// Takes jobs without parents, all or none; when this returns, they survive the process.
    ///
    /// # Errors
    /// `Store(Exists)` when there is a job with the id of one of them.
    pub async fn submit_all(&self, new: Vec<NewJob>) -> Result<Vec<Job>, DispatchError> {
        let now = self.clock.now();
        let jobs: Vec<Job> = new.into_iter().map(|n| Job::new(n, now)).collect();
        self.store.insert_all(&jobs).await?;
        tracing::info!(jobs = jobs.len(), "jobs queued");
        for job in &jobs {
            let ready = job.state == JobState::Ready;
            let settled = false;
            self.publish(job, Effects { ready, settled }).await;
        }
        Ok(jobs)
    }

    /// # Errors
    /// `NoSuchJob`.
    pub async fn get(&self, id: &QueueId) -> Result<Job, DispatchError> {
        self.store.get(id).await?.ok_or(DispatchError::NoSuchJob)
    }

    pub async fn list(&self, filter: &JobFilter) -> Result<Vec<Job>, DispatchError> {
        Ok(self.store.list(filter).await?)
    }

    pub async fn counts(&self) -> Result<Vec<JobCount>, DispatchError> {
        Ok(self.store.counts().await?)
    }

    /// What `claim` would give `worker`, first choice first; takes nothing.
    pub async fn offers(
        &self,
        worker: &WorkerId,
        wanted: &Wanted,
        limit: u32,
    ) -> Result<Vec<Job>, DispatchError> {
        let now = self.clock.now();
        Ok(self.store.offers(wanted, worker, now, limit).await?)
    }

    /// Gives `worker` the first job that suits it, waiting for one at most `wait`. The lease's token is
    /// in the job.
    pub async fn claim(
        &self,
        worker: &WorkerId,
        wanted: &Wanted,
        wait: Duration,
    ) -> Result<Option<Job>, DispatchError> {
        let deadline = Instant::now() + wait;
        let mut work = self.new_work();
        loop {
            // Marked before looking, so that work that comes meanwhile is seen.
            work.mark_unchanged();
            let claim = self.new_claim(worker.clone(), worker.clone());
            if let Some(job) = self.store.claim_next(wanted, &claim).await? {
                self.claimed(&job).await;
                return Ok(Some(job));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let look = deadline.min(Instant::now() + LOOK_EVERY);
            // Either way it is time to look; the sender lives as long as `self`.
            let _ = tokio::time::timeout_at(look, work.changed()).await;
        }
    }

    /// Gives `worker` the job `id`, which it chose from the offers.
    ///
    /// # Errors
    /// `NoSuchJob`; `Refused` when somebody else was faster.
    pub async fn accept(&self, id: &QueueId, worker: &WorkerId) -> Result<Job, DispatchError> {
        let (term, at_most) = (self.settings.lease, self.settings.job_timeout);
        self.accept_for(id, worker, term, at_most).await
    }

    /// As [`Dispatcher::accept`], for workers whose signs of life are further apart: the lease lasts
    /// `term` from each of them ([`Dispatcher::renew_for`]), and `at_most` in all.
    pub async fn accept_for(
        &self,
        id: &QueueId,
        worker: &WorkerId,
        term: Duration,
        at_most: Duration,
    ) -> Result<Job, DispatchError> {
        let claim = Claim {
            term,
            at_most,
            ..self.new_claim(worker.clone(), worker.clone())
        };
        match self.store.claim_one(id, &claim).await? {
            Some(job) => {
                self.claimed(&job).await;
                Ok(job)
            }
            None => Err(Refused::NotReady(self.get(id).await?.state).into()),
        }
    }

    pub(super) fn new_claim(&self, worker: WorkerId, carrier: WorkerId) -> Claim {
        Claim {
            token: LeaseToken::random(),
            worker,
            carrier,
            term: self.settings.lease,
            at_most: self.settings.job_timeout,
            now: self.clock.now(),
        }
    }

    pub(super) async fn claimed(&self, job: &Job) {
        let worker = job.worker.as_ref().map(WorkerId::as_str);
        tracing::info!(job.id = %job.id, worker, lease.attempt = job.attempts, "job leased");
        self.publish(job, Effects::default()).await;
    }

    /// Makes a lease last another term, and notes how far the worker is.
    ///
    /// # Errors
    /// `Refused`: the lease is lost, or the job was cancelled; the worker should stop.
    pub async fn renew(
        &self,
        id: &QueueId,
        proof: Proof,
        progress: Option<Progress>,
    ) -> Result<Job, DispatchError> {
        self.renew_for(id, proof, self.settings.lease, progress)
            .await
    }

    /// As [`Dispatcher::renew`], for a lease of another length.
    pub async fn renew_for(
        &self,
        id: &QueueId,
        proof: Proof,
        term: Duration,
        progress: Option<Progress>,
    ) -> Result<Job, DispatchError> {
        let event = Event::Renew {
            proof,
            term,
            progress,
        };
        self.change(id, event).await
    }

    /// Ends a job with its result. Saying so again is refused as `Final(Done)`, and harmless.
    pub async fn complete(
        &self,
        id: &QueueId,
        proof: Proof,
        output: JobOutput,
    ) -> Result<Job, DispatchError> {
        self.change(id, Event::Complete { proof, output }).await
    }

    /// Ends an attempt; the job's policy and the failure decide whether there is another one.
    pub async fn fail(
        &self,
        id: &QueueId,
        proof: Proof,
        failure: Failure,
    ) -> Result<Job, DispatchError> {
        self.change(id, Event::Fail { proof, failure }).await
    }

    /// Gives a job back untouched.
    pub async fn release(&self, id: &QueueId, proof: Proof) -> Result<Job, DispatchError> {
        self.change(id, Event::Release { proof }).await
    }

    /// Lets a job come earlier (higher) or later than others.
    pub async fn prioritise(&self, id: &QueueId, priority: i32) -> Result<Job, DispatchError> {
        self.change(id, Event::Prioritise { priority }).await
    }

    /// Withdraws a job. A worker that has it hears so at its next renewal.
    pub async fn cancel(&self, id: &QueueId) -> Result<Job, DispatchError> {
        self.change(id, Event::Cancel).await
    }

    /// Deletes a job and all that is known of it. Whether it was there.
    pub async fn forget(&self, id: &QueueId) -> Result<bool, DispatchError> {
        Ok(self.store.remove(id).await?)
    }

    /// Begins a failed or cancelled job anew.
    pub async fn retry(&self, id: &QueueId) -> Result<Job, DispatchError> {
        let job = self.change(id, Event::Retry).await?;
        if !job.parents.is_empty() {
            self.advance_waiting().await?;
        }
        Ok(job)
    }

    /// Loads, applies, writes; again when somebody else was faster.
    pub(super) async fn change(&self, id: &QueueId, event: Event) -> Result<Job, DispatchError> {
        for _ in 0..MOST_TRIES {
            let before = self.get(id).await?;
            let (after, effects) = apply(before.clone(), event.clone(), self.clock.now())?;
            if self.store.write(&before, &after).await? {
                if after.state != before.state {
                    let (from, to) = (before.state.name(), after.state.name());
                    tracing::info!(job.id = %id, from, to, "job changed");
                }
                self.publish(&after, effects).await;
                if effects.settled && !self.store.children(id).await?.is_empty() {
                    self.advance_waiting().await?;
                }
                return Ok(after);
            }
        }
        Err(DispatchError::Contended)
    }

    async fn publish(&self, job: &Job, effects: Effects) {
        // Nobody listening is no fault.
        let _ = self.changes.send(Arc::new(job.clone()));
        if effects.ready {
            self.signal.raise();
            if let Err(error) = self.store.announce_work().await {
                // Other gateways find it when they look.
                tracing::debug!(%error, "cannot announce work");
            }
        }
    }

    /// Lets every waiting job go on whose parents are settled. Also called now and then: a gateway may
    /// have ended between a parent's end and this.
    pub(super) async fn advance_waiting(&self) -> Result<(), DispatchError> {
        loop {
            let settled = self.store.settled_children(SWEEP).await?;
            let mut moved = false;
            for (before, all_done) in settled {
                let event = Event::ParentsSettled { all_done };
                let (after, effects) = match apply(before.clone(), event, self.clock.now()) {
                    Ok(changed) => changed,
                    Err(_) => continue,
                };
                if self.store.write(&before, &after).await? {
                    moved = true;
                    self.publish(&after, effects).await;
                }
            }
            // Those that failed may have children of their own.
            if !moved {
                return Ok(());
            }
        }
    }
}
