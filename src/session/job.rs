//! A job: one request to transcode, as its client knows it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::base::{JobId, MediaTime};
use crate::hardware::Accelerator;
use crate::hls::SegmentTimeline;
use crate::media::{Mode, StreamRequest};

use super::error::SessionError;
use super::progress::{JobState, Position};
use super::registry::StreamKey;
use super::rendition::TrackView;
use super::stream::Stream;
use super::to_file::{FileProgress, MadeFile};

/// How far a job is.
#[derive(Clone)]
pub enum JobPhase {
    /// The source is being probed.
    Opening,
    /// The stream can be played.
    Open(Arc<Stream>),
    /// A file is made of the source: a batch job.
    File(FileStage),
    Failed(Arc<SessionError>),
    Cancelled,
}

/// How far the file of a batch job is.
#[derive(Clone)]
pub enum FileStage {
    /// It waits for its turn.
    Queued,
    Working(watch::Receiver<FileProgress>),
    Made(MadeFile),
}

/// Who asked for a job, as far as they said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobOrigin {
    /// A name of the client's choice; asking again under the same one gives the same job.
    pub session_id: Option<String>,
    /// What the client calls itself.
    pub client: Option<String>,
}

/// See the module.
pub struct Job {
    pub id: JobId,
    /// The source as its client may see it: without credentials.
    pub source: String,
    pub request: StreamRequest,
    pub origin: JobOrigin,
    pub created_at: Timestamp,
    ended_at: OnceLock<Timestamp>,
    /// Equal for jobs that ask for the same.
    pub(super) share: StreamKey,
    /// Whether its viewer said that it has left.
    left: AtomicBool,
    pub(super) phase: watch::Sender<JobPhase>,
    last_seen_ms: AtomicU64,
    /// When its status was last asked for; 0 = never.
    last_polled_ms: AtomicU64,
    /// Highest share shown so far, in hundredths of a percent.
    shown: AtomicU32,
}

/// Work as a client sees it (contract 3.4, and our own additions).
#[derive(Debug, Clone, PartialEq)]
pub struct JobStatus {
    pub name: &'static str,
    /// 0.0..=100.0; never falls. 0 as long as the end of the source is not known.
    pub progress: f64,
    /// Media time up to which the stream is made without a gap, seconds.
    pub current_time: f64,
    pub duration: Option<f64>,
    pub speed: f64,
    pub eta_seconds: Option<u64>,
    pub error: Option<String>,
    /// What happens now: probing, starting, encoding, paused, idle, ready; live while segments are
    /// added to a stream whose end is not known.
    pub activity: &'static str,
    /// `None` as long as the stream is not open.
    pub segments: Option<SegmentCounts>,
    pub warnings: Vec<String>,
    /// What encodes: the name of the hardware, or `software`; `None` as long as the stream is not open.
    pub encoded_by: Option<&'static str>,
    /// Media there is, wherever it lies in the stream, seconds.
    pub made_seconds: f64,
    /// Pictures a second.
    pub frame_rate: Option<f64>,
    pub start_time: MediaTime,
}

/// Which segments of a stream are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentCounts {
    /// `None` as long as the end of the source is not known.
    pub total: Option<u32>,
    /// First and last of each range, inclusive, in order.
    pub ready: Vec<(u32, u32)>,
}

/// Clients of the original ask every five seconds, or more often.
const POLLED_WITHIN_MS: u64 = 15_000;

/// Longest wait for a source to be probed, when others are probed before it.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

impl Job {
    pub(super) fn new(
        source: String,
        request: StreamRequest,
        share: StreamKey,
        origin: JobOrigin,
        now_ms: u64,
    ) -> Self {
        Job {
            id: JobId::random(),
            source,
            request,
            origin,
            created_at: Timestamp::now(),
            ended_at: OnceLock::new(),
            share,
            left: AtomicBool::new(false),
            phase: watch::Sender::new(JobPhase::Opening),
            last_seen_ms: AtomicU64::new(now_ms),
            last_polled_ms: AtomicU64::new(0),
            shown: AtomicU32::new(0),
        }
    }

    /// A batch job, new or known from before a restart.
    pub(super) fn of_file(
        id: JobId,
        source: String,
        request: StreamRequest,
        origin: JobOrigin,
        created_at: Timestamp,
        now_ms: u64,
    ) -> Self {
        // It is like no other: each makes its own file.
        let mut share = StreamKey::default();
        let text = id.to_string();
        let bytes = text.as_bytes();
        let shared = bytes.len().min(share.len());
        share[..shared].copy_from_slice(&bytes[..shared]);
        Job {
            id,
            created_at,
            phase: watch::Sender::new(JobPhase::File(FileStage::Queued)),
            ..Job::new(source, request, share, origin, now_ms)
        }
    }

    pub fn phase(&self) -> JobPhase {
        self.phase.borrow().clone()
    }

    /// The file of a batch job that is done.
    pub fn made_file(&self) -> Option<MadeFile> {
        match &*self.phase.borrow() {
            JobPhase::File(FileStage::Made(made)) => Some(*made),
            _ => None,
        }
    }

