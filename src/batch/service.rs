//! Taking batch jobs, giving their files, forgetting them.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::{JobId, QueueId};
use crate::dispatch::{DispatchError, Dispatcher};
use crate::job::{
    Backoff, BatchSpec, Job as Queued, JobKind, JobSpec, JobState, NewJob, RetryPolicy,
};
use crate::media::StreamRequest;
use crate::session::{FileStage, Job, JobOrigin, MadeFile, Opener, Registry, SessionError};
use crate::store::JobFilter;

use super::error::BatchError;
use super::files::{JobFolders, is_plain};
use super::worker;

/// Limits and times of batch jobs.
#[derive(Debug, Clone)]
pub struct BatchSettings {
    /// Folder of the files.
    pub folder: PathBuf,
    /// Jobs that this gateway works on at one time.
    pub concurrency: usize,
    /// Attempts that may fail before a job does (`transcoding.retry_count` and one).
    pub attempts: u32,
    /// First pause between attempts; doubled each time.
    pub retry_delay: Duration,
    pub stall_timeout: Duration,
    /// Jobs that wait for their turn, beyond which no more are taken.
    pub max_queued: usize,
    /// How long files are kept after their job has ended.
    pub keep: Duration,
    /// What this gateway's workers are called in the queue.
    pub worker_name: String,
}

/// What batch jobs work with.
pub struct BatchParts {
    pub registry: Arc<Registry>,
    pub opener: Opener,
    pub dispatcher: Arc<Dispatcher>,
    pub settings: BatchSettings,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// See the module.
pub struct Batches {
    pub(super) registry: Arc<Registry>,
    pub(super) opener: Opener,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) settings: BatchSettings,
    pub(super) folders: JobFolders,
    /// Held while what is shown and what is queued change together.
    showing: Mutex<()>,
    pub(super) cancel: CancellationToken,
}

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often old files are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

