//! What all videos of a gateway share, and what keeps them going.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::ArtifactStore;
use crate::base::{LeaseToken, QueueId, UnixMillis};
use crate::dispatch::{DispatchError, Dispatcher};
use crate::job::runner::FailureStreak;
use crate::job::{Job, JobKind, JobSpec, JobState, NewJob, Refused};
use crate::queries::Queries;
use crate::session::Opener;
use crate::store::{Document, Store, StoreError};

use super::error::VideoError;
use super::files::{Folders, names, remove};
use super::model::{VIDEOS, Video};
use super::roster::Runner;

/// The section `peertube` of the configuration, and what else is set.
#[derive(Debug, Clone)]
pub struct VideoSettings {
    /// In `storage.directory`.
    pub folder: PathBuf,
    pub registration_token: Option<String>,
    pub stalled_after: Duration,
    pub live_stalled_after: Duration,
    pub resolutions: Vec<u32>,
    pub keeps_original: bool,
    /// How long a job is left to runners before this gateway does it; `None`: for ever.
    pub local_fallback: Option<Duration>,
    /// Jobs that this gateway does itself at one time.
    pub concurrency: usize,
    pub max_upload_bytes: u64,
    /// Time without progress after which an encoder of ours counts as hung.
    pub encoder_stall: Duration,
    /// As whom this gateway takes jobs.
    pub worker_name: String,
}

/// What videos are made with.
pub struct VideoParts {
    pub opener: Opener,
    pub dispatcher: Arc<Dispatcher>,
    pub artifacts: ArtifactStore,
    pub queries: Arc<Queries>,
    pub settings: VideoSettings,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// See the module.
pub struct Videos {
    pub(super) opener: Opener,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) artifacts: ArtifactStore,
    pub(super) queries: Arc<Queries>,
    pub(super) settings: VideoSettings,
    pub(super) folders: Folders,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
    /// Held while a name is looked up and taken.
    pub(super) registering: tokio::sync::Mutex<()>,
    memory: Mutex<Memory>,
    /// Counts changes after which runners may find work.
    work: watch::Sender<u64>,
    /// Counts jobs that have ended.
    ended: watch::Sender<u64>,
}

/// What need not outlive the process.
#[derive(Default)]
pub(super) struct Memory {
    /// What runners failed at since they last succeeded.
    pub(super) streaks: HashMap<(i64, JobKind), FailureStreak>,
    /// Jobs that are at the head of a runner's list, and since when.
    pub(super) heads: HashMap<QueueId, (String, UnixMillis)>,
    /// Open sockets of runners.
    pub(super) connected: HashMap<i64, usize>,
    /// How often the holder of a lease has begun to fetch a file.
    pub(super) fetches: HashMap<LeaseToken, u64>,
    /// Uploads that somebody writes on.
    pub(super) uploading: BTreeSet<String>,
    /// Deliveries that are being looked at.
    pub(super) finishing: BTreeSet<QueueId>,
    /// Videos whose end somebody is to be told of.
    pub(super) untold: BTreeSet<String>,
}

/// Leases whose downloads are remembered before those that are over are forgotten.
const MOST_FETCHES: usize = 1000;
/// Times that a change is tried again because others changed the same video.
const MOST_TRIES: usize = 64;

/// An upload that is being written on: by nobody else meanwhile.
pub(super) struct Uploading {
    pub(super) videos: Arc<Videos>,
    pub(super) id: String,
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.videos.memory().uploading.remove(&self.id);
    }
}

/// A runner that listens.
pub struct Connected {
    videos: Arc<Videos>,
    number: i64,
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut memory = self.videos.memory();
        if let Some(count) = memory.connected.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                memory.connected.remove(&self.number);
            }
        }
    }
}

impl Videos {
    /// Takes up what earlier processes left, and starts to look after it. Must be called on a runtime.
    ///
    /// # Errors
    /// When the folder cannot be made or the store cannot be read.
    pub async fn start(parts: VideoParts) -> Result<Arc<Videos>, VideoError> {
        let folders = Folders::open(&parts.settings.folder).map_err(VideoError::disk)?;
        let videos = Arc::new(Videos {
            opener: parts.opener,
            dispatcher: parts.dispatcher,
            artifacts: parts.artifacts,
            queries: parts.queries,
            settings: parts.settings,
            folders,
            tracker: parts.tracker.clone(),
            cancel: parts.cancel,
            registering: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
            work: watch::Sender::new(0),
            ended: watch::Sender::new(0),
        });
        let changes = videos.dispatcher.changes();
        videos.take_up().await?;
        let (keeper, cancel) = (videos.clone(), videos.cancel.clone());
        parts.tracker.spawn(async move {
            cancel.run_until_cancelled(keeper.watch(changes)).await;
        });
        let (keeper, cancel) = (videos.clone(), videos.cancel.clone());
        parts.tracker.spawn(async move {
            cancel.run_until_cancelled(keeper.clean_uploads()).await;
        });
        if let Some(after) = videos.settings.local_fallback {
            for _ in 0..videos.settings.concurrency {
                let work = videos.clone().work_locally(after);
                parts.tracker.spawn(work);
            }
        }
        Ok(videos)
    }