    /// Waits until the job is cancelled or deleted. Cancel-safe.
    pub async fn cancelled(&self) {
        let mut phase = self.phase.subscribe();
        // The job owns the sender.
        let _ = phase.wait_for(|p| matches!(p, JobPhase::Cancelled)).await;
    }

    pub fn is_batch(&self) -> bool {
        self.request.mode == Mode::Batch
    }

    /// The stream, waiting until the source was probed; `Busy` when that takes too long because
    /// others come first. Cancel-safe.
    pub async fn stream(&self) -> Result<Arc<Stream>, Arc<SessionError>> {
        let mut phase = self.phase.subscribe();
        let opened = phase.wait_for(|p| !matches!(p, JobPhase::Opening));
        let Ok(opened) = tokio::time::timeout(OPEN_WITHIN, opened).await else {
            return Err(Arc::new(SessionError::Busy));
        };
        match opened.map(|p| p.clone()) {
            Ok(JobPhase::Open(stream)) => Ok(stream),
            Ok(JobPhase::Failed(error)) => Err(error),
            Ok(JobPhase::File(_)) => Err(Arc::new(SessionError::NoSuchFile)),
            _ => Err(Arc::new(SessionError::Cancelled)),
        }
    }

    /// Whether the job failed or was cancelled.
    pub(super) fn has_ended(&self) -> bool {
        matches!(
            &*self.phase.borrow(),
            JobPhase::Failed(_) | JobPhase::Cancelled
        )
    }

    pub(super) fn touch(&self, now_ms: u64) {
        self.last_seen_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn note_poll(&self, now_ms: u64) {
        self.last_polled_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// Whether somebody asks for its status again and again.
    pub(super) fn is_polled(&self, now_ms: u64) -> bool {
        let polled = self.last_polled_ms.load(Ordering::Relaxed);
        polled > 0 && now_ms.saturating_sub(polled) < POLLED_WITHIN_MS
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(super) fn rejoin(&self, now_ms: u64) {
        self.left.store(false, Ordering::Relaxed);
        self.touch(now_ms);
    }

    pub(super) fn note_end(&self) {
        // The first end counts.
        let _ = self.ended_at.set(Timestamp::now());
    }

    /// When the job became ready, failed or was cancelled.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at.get().copied()
    }

    pub(super) fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms.load(Ordering::Relaxed)
    }

    /// Whether the job may still be cancelled.
    pub fn is_live(&self) -> bool {
        match &*self.phase.borrow() {
            JobPhase::Opening => true,
            JobPhase::Open(stream) => !stream.all_ready(),
            JobPhase::File(stage) => !matches!(stage, FileStage::Made(_)),
            JobPhase::Failed(_) | JobPhase::Cancelled => false,
        }
    }

    pub fn status(&self) -> JobStatus {
        let mut status = JobStatus {
            name: "processing",
            progress: 0.0,
            current_time: 0.0,
            duration: None,
            speed: 0.0,
            eta_seconds: None,
            error: None,
            activity: "probing",
            segments: None,
            warnings: Vec::new(),
            encoded_by: None,
            made_seconds: 0.0,
            frame_rate: None,
            start_time: self.request.start_time,
        };
        match self.phase() {
            JobPhase::Opening => {}
            JobPhase::Open(stream) => stream.fill(&mut status),
            JobPhase::File(stage) => fill_file(&mut status, &stage),
            JobPhase::Failed(error) => {
                status.name = "error";
                status.activity = "error";
                status.error = Some(error.to_string());
            }
            JobPhase::Cancelled => {
                status.name = "cancelled";
                status.activity = "cancelled";
            }
        }
        let shown = self
            .shown
            .fetch_max((status.progress * 100.0) as u32, Ordering::Relaxed);
        status.progress = status.progress.max(f64::from(shown) / 100.0);
        status
    }
}

impl JobStatus {
    pub fn state(&self) -> JobState {
        match self.name {
            "queued" => JobState::Queued,
            "ready" => JobState::Ready,
            "error" => JobState::Error,
            "cancelled" => JobState::Cancelled,
            _ => JobState::Processing,
        }
    }

    pub(super) fn position(&self) -> Position {
        let rate = self.frame_rate.unwrap_or(0.0);
        Position {
            percent: self.progress,
            frame: (self.made_seconds * rate).round() as u64,
            fps: self.speed * rate,
            seconds: self.made_seconds,
            speed: self.speed,
        }
    }

    /// Whether something is being made now.
    pub(super) fn is_at_work(&self) -> bool {
        matches!(self.activity, "starting" | "encoding" | "live")
    }
}

impl Stream {
    /// Whether every segment has been made at least once. An open-ended source is all there when it
    /// has ended.
    pub fn all_ready(&self) -> bool {
        let timeline = &self.core.plan.timeline;
        if timeline.is_open_ended() {
            return self.core.live.has_ended();
        }
        self.views()
            .iter()
            .all(|v| v.made_count() >= timeline.len())
    }

    /// The name of the hardware that encodes, or `software`.
    pub(super) fn encoded_by(&self) -> &'static str {
        let fell_back = self.videos.first().is_some_and(|t| t.learned().software);
        let encode = self
            .core
            .plan
            .main_video()
            .and_then(|v| v.encoder(fell_back));
        let hardware = encode.and_then(|e| e.accelerator);
        hardware.map_or("software", Accelerator::name)
    }

