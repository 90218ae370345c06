//! One stream: a plan, its tracks, and what all streams of a gateway share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::base::MediaTime;
use crate::hls::{Grid, SegmentTimeline};
use crate::media::SourceLocator;
use crate::package::TrackCuts;
use crate::plan::{AAC_FRAME_SAMPLES, StreamPlan, video_timescale};
use crate::source::GateReport;

use super::cache::SegmentCache;
use super::encoders::Encoders;
use super::live::{self, LiveState};
use super::open::Opener;
use super::registry::SessionSettings;
use super::track::{Track, TrackKind, TrackView};

/// What all streams of one gateway share.
pub(super) struct Context {
    pub(super) opener: Opener,
    pub(super) cache: Arc<SegmentCache>,
    /// Encoders that may run at one time, over all streams.
    pub(super) encoders: Encoders,
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
    pub(super) live: LiveState,
    /// Told of every change that a head or a request of any track may wait for.
    pub(super) changed: Notify,
    /// Whether a request waits for pictures; kept by the video track.
    pub(super) pictures_awaited: AtomicBool,
    /// Unit after the last picture (or audio frame, without pictures) of an open-ended source.
    live_end: Mutex<Option<i64>>,
}

impl StreamCore {
    /// Whether an encoder may be held back: a source that is sent as it happens would be lost.
    pub(super) fn may_pause(&self) -> bool {
        !matches!(self.locator, SourceLocator::Live(_))
    }

    /// A track of an open-ended source has ended.
    pub(super) fn note_live_end(&self, kind: TrackKind, unit: i64) {
        if kind == TrackKind::Video || self.plan.video.is_none() {
            *self.live_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(unit);
        }
    }

    /// The timeline as far as it is known: cut off at the end of an open-ended source.
    pub(super) fn known_timeline(&self) -> SegmentTimeline {
        match *self.live_end.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(end) => self.plan.timeline.closed_at(end),
            None => self.plan.timeline.clone(),
        }
    }

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
            live: LiveState::default(),
            changed: Notify::new(),
            pictures_awaited: AtomicBool::new(false),
            live_end: Mutex::new(None),
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
        if self.core.plan.timeline.is_open_ended() {
            live::start(&self.core, self.tracks().cloned().collect());
        } else {
            self.tracks().for_each(|t| t.prefetch(0));
        }
    }

    /// Somebody waits for the end: the first segment that was never made is next.
    pub(super) fn advance(&self) {
        self.touch();
        self.tracks().for_each(|t| t.advance());
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

    /// Whether a request for a segment waits, however long ago it came.
    pub(super) fn is_waited_for(&self) -> bool {
        self.tracks().any(|t| t.is_waited_for())
    }

    /// Ends the encoders that no request waits for; whether there were any.
    pub(super) fn stop_idle_heads(&self) -> bool {
        self.tracks()
            .fold(false, |any, t| t.stop_idle_heads() | any)
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

/// A stream that no job took, because its job was cancelled meanwhile, leaves nothing behind.
impl Drop for Stream {
    fn drop(&mut self) {
        if self.core.cancel.is_cancelled() {
            return;
        }
        self.core.cancel.cancel();
        let core = self.core.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let removing = async move { core.context.cache.remove_stream(core.id).await };
            self.core.context.tracker.spawn_on(removing, &runtime);
        }
    }
}