impl Batches {
    /// Takes up the jobs of earlier runs and starts the workers. Must be called on a runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(parts: BatchParts) -> Result<Arc<Batches>, DispatchError> {
        let batches = Arc::new(Batches {
            registry: parts.registry,
            opener: parts.opener,
            dispatcher: parts.dispatcher,
            folders: JobFolders::new(parts.settings.folder.clone()),
            showing: Mutex::default(),
            settings: parts.settings,
            cancel: parts.cancel,
        });
        batches.take_up().await?;
        for nth in 0..batches.settings.concurrency {
            parts.tracker.spawn(worker::run(batches.clone(), nth));
        }
        let weak = Arc::downgrade(&batches);
        parts
            .tracker
            .spawn(clean(weak.clone(), batches.cancel.clone()));
        let changes = batches.dispatcher.changes();
        parts
            .tracker
            .spawn(follow(weak, changes, batches.cancel.clone()));
        Ok(batches)
    }

    /// Takes a job: when this returns, it survives the gateway.
    pub async fn submit(
        &self,
        source: &str,
        request: StreamRequest,
        origin: JobOrigin,
    ) -> Result<Arc<Job>, BatchError> {
        let locator = self.registry.check_file(source, &request).await?;
        if self.registry.queued() >= self.settings.max_queued {
            return Err(SessionError::QueueFull.into());
        }
        let id = JobId::random();
        let created = Timestamp::now();
        let session_id = origin.session_id.clone();
        let shown = locator.display();
        // In the table before it can be claimed: its worker looks for it there.
        let job = self
            .registry
            .adopt(id, shown, request.clone(), origin, created)?;
        let spec = BatchSpec {
            source: source.to_owned(),
            request,
            session_id,
        };
        let new = NewJob {
            id: id.into(),
            spec: JobSpec::Batch(Box::new(spec)),
            priority: 0,
            parents: Vec::new(),
            retry: self.retry_policy(),
        };
        if let Err(error) = self.dispatcher.submit(new).await {
            // What was not kept is not promised either.
            let _ = self.registry.delete(id).await;
            return Err(error.into());
        }
        tracing::info!(job.id = %id, source = %job.source, "batch job taken");
        Ok(job)
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            backoff: Backoff::Exponential {
                first_ms: self.settings.retry_delay.as_millis() as u64,
                max_ms: LONGEST_PAUSE.as_millis() as u64,
            },
            ..RetryPolicy::at_once(self.settings.attempts)
        }
    }

    /// Jobs that wait for their turn, beyond which no more are taken.
    pub fn max_queued(&self) -> usize {
        self.settings.max_queued
    }

    /// Ends a job's work; its status stays readable. `false` when it has already ended.
    pub async fn cancel(&self, id: JobId) -> Result<bool, BatchError> {
        let _one_at_a_time = self.showing.lock().await;
        if !self.registry.cancel(id).await? {
            return Ok(false);
        }
        self.withdraw(id).await?;
        self.remove_files(id).await;
        Ok(true)
    }

    /// Ends a job and forgets it with its file.
    pub async fn delete(&self, id: JobId) -> Result<(), BatchError> {
        let _one_at_a_time = self.showing.lock().await;
        self.registry.delete(id).await?;
        self.withdraw(id).await?;
        self.dispatcher.forget(&id.into()).await?;
        self.remove_files(id).await;
        Ok(())
    }

    async fn withdraw(&self, id: JobId) -> Result<(), BatchError> {
        match self.dispatcher.cancel(&id.into()).await {
            // It has ended, or is not there any more: there is nothing to withdraw.
            Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove_files(&self, id: JobId) {
        if let Err(error) = self.folders.remove(id).await {
            tracing::warn!(job.id = %id, %error, "cannot delete the files of a job");
        }
    }

    /// The place of a job's file, or of a part of it by its name.
    pub fn file(&self, id: JobId, part: Option<&str>) -> Result<(PathBuf, MadeFile), BatchError> {
        let job = self.registry.job(id)?;
        if !job.is_batch() {
            return Err(BatchError::NotReady);
        }
        let made = job.made_file().ok_or(BatchError::NotReady)?;
        let name = part.unwrap_or(made.file.name);
        if !is_plain(name) {
            return Err(BatchError::NoFile);
        }
        Ok((self.folders.of(id).join(name), made))
    }

    /// Shows the jobs of earlier runs to clients again, and gives back what an earlier process of this
    /// gateway was at work on.
    async fn take_up(&self) -> Result<(), DispatchError> {
        let filter = JobFilter {
            kinds: vec![JobKind::Batch],
            ..JobFilter::default()
        };
        for queued in self.dispatcher.list(&filter).await? {
            let Some(job) = self.show(&queued).await else {
                continue;
            };
            self.resume(&job, &queued).await?;
        }
        Ok(())
    }

    /// Shows a stored job to clients.
    async fn show(&self, queued: &Queued) -> Option<Arc<Job>> {
        let JobSpec::Batch(spec) = &queued.spec else {
            return None;
        };
        let id: JobId = queued.id.as_str().parse().ok()?;
        let shown = match self.opener.resolve(&spec.source).await {
            Ok(locator) => locator.display(),
            Err(_) => "a source that is not allowed any more".to_owned(),
        };
        let origin = JobOrigin {
            session_id: spec.session_id.clone(),
            client: None,
        };
        let created = queued.created_at.as_millis();
        let created = Timestamp::from_millisecond(created).unwrap_or_default();
        let request = spec.request.clone();
        let adopted = self.registry.adopt(id, shown, request, origin, created);
        if adopted.is_err() {
            tracing::warn!(job.id = %id, "too many jobs: one of an earlier run is not shown");
        }
        adopted.ok()
    }

    /// Brings what clients are shown in line with what somebody did to the job in the queue: withdrew it,
    /// or began it anew.
    async fn heard(&self, id: &QueueId) -> Result<(), BatchError> {
        let _one_at_a_time = self.showing.lock().await;
        let Some(job) = self.job_of(id) else {
            return Ok(());
        };
        // What was heard of may have changed since.
        let queued = self.dispatcher.get(id).await?;
        match (queued.state, job.is_live()) {
            (JobState::Cancelled, true) => {
                self.registry.cancel(job.id).await?;
                self.remove_files(job.id).await;
            }
            (JobState::Ready | JobState::Waiting, false) => {
                self.show_anew(&job, &queued).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// What clients are shown of a job that is to be worked on: made anew if it had ended before.
    pub(super) async fn shown(&self, id: &QueueId) -> Option<Arc<Job>> {
        let _one_at_a_time = self.showing.lock().await;
        let job = self.job_of(id)?;
        if job.is_live() {
            return Some(job);
        }
        let queued = self.dispatcher.get(id).await.ok()?;
        match queued.state.is_final() {
            // It was withdrawn since it was claimed.
            true => Some(job),
            false => self.show_anew(&job, &queued).await,
        }
    }

    async fn show_anew(&self, ended: &Job, queued: &Queued) -> Option<Arc<Job>> {
        self.registry.delete(ended.id).await.ok()?;
        self.show(queued).await
    }

    async fn resume(&self, job: &Arc<Job>, queued: &Queued) -> Result<(), DispatchError> {
        let own = |name: &str| name.starts_with(&self.settings.worker_name);
        match queued.state {
            JobState::Waiting | JobState::Ready => {}
            JobState::Leased => {
                let lease = queued.lease.as_ref().filter(|l| own(l.worker.as_str()));
                if let Some(lease) = lease {
                    let proof = crate::job::Proof::Token(lease.token);
                    self.dispatcher.release(&queued.id, proof).await?;
                }
            }
            JobState::Done => match worker::made_of(queued) {
                Some(made) if self.folders.of(job.id).join(made.file.name).is_file() => {
                    self.registry.set_file(job, FileStage::Made(made));
                }
                _ => {
                    let lost = SessionError::Encoder("its file is gone".into());
                    self.registry.fail_file(job, lost);
                }
            },
            JobState::Failed => {
                let reason = queued.error.as_ref().and_then(|e| e.as_str());
                let reason = reason.unwrap_or("no reason is known").to_owned();
                self.registry.fail_file(job, SessionError::Gate(reason));
            }
            JobState::Cancelled => {
                // It is shown as what it is.
                let _ = self.registry.cancel(job.id).await;
            }
        }
        Ok(())
    }

    /// Deletes jobs that ended long ago, and folders that belong to none.
    async fn forget_old(&self) -> Result<(), BatchError> {
        let filter = JobFilter {
            kinds: vec![JobKind::Batch],
            states: vec![JobState::Done, JobState::Failed, JobState::Cancelled],
            ..JobFilter::default()
        };
        let now = self.dispatcher.now().as_millis();
        let keep = self.settings.keep.as_millis() as i64;
        for queued in self.dispatcher.list(&filter).await? {
            if now - queued.updated_at.as_millis() < keep {
                continue;
            }
            let Ok(id) = queued.id.as_str().parse() else {
                continue;
            };
            match self.delete(id).await {
                Err(BatchError::Session(SessionError::NoSuchJob)) => {
                    self.dispatcher.forget(&queued.id).await?;
                }
                other => other?,
            }
            tracing::info!(job.id = %id, "an old batch job and its file are deleted");
        }
        let known = |id: JobId| self.registry.job(id).is_ok();
        if let Err(error) = self.folders.sweep(known).await {
            tracing::warn!(%error, "cannot look for files that belong to no job");
        }
        Ok(())
    }

    fn job_of(&self, id: &QueueId) -> Option<Arc<Job>> {
        self.registry.job(id.as_str().parse().ok()?).ok()
    }
}

/// Hears what others do to batch jobs in the queue.
async fn follow(
    batches: Weak<Batches>,
    mut changes: broadcast::Receiver<Arc<Queued>>,
    cancel: CancellationToken,
) {
    while let Some(change) = cancel.run_until_cancelled(changes.recv()).await {
        let changed = match change {
            Ok(changed) => changed,
            // The next start shows what was missed.
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if !matches!(changed.spec, JobSpec::Batch(_)) {
            continue;
        }
        let Some(batches) = batches.upgrade() else {
            return;
        };
        if let Err(error) = batches.heard(&changed.id).await {
            tracing::debug!(job.id = %changed.id, %error, "a batch job is shown as it was");
        }
    }
}

async fn clean(batches: Weak<Batches>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(CLEAN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(batches) = batches.upgrade() else {
            return;
        };
        if let Err(error) = batches.forget_old().await {
            tracing::warn!(%error, "cannot delete old batch jobs");
        }
    }
}
