//! All jobs and streams of a gateway.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::JobId;
use crate::ffmpeg::{Accelerators, Toolchain};
use crate::media::{SourceLocator, StreamRequest};
use crate::plan::check_request;
use crate::source::SourcePolicy;

use super::cache::SegmentCache;
use super::encoders::Encoders;
use super::error::SessionError;
use super::head_start::Foresight;
use super::job::{FileStage, Job, JobOrigin, JobPhase};
use super::open::{Facts, Opener};
use super::patience::patiently;
use super::progress::{JobState, ProgressHub};
use super::stream::{Context, Stream};

/// Limits and times of streams.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// Encoders of one stream, all its tracks together; at least two.
    pub max_heads_per_session: usize,
    /// Encoders of all streams.
    pub max_encoders: usize,
    /// How far an encoder runs ahead of its player.
    pub buffer_ahead: Duration,
    /// Time without a request after which a stream's encoders end.
    pub idle_timeout: Duration,
    /// Time without output after which an encoder counts as hung.
    pub stall_timeout: Duration,
    /// Longest wait for the first bytes of a segment.
    pub segment_timeout: Duration,
    /// Time without a request after which a job and its segments are deleted.
    pub retention: Duration,
    /// Length of a segment, seconds.
    pub segment_seconds: f64,
    /// How often a source that is in trouble is asked again before its job fails.
    pub retries: u32,
}

/// What a registry works with.
pub struct RegistryParts {
    pub opener: Opener,
    pub cache: Arc<SegmentCache>,
    pub settings: SessionSettings,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Totals {
    pub started: AtomicU64,
    pub succeeded: AtomicU64,
    pub failed: AtomicU64,
    pub cancelled: AtomicU64,
}

pub(super) type StreamKey = [u8; 32];

#[derive(Default)]
pub(super) struct State {
    pub(super) jobs: HashMap<JobId, Arc<Job>>,
    streams: HashMap<StreamKey, Weak<Stream>>,
    usage: BTreeMap<&'static str, u64>,
}

/// Sources that are probed at one time; each takes a process and a few megabytes.
const MAX_PROBES: usize = 8;
/// See [`Registry::max_opening`].
const MAX_OPENING: usize = 256;
/// Jobs that are remembered. Ended ones make room for new ones, longest unasked for first.
const MAX_JOBS: usize = 4096;

/// See the module.
pub struct Registry {
    pub(super) context: Arc<Context>,
    state: Mutex<State>,
    probes: Semaphore,
    progress: Arc<ProgressHub>,
    pub totals: Totals,
}

impl Registry {
    /// Must be called on a runtime; starts the tasks that end idle encoders and tell listeners how
    /// far jobs are.
    pub fn new(parts: RegistryParts) -> Arc<Registry> {
        let RegistryParts {
            opener,
            cache,
            settings,
            tracker,
            cancel,
        } = parts;
        let encoders = Encoders::new(settings.max_encoders.max(2));
        let started = Instant::now();
        let context = Context {
            opener,
            cache,
            encoders,
            encoder_starts: AtomicU64::new(0),
            head_starts: AtomicU64::new(0),
            settings,
            tracker,
            cancel,
            started,
        };
        let registry = Arc::new(Registry {
            context: Arc::new(context),
            state: Mutex::default(),
            probes: Semaphore::new(MAX_PROBES),
            progress: ProgressHub::new(),
            totals: Totals::default(),
        });
        let (tracker, cancel) = (&registry.context.tracker, &registry.context.cancel);
        tracker.spawn(janitor(Arc::downgrade(&registry), cancel.clone()));
        tracker.spawn(sampler(Arc::downgrade(&registry), cancel.clone()));
        registry
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams that were opened, by what encodes them.
    pub fn hardware_usage(&self) -> BTreeMap<&'static str, u64> {
        self.lock().usage.clone()
    }

    pub fn tools(&self) -> &Toolchain {
        &self.context.opener.tools
    }

    /// Encoder hardware of this machine.
    pub fn accelerators(&self) -> &Accelerators {
        &self.context.opener.accelerators
    }

    pub fn cache(&self) -> &SegmentCache {
        &self.context.cache
    }

    pub fn policy(&self) -> &Arc<SourcePolicy> {
        &self.context.opener.policy
    }

    pub fn settings(&self) -> &SessionSettings {
        &self.context.settings
    }

    pub fn uptime(&self) -> Duration {
        self.context.started.elapsed()
    }

    /// What is said of jobs.
    pub fn progress(&self) -> &Arc<ProgressHub> {
        &self.progress
    }

    /// Jobs whose sources wait to be probed, beyond which new ones are refused.
    pub fn max_opening(&self) -> usize {
        MAX_OPENING
    }

