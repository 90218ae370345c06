//! One stream: a plan, its tracks, and what all streams of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::base::MediaTime;
use crate::hls::Grid;
use crate::media::SourceLocator;
use crate::package::TrackCuts;
use crate::plan::{AAC_FRAME_SAMPLES, StreamPlan, video_timescale};
use crate::source::GateReport;

use super::cache::SegmentCache;
use super::open::Opener;
use super::registry::SessionSettings;
use super::track::{Track, TrackKind, TrackView};

/// What all streams of one gateway share.
pub(super) struct Context {
    pub(super) opener: Opener,
    pub(super) cache: Arc<SegmentCache>,
    /// Encoders that may run at one time, over all streams.
    pub(super) encoders: Semaphore,
    /// Encoders started since the gateway was.
    pub(super) encoder_starts: AtomicU64,
    pub(super) settings: SessionSettings,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
    pub(super) started: Instant,
}

impl Context {
    /// Milliseconds since the gateway started.
    pub(super) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// The part of a stream that its tracks need.
pub(super) struct StreamCore {
    pub(super) id: Uuid,
    pub(super) plan: StreamPlan,
    pub(super) locator: SourceLocator,
    pub(super) context: Arc<Context>,
    pub(super) cancel: CancellationToken,
}

impl StreamCore {
    /// Timeline units in `seconds`, rounded up.
    pub(super) fn units_in(&self, seconds: i64) -> i64 {
        match &self.plan.video {
            Some(v) => (seconds as f64 * v.rate.as_f64()).ceil() as i64,
            None => self.audio_units_in(seconds),
        }
    }

    pub(super) fn audio_units_in(&self, seconds: i64) -> i64 {
        let rate = self.plan.audio.as_ref().map_or(48_000, |a| a.sample_rate);
        Grid::audio_frames(rate, AAC_FRAME_SAMPLES)
            .unit_near(MediaTime::from_micros(seconds * 1_000_000))
    }

    /// What the gate saw of trouble with the source, in words.
    pub(super) fn gate_trouble(&self, report: &GateReport) -> Option<String> {
        if let Some(host) = &report.refused {
            return Some(format!("the source leads to {host}, which is not allowed"));
        }
        if report.truncated {
            return Some("the source's server broke off in the middle".into());
        }
        match report.last_status {
            Some(status) if status >= 400 => Some(format!("the source answered {status}")),
            _ => report.upstream_error.clone(),
        }
    }
}

/// A stream that can be played while it is made. Shared by all jobs that ask for the same.
pub struct Stream {
    pub(super) core: Arc<StreamCore>,
    pub(super) video: Option<Arc<Track>>,
    pub(super) audio: Option<Arc<Track>>,
    last_seen_ms: AtomicU64,
}

impl Stream {
    pub(super) fn new(plan: StreamPlan, locator: SourceLocator, context: Arc<Context>) -> Stream {
        let cancel = context.cancel.child_token();
        let core = Arc::new(StreamCore {
            id: Uuid::now_v7(),
            plan,
            locator,
            context,
            cancel,
        });
        let plan = &core.plan;
        let timeline = Arc::new(plan.timeline.clone());
        let both = plan.video.is_some() && plan.audio.is_some();
        let heads = core.context.settings.max_heads_per_session;
        let (video_heads, audio_heads) = if both {
            (heads.div_ceil(2), (heads / 2).max(1))
        } else {
            (heads, heads)
        };
        let video = plan.video.as_ref().map(|v| {
            let cuts = match &v.encode {
                Some(_) => {
                    let ticks = i64::from(video_timescale(v) / v.rate.num() * v.rate.den());
                    TrackCuts::pictures(timeline.clone(), ticks)
                }
                None => TrackCuts::key_pictures(timeline.clone(), crate::plan::COPY_TIMESCALE),
            };
            Track::new(
                TrackKind::Video,
                cuts,
                core.clone(),
                video_heads,
                plan.video_end,
            )
        });
        let audio = plan.audio.as_ref().map(|a| {
            let cuts = match &a.encode {
                Some(_) => TrackCuts::sound(timeline.clone(), a.sample_rate, AAC_FRAME_SAMPLES),
                None => TrackCuts::copied_sound(timeline.clone(), a.sample_rate),
            };
            Track::new(
                TrackKind::Audio,
                cuts,
                core.clone(),
                audio_heads,
                plan.audio_end,
            )
        });
        let seen = core.context.now_ms();
        Stream {
            core,
            video,
            audio,
            last_seen_ms: AtomicU64::new(seen),
        }
    }

    pub fn plan(&self) -> &StreamPlan {
        &self.core.plan
    }

    pub(super) fn tracks(&self) -> impl Iterator<Item = &Arc<Track>> {
        self.video.iter().chain(&self.audio)
    }

    /// Starts the heads of the first segments before they are asked for.
    pub(super) fn prefetch(&self) {
        self.tracks().for_each(|t| t.prefetch(0));
    }

    /// A client asked for something of this stream.
    pub(super) fn touch(&self) {
        self.last_seen_ms
            .store(self.core.context.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn idle_for(&self) -> Duration {
        let seen = self.last_seen_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.core.context.now_ms().saturating_sub(seen))
    }

    pub(super) fn stop_heads(&self) -> bool {
        self.tracks().fold(false, |any, t| t.stop_heads() | any)
    }

    pub(super) fn views(&self) -> Vec<TrackView> {
        self.tracks().map(|t| t.view()).collect()
    }

    /// Ends all work and deletes all segments. Requests under way end with an error.
    pub(super) async fn close(&self) {
        self.core.cancel.cancel();
        for track in self.tracks() {
            track.stop_heads();
            track.abandon();
        }
        self.core.context.cache.remove_stream(self.core.id).await;
    }
}