    pub(super) fn store(&self) -> &Store {
        self.dispatcher.store()
    }

    pub fn artifacts(&self) -> &ArtifactStore {
        &self.artifacts
    }

    pub fn now(&self) -> UnixMillis {
        self.dispatcher.now()
    }

    pub fn max_upload_bytes(&self) -> u64 {
        self.settings.max_upload_bytes
    }

    /// Changes when there may be work for runners.
    pub fn work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    /// Changes when a job has ended.
    pub fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    pub(super) fn announce(&self) {
        self.work.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A runner listens for work until what is returned is dropped.
    pub fn connected(self: &Arc<Self>, runner: &Runner) -> Connected {
        let number = runner.number;
        *self.memory().connected.entry(number).or_default() += 1;
        Connected {
            videos: self.clone(),
            number,
        }
    }

    /// Whether any runner listens for work.
    pub fn anybody_listens(&self) -> bool {
        !self.memory().connected.is_empty()
    }

    pub(super) fn forget_runner(&self, number: i64) {
        let mut memory = self.memory();
        memory.streaks.retain(|(n, _), _| *n != number);
    }

    /// Whether any job waits for a runner.
    pub async fn has_work(&self) -> Result<bool, VideoError> {
        let counts = self.dispatcher.counts().await?;
        let waits = |c: &crate::store::JobCount| {
            c.state == JobState::Ready && JobKind::RUNNER.contains(&c.kind) && c.jobs > 0
        };
        Ok(counts.iter().any(waits))
    }

    /// # Errors
    /// `NoSuchVideo`, also for one that is being deleted.
    pub(super) async fn load(&self, id: &str) -> Result<Document<Video>, VideoError> {
        let found = self.store().document::<Video>(VIDEOS, id).await?;
        found
            .filter(|d| !d.value.deleted)
            .ok_or(VideoError::NoSuchVideo)
    }

    /// Loads, changes, writes; again when somebody else was faster. `change` says whether there is
    /// anything to write.
    pub(super) async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut Video) -> bool,
    ) -> Result<Video, VideoError> {
        for _ in 0..MOST_TRIES {
            let before = self.load(id).await?;
            let mut video = before.value.clone();
            if !change(&mut video) {
                return Ok(video);
            }
            let now = self.now();
            let written = self
                .store()
                .write_document(VIDEOS, id, before.version, &video, now)
                .await?;
            if written {
                return Ok(video);
            }
        }
        Err(VideoError::Contended)
    }

    /// Puts the jobs of a video into the queue, those that are not there.
    pub(super) async fn submit_jobs(&self, id: &str, video: &Video) -> Result<(), VideoError> {
        for planned in &video.jobs {
            let spec = crate::job::runner::RunnerSpec {
                video: id.to_owned(),
                work: planned.work.clone(),
            };
            let new = NewJob {
                id: planned.id.clone(),
                priority: planned.work.priority(),
                parents: Vec::new(),
                retry: planned.work.retry_policy(),
                spec: JobSpec::Runner(Box::new(spec)),
            };
            match self.dispatcher.submit(new).await {
                Ok(_) | Err(DispatchError::Store(StoreError::Exists)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Goes on with what a process that ended left half done.
    async fn take_up(self: &Arc<Self>) -> Result<(), VideoError> {
        let own = crate::base::WorkerId::new(self.settings.worker_name.as_str());
        self.dispatcher.take_back(&own).await?;
        let all = self.store().documents::<Video>(VIDEOS).await?;
        let mut deliveries = BTreeSet::new();
        for document in &all {
            let (id, video) = (&document.id, &document.value);
            if video.deleted {
                self.erase(id, video).await?;
                continue;
            }
            self.submit_jobs(id, video).await?;
            for (job, received) in &video.received {
                deliveries.insert(received.folder.clone());
                self.finish_later(id, job);
            }
            for job in video.results.keys() {
                self.settle(job).await?;
            }
            for job in self.store().owned_by(id).await? {
                if job.state.is_final() {
                    self.close_if_live(&job).await?;
                } else if !video.received.contains_key(&job.id) {
                    self.not_delivered(&job).await?;
                }
            }
            if video.callback.as_ref().is_some_and(|c| !c.told) {
                self.memory().untold.insert(id.clone());
            }
        }
        self.sweep(&all, &deliveries).await;
        Ok(())
    }

    /// A process that ended while a delivery came may have made its job's lease long enough for looking
    /// at it, and not have taken it.
    async fn not_delivered(&self, job: &Job) -> Result<(), VideoError> {
        let (now, term) = (self.now(), self.term(job.spec.kind()));
        let Some(lease) = job.lease.as_ref().filter(|l| l.expires_at > now + term) else {
            return Ok(());
        };
        let proof = crate::job::Proof::Token(lease.token);
        match self.dispatcher.renew_for(&job.id, proof, term, None).await {
            Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The job has a result: it is done, whatever the queue has heard.
    pub(super) async fn settle(&self, job: &QueueId) -> Result<(), VideoError> {
        let (proof, output) = (crate::job::Proof::Word, crate::job::JobOutput::default());
        match self.dispatcher.complete(job, proof, output).await {
            Ok(_) | Err(DispatchError::Refused(Refused::Final(_)) | DispatchError::NoSuchJob) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes files that belong to nothing: their taking was cut short.
    async fn sweep(&self, all: &[Document<Video>], deliveries: &BTreeSet<String>) {
        let known: BTreeSet<&str> = all.iter().map(|d| d.id.as_str()).collect();
        let is_left = |of: &str, name: &str| match of {
            "uploads" => !known.contains(name) && !name.starts_with(super::files::RESUMABLE),
            "received" => !deliveries.contains(name),
            _ => true,
        };
        for of in ["uploads", "received", "work"] {
            let parent = self.folders.parent(of);
            let found = names(&parent).await.unwrap_or_default();
            for name in found.iter().filter(|name| is_left(of, name)) {
                remove(&parent.join(name)).await;
            }
        }
    }

    /// Hears of every change of a job.
    async fn watch(self: Arc<Self>, mut changes: broadcast::Receiver<Arc<Job>>) {
        loop {
            match changes.recv().await {
                Ok(job) => {
                    if matches!(job.spec, JobSpec::Runner(_)) {
                        self.heard_of(&job).await;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.look_at_all().await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    async fn heard_of(&self, job: &Job) {
        if job.state == JobState::Ready {
            self.announce();
        }
        if job.lease.is_none() {
            self.forget_ended_leases().await;
        }
        if job.state.is_final() {
            if let Err(error) = self.close_if_live(job).await {
                tracing::warn!(job.id = %job.id, %error, "cannot close a live stream");
            }
            self.ended.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Downloads of leases that are over interest nobody.
    async fn forget_ended_leases(&self) {
        if self.memory().fetches.len() < MOST_FETCHES {
            return;
        }
        let filter = crate::store::JobFilter {
            kinds: JobKind::RUNNER.to_vec(),
            states: vec![JobState::Leased],
            ..Default::default()
        };
        if let Ok(leased) = self.dispatcher.list(&filter).await {
            let held = |token: &LeaseToken| leased.iter().any(|j| j.is_held_by(*token));
            self.memory().fetches.retain(|token, _| held(token));
        }
    }

    /// Some changes were missed.
    async fn look_at_all(&self) {
        let filter = crate::store::JobFilter {
            kinds: JobKind::RUNNER.to_vec(),
            ..Default::default()
        };
        match self.dispatcher.list(&filter).await {
            Ok(jobs) => {
                for job in jobs {
                    self.heard_of(&job).await;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look at the jobs of videos"),
        }
    }

    /// Deletes a video with all that belongs to it.
    pub async fn delete(&self, id: &str) -> Result<(), VideoError> {
        let video = self
            .change(id, |video| {
                video.deleted = true;
                true
            })
            .await?;
        self.erase(id, &video).await
    }

    /// May be called again where it broke off.
    async fn erase(&self, id: &str, video: &Video) -> Result<(), VideoError> {
        for job in self.store().owned_by(id).await? {
            match self.dispatcher.cancel(&job.id).await {
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for planned in &video.jobs {
            self.dispatcher.forget(&planned.id).await?;
        }
        for received in video.received.values() {
            remove(&self.folders.received(&received.folder)).await;
        }
        remove(&self.folders.uploads(id)).await;
        self.remove_live(id).await?;
        let owner = id.parse().map_err(|_| VideoError::NoSuchVideo)?;
        self.artifacts.delete_all(&owner).await?;
        self.store().remove_document(VIDEOS, id).await?;
        self.memory().untold.remove(id);
        tracing::info!(video = id, "a video is deleted");
        Ok(())
    }
}