    /// Jobs whose sources wait to be probed.
    pub fn opening(&self) -> usize {
        self.count(|phase| matches!(phase, JobPhase::Opening))
    }

    /// Jobs that wait for their source or their turn.
    pub fn queued(&self) -> usize {
        let waits = |phase: &JobPhase| {
            matches!(phase, JobPhase::Opening | JobPhase::File(FileStage::Queued))
        };
        self.count(waits)
    }

    fn count(&self, of: impl Fn(&JobPhase) -> bool) -> usize {
        self.jobs().iter().filter(|j| of(&j.phase())).count()
    }

    /// Jobs that will soon be deleted because nobody asks for them.
    pub fn nearly_stale(&self) -> usize {
        let limit = self.context.settings.retention.as_millis() as u64 * 4 / 5;
        let now = self.context.now_ms();
        let jobs = self.jobs();
        let old = |j: &&Arc<Job>| now.saturating_sub(j.last_seen_ms()) > limit;
        jobs.iter().filter(old).count()
    }

    /// Encoders running now.
    pub fn active_encoders(&self) -> usize {
        self.context.encoders.in_use()
    }

    /// Encoders started since the gateway was.
    pub fn encoder_starts(&self) -> u64 {
        self.context.encoder_starts.load(Ordering::Relaxed)
    }

    /// Those of them that ran before their source was known.
    pub fn head_starts(&self) -> u64 {
        self.context.head_starts.load(Ordering::Relaxed)
    }

    /// Streams that some job has.
    pub(super) fn streams(&self) -> Vec<Arc<Stream>> {
        let state = self.lock();
        state.streams.values().filter_map(Weak::upgrade).collect()
    }

    /// Media time made per wall time, over the streams being made now; 0 when there are none.
    pub fn average_speed(&self) -> f64 {
        let streams = self.streams();
        let views = streams.iter().filter_map(|s| s.views().into_iter().next());
        let speeds: Vec<f64> = views
            .filter(|v| !v.heads.is_empty() && !v.paused)
            .map(|v| v.speed)
            .collect();
        speeds.iter().sum::<f64>() / speeds.len().max(1) as f64
    }

    /// Checks `source` and begins to open it. The answer comes before the source is probed; `Busy`
    /// when too many wait for that. A session that asks again for what it has is given the job it has.
    pub async fn start(
        self: &Arc<Self>,
        source: &str,
        request: StreamRequest,
        origin: JobOrigin,
    ) -> Result<Arc<Job>, SessionError> {
        let opener = &self.context.opener;
        let hardware = opener.hardware(request.output.hw_accel).await;
        check_request(&request, &hardware, &opener.plan)?;
        let locator = self.context.opener.resolve(source).await?;
        let now = self.context.now_ms();
        let share = share_key(&locator, &request);
        let job = Arc::new(Job::new(locator.display(), request, share, origin, now));
        {
            let mut state = self.lock();
            if let Some(known) = state.of_session(&job) {
                known.rejoin(now);
                return Ok(known);
            }
            if let Some(dropped) = state.admit(&job)? {
                self.progress.forget(dropped);
            }
        }
        self.totals.started.fetch_add(1, Ordering::Relaxed);
        self.announce(&job);
        tracing::info!(job.id = %job.id, source = %job.source, "job started");
        let (registry, opening) = (self.clone(), job.clone());
        // Detached on purpose: the job goes on when the client that asked for it is gone.
        self.context
            .tracker
            .spawn(async move { registry.open(opening, locator).await });
        Ok(job)
    }

    async fn open(&self, job: Arc<Job>, locator: SourceLocator) {
        let mut cancelled = job.phase.subscribe();
        // A file of this machine says the same each time.
        let retries = match locator.is_remote() {
            true => self.context.settings.retries,
            false => 0,
        };
        let name = job.id.to_string();
        loop {
            let opening = || self.find_or_open(&locator, &job.request);
            let opened = tokio::select! {
                opened = patiently(retries, &name, opening) => opened,
                _ = cancelled.wait_for(|p| matches!(p, JobPhase::Cancelled)) => return,
                () = self.context.cancel.cancelled() => return,
            };
            let phase = match opened {
                Ok(stream) => JobPhase::Open(stream),
                Err(error) => {
                    tracing::info!(job.id = %job.id, %error, "job failed");
                    JobPhase::Failed(Arc::new(error))
                }
            };
            // `release` decides under the same lock: a stream has this job, or it is closed.
            let state = self.lock();
            if matches!(&phase, JobPhase::Open(s) if s.core.cancel.is_cancelled()) {
                if self.context.cancel.is_cancelled() {
                    return;
                }
                continue;
            }
            job.phase.send_if_modified(|now| {
                let opening = matches!(now, JobPhase::Opening);
                if opening {
                    *now = phase;
                }
                opening
            });
            drop(state);
            self.announce(&job);
            return;
        }
    }