    fn fill(&self, status: &mut JobStatus) {
        let views = self.views();
        // Video decides; sound is made so much faster that it only confuses.
        let Some(main) = views.first() else { return };
        status.encoded_by = Some(self.encoded_by());
        status.start_time = self.core.plan.start_time;
        status.frame_rate = self.core.plan.main_video().map(|v| v.rate.as_f64());
        // Before the timeline is read: a source that ends in between only shows later that it has.
        let complete = self.all_ready();
        let timeline = self.core.known_timeline();
        let ready = main.ready.clone();
        if timeline.is_open_ended() {
            fill_live(status, &timeline, main);
        } else {
            fill_known(status, &timeline, main);
        }
        let total = (!timeline.is_open_ended()).then(|| timeline.len());
        status.segments = Some(SegmentCounts { total, ready });
        if complete && timeline.is_open_ended() {
            // It ended before its first segment: there is nothing to play, and never will be.
            let reason = views.iter().find_map(|v| v.last_failure.clone());
            let reason = reason.unwrap_or_else(|| "the source ended at once".into());
            status.name = "error";
            status.activity = "error";
            status.error = Some(SessionError::Encoder(reason).to_string());
        } else if complete {
            status.name = "ready";
            status.activity = "ready";
            status.progress = 100.0;
            status.eta_seconds = None;
        }
        status.warnings.extend(self.left_out.iter().cloned());
        for view in &views {
            status.warnings.extend(
                view.last_failure
                    .iter()
                    .map(|f| format!("the encoder failed: {f}")),
            );
            status.warnings.extend(
                view.disk_error
                    .iter()
                    .map(|e| format!("finished segments cannot be stored: {e}")),
            );
        }
        status.warnings.dedup();
    }
}

/// A batch job.
fn fill_file(status: &mut JobStatus, stage: &FileStage) {
    let by =
        |accelerator: Option<Accelerator>| Some(accelerator.map_or("software", Accelerator::name));
    match stage {
        FileStage::Queued => {
            status.name = "queued";
            status.activity = "queued";
        }
        FileStage::Working(progress) => {
            let p = *progress.borrow();
            status.activity = if p.seconds > 0.0 {
                "encoding"
            } else {
                "starting"
            };
            status.progress = p.percent;
            status.current_time = p.seconds;
            status.made_seconds = p.seconds;
            status.duration = p.duration;
            status.speed = p.speed;
            status.frame_rate = Some(p.fps / p.speed).filter(|r| r.is_finite());
            status.encoded_by = by(p.accelerator);
            if let Some(whole) = p.duration.filter(|_| p.speed > 0.0) {
                let left = whole * (1.0 - p.percent / 100.0);
                status.eta_seconds = Some((left / p.speed).max(0.0) as u64);
            }
        }
        FileStage::Made(made) => {
            status.name = "ready";
            status.activity = "ready";
            status.progress = 100.0;
            status.duration = made.duration.map(MediaTime::as_secs_f64);
            status.current_time = status.duration.unwrap_or(0.0);
            status.made_seconds = status.current_time;
            status.encoded_by = by(made.accelerator);
        }
    }
}

/// A stream whose end is known.
fn fill_known(status: &mut JobStatus, timeline: &SegmentTimeline, main: &TrackView) {
    let seconds = |(first, last): &(u32, u32)| {
        let units = timeline.end(*last) - timeline.start(*first);
        timeline.grid().seconds(units)
    };
    // The sum of nothing would be -0.
    let made = main.made.iter().map(seconds).fold(0.0, |sum, s| sum + s);
    // Unfinished segments count as far as they are, else progress would stand still for seconds.
    let units = main.growing.values().sum::<usize>();
    let made = match main.counts_units {
        true => made + timeline.grid().seconds(units as i64),
        false => made,
    };
    status.made_seconds = made;
    let whole = timeline.duration().as_secs_f64().max(0.001);
    status.duration = Some(timeline.duration().as_secs_f64());
    status.current_time = main.made.first().filter(|r| r.0 == 0).map_or(0.0, seconds);
    status.progress = (made / whole * 100.0).min(99.9);
    status.activity = match main {
        v if v.heads.is_empty() => "idle",
        v if v.paused => "paused",
        v if v.made.is_empty() => "starting",
        _ => "encoding",
    };
    if !main.heads.is_empty() && !main.paused {
        status.speed = main.speed;
    }
    if status.speed > 0.0 {
        status.eta_seconds = Some(((whole - made) / status.speed).max(0.0) as u64);
    }
}

/// A stream that grows with its source: how long it is so far is all that can be said.
fn fill_live(status: &mut JobStatus, timeline: &SegmentTimeline, main: &TrackView) {
    let so_far = timeline.start(main.made_count()) - timeline.start(0);
    status.current_time = timeline.grid().seconds(so_far);
    status.made_seconds = status.current_time;
    status.activity = if main.made.is_empty() {
        "starting"
    } else {
        "live"
    };
}
