//! A job: one request to transcode, as its client knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::base::{JobId, MediaTime};
use crate::media::StreamRequest;

use super::error::SessionError;
use super::stream::Stream;

/// How far a job is.
#[derive(Clone)]
pub enum JobPhase {
    /// The source is being probed.
    Opening,
    /// The stream can be played.
    Open(Arc<Stream>),
    Failed(Arc<SessionError>),
    Cancelled,
}

/// See the module.
pub struct Job {
    pub id: JobId,
    /// The source as its client may see it: without credentials.
    pub source: String,
    pub request: StreamRequest,
    pub session_id: Option<String>,
    pub created_at: Timestamp,
    pub(super) phase: watch::Sender<JobPhase>,
    last_seen_ms: AtomicU64,
    /// Highest share shown so far, in hundredths of a percent.
    shown: AtomicU32,
}

/// Work as a client sees it (contract 3.4, and our own additions).
#[derive(Debug, Clone, PartialEq)]
pub struct JobStatus {
    pub name: &'static str,
    /// 0.0..=100.0; never falls.
    pub progress: f64,
    /// Media time up to which the stream is made without a gap, seconds.
    pub current_time: f64,
    pub duration: Option<f64>,
    pub speed: f64,
    pub eta_seconds: Option<u64>,
    pub error: Option<String>,
    /// What happens now: probing, starting, encoding, paused, idle, ready.
    pub activity: &'static str,
    pub segments_total: Option<u32>,
    pub segments_ready: Vec<(u32, u32)>,
    pub warnings: Vec<String>,
    pub software: bool,
    pub start_time: MediaTime,
}

impl Job {
    pub(super) fn new(
        source: String,
        request: StreamRequest,
        session_id: Option<String>,
        now_ms: u64,
    ) -> Self {
        Job {
            id: JobId::random(),
            source,
            request,
            session_id,
            created_at: Timestamp::now(),
            phase: watch::Sender::new(JobPhase::Opening),
            last_seen_ms: AtomicU64::new(now_ms),
            shown: AtomicU32::new(0),
        }
    }

    pub fn phase(&self) -> JobPhase {
        self.phase.borrow().clone()
    }

    /// The stream, waiting until the source was probed. Cancel-safe.
    pub async fn stream(&self) -> Result<Arc<Stream>, Arc<SessionError>> {
        let mut phase = self.phase.subscribe();
        let opened = phase.wait_for(|p| !matches!(p, JobPhase::Opening)).await;
        match opened.map(|p| p.clone()) {
            Ok(JobPhase::Open(stream)) => Ok(stream),
            Ok(JobPhase::Failed(error)) => Err(error),
            _ => Err(Arc::new(SessionError::Cancelled)),
        }
    }

    pub(super) fn touch(&self, now_ms: u64) {
        self.last_seen_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms.load(Ordering::Relaxed)
    }

    /// Whether the job may still be cancelled.
    pub fn is_live(&self) -> bool {
        match &*self.phase.borrow() {
            JobPhase::Opening => true,
            JobPhase::Open(stream) => !stream.all_ready(),
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
            segments_total: None,
            segments_ready: Vec::new(),
            warnings: Vec::new(),
            software: false,
            start_time: self.request.start_time,
        };
        match self.phase() {
            JobPhase::Opening => {}
            JobPhase::Open(stream) => stream.fill(&mut status),
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

impl Stream {
    /// Whether every segment has been made at least once.
    pub fn all_ready(&self) -> bool {
        let total = self.core.plan.timeline.len();
        self.views().iter().all(|v| v.most_ready >= total)
    }

    fn fill(&self, status: &mut JobStatus) {
        let plan = &self.core.plan;
        let timeline = &plan.timeline;
        let views = self.views();
        // Video decides; sound is made so much faster that it only confuses.
        let Some(main) = views.first() else { return };
        let total = timeline.len();
        status.duration = plan.duration().map(MediaTime::as_secs_f64);
        status.segments_total = Some(total);
        status.segments_ready = main.ready.clone();
        status.speed = if main.heads.is_empty() || main.paused {
            0.0
        } else {
            main.speed
        };
        status.software = true;
        status.start_time = plan.start_time;
        let made: f64 = main
            .ready
            .iter()
            .map(|(a, b)| self.seconds_between(*a, *b))
            .sum();
        let whole = timeline.duration().as_secs_f64().max(0.001);
        let continuous = main.ready.first().filter(|r| r.0 == 0);
        status.current_time = continuous.map_or(0.0, |r| self.seconds_between(r.0, r.1));
        let complete = self.all_ready();
        status.progress = if complete {
            100.0
        } else {
            (made / whole * 100.0).min(99.9)
        };
        status.name = if complete { "ready" } else { "processing" };
        status.activity = match (complete, main) {
            (true, _) => "ready",
            (_, v) if v.heads.is_empty() => "idle",
            (_, v) if v.paused => "paused",
            (_, v) if v.ready.is_empty() => "starting",
            _ => "encoding",
        };
        if !complete && status.speed > 0.0 {
            status.eta_seconds = Some(((whole - made) / status.speed).max(0.0) as u64);
        }
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

    fn seconds_between(&self, first: u32, last: u32) -> f64 {
        let timeline = &self.core.plan.timeline;
        timeline
            .grid()
            .seconds(timeline.end(last) - timeline.start(first))
    }
}