    async fn find_or_open(
        &self,
        locator: &SourceLocator,
        request: &StreamRequest,
    ) -> Result<Arc<Stream>, SessionError> {
        let Ok(_probing) = self.probes.acquire().await else {
            return Err(SessionError::Cancelled);
        };
        let opener = &self.context.opener;
        let foresight = Foresight::default();
        let begin = |guess| foresight.begin(&self.context, locator, request, guess);
        let facts = opener.facts_foreseen(locator, &begin).await?;
        let key = stream_key(locator, request, &facts);
        let known = |state: &State| state.streams.get(&key).and_then(Weak::upgrade);
        if let Some(stream) = known(&self.lock()) {
            stream.touch();
            return Ok(stream);
        }
        let opened = opener.open(&facts, request).await?;
        let head_start = foresight.judge(&opened.plan).await;
        let context = self.context.clone();
        let stream = Arc::new(Stream::new(opened, locator.clone(), head_start, context));
        let mut state = self.lock();
        // Another job may have opened the same meanwhile.
        if let Some(other) = known(&state) {
            return Ok(other);
        }
        state.streams.retain(|_, s| s.strong_count() > 0);
        state.streams.insert(key, Arc::downgrade(&stream));
        *state.usage.entry(stream.encoded_by()).or_default() += 1;
        drop(state);
        stream.prefetch();
        Ok(stream)
    }

    /// A job by its id; notes that a client cares for it.
    pub fn job(&self, id: JobId) -> Result<Arc<Job>, SessionError> {
        let job = self
            .lock()
            .jobs
            .get(&id)
            .cloned()
            .ok_or(SessionError::NoSuchJob)?;
        job.touch(self.context.now_ms());
        Ok(job)
    }

    /// A client asked for the status of `job`.
    pub fn note_poll(&self, job: &Job) {
        job.note_poll(self.context.now_ms());
    }

    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.lock().jobs.values().cloned().collect()
    }

    /// Ends a job's work; its status stays readable. `false` when it has already ended.
    pub async fn cancel(&self, id: JobId) -> Result<bool, SessionError> {
        let job = self.job(id)?;
        if !job.is_live() {
            return Ok(false);
        }
        self.release(&job).await;
        Ok(true)
    }

    /// Ends a job and forgets it; deletes what no other job shares.
    pub async fn delete(&self, id: JobId) -> Result<(), SessionError> {
        let job = self
            .lock()
            .jobs
            .remove(&id)
            .ok_or(SessionError::NoSuchJob)?;
        self.release(&job).await;
        self.progress.forget(id);
        tracing::info!(job.id = %job.id, "job deleted");
        Ok(())
    }

    pub(super) fn opener(&self) -> &Opener {
        &self.context.opener
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.context.now_ms()
    }

    pub(super) fn admit(&self, job: &Arc<Job>) -> Result<(), SessionError> {
        if let Some(dropped) = self.lock().admit(job)? {
            self.progress.forget(dropped);
        }
        Ok(())
    }

    /// Tells listeners of a job's state, if it is news, and counts ends.
    pub(super) fn announce(&self, job: &Job) {
        let state = job.status().state();
        if !self.progress.state(job.id, state) {
            return;
        }
        let count = match state {
            JobState::Ready => &self.totals.succeeded,
            JobState::Error => &self.totals.failed,
            JobState::Cancelled => &self.totals.cancelled,
            JobState::Queued | JobState::Processing => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
        job.note_end();
    }

    /// Finds jobs that ended without being told so: the last segment of their stream was made.
    fn announce_ends(&self) {
        let has_ended = |id| self.progress.state_of(id).is_none_or(JobState::is_end);
        for job in self.jobs().iter().filter(|job| !has_ended(job.id)) {
            self.announce(job);
        }
    }

    /// Goes on with streams whose end somebody waits for: without a player they would stop a little
    /// ahead of where one might begin, and never end.
    fn pursue_awaited(&self) {
        let awaited = self.progress.awaited();
        let now = self.context.now_ms();
        for job in self.jobs() {
            let JobPhase::Open(stream) = job.phase() else {
                continue;
            };
            // Who asks how far a stream is and never plays it waits for its end too.
            let polled = job.is_polled(now) && !stream.played.load(Ordering::Relaxed);
            if (polled || awaited.contains(&job.id)) && !stream.all_ready() {
                job.touch(self.context.now_ms());
                stream.advance();
            }
        }
    }

    /// Tells listeners how far jobs are that are at work.
    fn announce_positions(&self) {
        for job in self.jobs() {
            let status = job.status();
            if status.state().is_end() {
                continue;
            }
            let position = status.position();
            if status.is_at_work() || self.progress.position_of(job.id) != Some(position) {
                self.progress.position(job.id, position);
            }
        }
    }

    async fn release(&self, job: &Arc<Job>) {
        // It may have become ready a moment ago.
        self.announce(job);
        let before = job.phase.send_replace(JobPhase::Cancelled);
        self.announce(job);
        let JobPhase::Open(stream) = before else {
            return;
        };
        let shared = {
            let mut state = self.lock();
            let uses = |j: &Arc<Job>| matches!(&*j.phase.borrow(), JobPhase::Open(s) if Arc::ptr_eq(s, &stream));
            let shared = state.jobs.values().any(uses);
            if !shared {
                let gone = Arc::as_ptr(&stream);
                state.streams.retain(|_, s| !std::ptr::eq(s.as_ptr(), gone));
                stream.core.cancel.cancel();
            }
            shared
        };
        if !shared {
            stream.close().await;
        }
    }

    /// Ends encoders nobody listens to and forgets jobs nobody asks for; how many jobs.
    pub async fn clean(&self) -> usize {
        let (streams, stale) = {
            let state = self.lock();
            let streams: Vec<_> = state.streams.values().filter_map(Weak::upgrade).collect();
            let now = self.context.now_ms();
            let retention = self.context.settings.retention.as_millis() as u64;
            // Files are kept for longer, and not by us.
            let old =
                |j: &&Arc<Job>| !j.is_batch() && now.saturating_sub(j.last_seen_ms()) > retention;
            let stale: Vec<JobId> = state.jobs.values().filter(old).map(|j| j.id).collect();
            (streams, stale)
        };
        for stream in streams {
            if stream.is_waited_for() {
                stream.touch();
            }
            stream.stop_left_renditions();
            if stream.idle_for() > self.context.settings.idle_timeout && stream.stop_idle_heads() {
                tracing::info!(stream.id = %stream.core.id, "idle stream: encoders ended");
            }
        }
        let mut deleted = 0;
        for id in stale {
            // It may have been deleted since; that is what is wanted.
            deleted += usize::from(self.delete(id).await.is_ok());
        }
        deleted
    }
}

impl State {
    /// Takes a new job in, if there is room for it. An ended one that had to make room is given.
    fn admit(&mut self, job: &Arc<Job>) -> Result<Option<JobId>, SessionError> {
        let mut dropped = None;
        let opening = |j: &&Arc<Job>| matches!(&*j.phase.borrow(), JobPhase::Opening);
        if self.jobs.values().filter(opening).count() >= MAX_OPENING {
            return Err(SessionError::Busy);
        }
        if self.jobs.len() >= MAX_JOBS {
            let ended = self.jobs.values().filter(|j| j.has_ended());
            let oldest = ended.min_by_key(|j| j.last_seen_ms()).map(|j| j.id);
            let oldest = oldest.ok_or(SessionError::Busy)?;
            self.jobs.remove(&oldest);
            dropped = Some(oldest);
        }
        self.jobs.insert(job.id, job.clone());
        Ok(dropped)
    }
}

/// Equal for two requests that ask for the same.
fn share_key(locator: &SourceLocator, request: &StreamRequest) -> StreamKey {
    let mut hash = Sha256::new();
    hash.update(locator.identity().as_bytes());
    hash.update([0]);
    hash.update(serde_json::to_vec(request).unwrap_or_default());
    hash.finalize().into()
}

/// Equal for two requests that can share encoders and segments: the same source, in the same
/// version as far as it tells, and all parameters equal.
fn stream_key(locator: &SourceLocator, request: &StreamRequest, facts: &Facts) -> StreamKey {
    let mut hash = Sha256::new();
    hash.update(share_key(locator, request));
    hash.update(facts.version.as_deref().unwrap_or_default().as_bytes());
    hash.finalize().into()
}

const CLEAN_EVERY: Duration = Duration::from_millis(500);

async fn janitor(registry: Weak<Registry>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(CLEAN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(registry) = registry.upgrade() else {
            return;
        };
        registry.announce_ends();
        registry.pursue_awaited();
        registry.clean().await;
    }
}

/// How often listeners hear how far a job is.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Asks jobs how far they are, for as long as anybody listens.
async fn sampler(registry: Weak<Registry>, cancel: CancellationToken) {
    let Some(hub) = registry.upgrade().map(|r| r.progress.clone()) else {
        return;
    };
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let next = async |ticks: &mut tokio::time::Interval| {
        hub.heard().await;
        ticks.tick().await;
    };
    while cancel.run_until_cancelled(next(&mut ticks)).await.is_some() {
        let Some(registry) = registry.upgrade() else {
            return;
        };
        registry.announce_positions();
    }
}
