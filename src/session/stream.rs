//! One stream: a plan, its tracks, and what all streams of a gateway share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::base::MediaTime;
use crate::hls::SegmentTimeline;
use crate::media::SourceLocator;
use crate::package::TrackCuts;
use crate::plan::{COPY_TIMESCALE, StreamPlan, video_timescale};
use crate::source::GateReport;

use super::cache::SegmentCache;
use super::encoders::Encoders;
use super::head_start::HeadStart;
use super::live::{self, LiveState};
use super::open::{Opened, Opener};
use super::registry::SessionSettings;
use super::rendition::{TrackId, TrackKind, TrackView};
use super::subtitles::SubtitleTrack;
use super::track::Track;

/// What all streams of one gateway share.
pub(super) struct Context {
    pub(super) opener: Opener,
    pub(super) cache: Arc<SegmentCache>,
    /// Encoders that may run at one time, over all streams.
    pub(super) encoders: Encoders,
    /// Encoders started since the gateway was.
    pub(super) encoder_starts: AtomicU64,
    /// Those of them that ran before their source was known.
    pub(super) head_starts: AtomicU64,
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
    /// Video tracks that requests wait for; kept by them.
    pub(super) pictures_awaited: AtomicUsize,
    /// Encoders that run already.
    pub(super) head_start: HeadStart,
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
        if kind == TrackKind::Video || self.plan.videos.is_empty() {
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

    /// Units of a track in `seconds`: pictures, rounded up, or frames of sound.
    pub(super) fn units_in(&self, track: TrackId, seconds: i64) -> i64 {
        let time = MediaTime::from_micros(seconds * 1_000_000);
        let (videos, audios) = (&self.plan.videos, &self.plan.audios);
        let units = match track.kind {
            TrackKind::Video => videos
                .get(track.nth)
                .map(|v| (seconds as f64 * v.rate.as_f64()).ceil() as i64),
            TrackKind::Audio => audios.get(track.nth).map(|a| a.grid().unit_near(time)),
        };
        units.unwrap_or(0)
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

/// Where a track's segments begin and end; `None` when the plan has no such track.
pub(super) fn track_cuts(
    plan: &StreamPlan,
    timeline: &Arc<SegmentTimeline>,
    id: TrackId,
) -> Option<TrackCuts> {
    let timeline = timeline.clone();
    Some(match id.kind {
        TrackKind::Video => {
            let video = plan.videos.get(id.nth)?;
            match &video.encode {
                Some(_) => {
                    let ticks = video_timescale(video) / video.rate.num() * video.rate.den();
                    TrackCuts::pictures(timeline, i64::from(ticks), video.decode_lead())
                }
                None => TrackCuts::key_pictures(timeline, COPY_TIMESCALE),
            }
        }
        TrackKind::Audio => {
            let audio = plan.audios.get(id.nth)?;
            match &audio.encode {
                Some(_) => {
                    TrackCuts::sound(timeline, audio.sample_rate, audio.codec.frame_samples())
                }
                None => TrackCuts::copied_sound(timeline, audio.sample_rate),
            }
        }
    })
}

/// Time without a request after which one of several renditions counts as left: players ask for a
/// segment once in its length, unless they are paused, and then can wait for a new encoder.
const LEFT_AFTER: Duration = Duration::from_secs(15);

/// A stream that can be played while it is made. Shared by all jobs that ask for the same.
pub struct Stream {
    pub(super) core: Arc<StreamCore>,
    /// The tracks of the plan's renditions, in its order.
    pub(super) videos: Vec<Arc<Track>>,
    pub(super) audios: Vec<Arc<Track>>,
    pub(super) subtitles: Vec<SubtitleTrack>,
    /// What of the request could not be had, in words.
    pub(super) left_out: Vec<String>,
    last_seen_ms: AtomicU64,
    /// Whether a segment was ever asked for.
    pub(super) played: AtomicBool,
}

impl Stream {
    pub(super) fn new(
        opened: Opened,
        locator: SourceLocator,
        head_start: HeadStart,
        context: Arc<Context>,
    ) -> Stream {
        let Opened {
            plan,
            external,
            size_bytes,
            left_out,
        } = opened;
        let cancel = context.cancel.child_token();
        let core = Arc::new(StreamCore {
            id: Uuid::now_v7(),
            plan,
            locator,
            context,
            cancel,
            live: LiveState::default(),
            changed: Notify::new(),
            pictures_awaited: AtomicUsize::new(0),
            live_end: Mutex::new(None),
            head_start,
        });
        let plan = &core.plan;
        let timeline = Arc::new(plan.timeline.clone());
        let heads = core.context.settings.max_heads_per_session;
        let (for_video, for_audio) = match (plan.videos.len(), plan.audios.len()) {
            (0, _) | (_, 0) => (heads, heads),
            (1, _) => (heads.div_ceil(2), (heads / 2).max(1)),
            // Several renditions may be watched at one time.
            _ => ((heads - 1).max(1), 1),
        };
        let video_permits = Arc::new(Encoders::new(for_video));
        let audio_permits = Arc::new(Encoders::new(for_audio));
        let track = |id: TrackId, permits: &Arc<Encoders>, source_end| {
            let cuts = track_cuts(plan, &timeline, id)?;
            Some(Track::new(
                id,
                cuts,
                core.clone(),
                permits.clone(),
                source_end,
            ))
        };
        let videos = (0..plan.videos.len()).map(TrackId::video);
        let videos = videos
            .filter_map(|id| track(id, &video_permits, plan.video_end))
            .collect();
        let audios = plan.audios.iter().enumerate();
        let audios = audios
            .filter_map(|(nth, a)| track(TrackId::audio(nth), &audio_permits, a.source_end))
            .collect();
        let subtitles = SubtitleTrack::of(&core, external, size_bytes);
        let seen = core.context.now_ms();
        Stream {
            core,
            videos,
            audios,
            subtitles,
            left_out,
            last_seen_ms: AtomicU64::new(seen),
            played: AtomicBool::new(false),
        }
    }

    pub fn plan(&self) -> &StreamPlan {
        &self.core.plan
    }

    pub(super) fn tracks(&self) -> impl Iterator<Item = &Arc<Track>> {
        self.videos.iter().chain(&self.audios)
    }

    /// Starts the heads of the first segments before they are asked for.
    pub(super) fn prefetch(&self) {
        if self.core.plan.timeline.is_open_ended() {
            live::start(&self.core, self.tracks().cloned().collect());
        } else {
            let first = self.videos.first().into_iter().chain(self.audios.first());
            first.for_each(|t| t.prefetch(0));
        }
    }

    /// Ends the encoders of renditions that their player has left for another.
    pub(super) fn stop_left_renditions(&self) {
        for group in [&self.videos, &self.audios] {
            if group.len() > 1 {
                let left = group.iter().filter(|t| t.unasked_for() > LEFT_AFTER);
                left.for_each(|t| {
                    t.stop_idle_heads();
                });
            }
        }
    }

    /// Somebody waits for the end: the first segment that was never made is next.
    pub(super) fn advance(&self) {
        self.touch();
        let first = self.videos.first().into_iter().chain(self.audios.first());
        first.for_each(|t| t.advance());
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
        self.core.head_start.clear();
        self.tracks()
            .fold(false, |any, t| t.stop_idle_heads() | any)
    }

    /// How the pictures stand, all renditions together, and how the sound that is played by itself
    /// does; what the stream has of both.
    pub(super) fn views(&self) -> Vec<TrackView> {
        let pictures = self
            .videos
            .iter()
            .map(|t| t.view())
            .reduce(TrackView::either);
        let sound = self.audios.first().map(|t| t.view());
        pictures.into_iter().chain(sound).collect()
    }

    /// Ends all work and deletes all segments. Requests under way end with an error.
    pub(super) async fn close(&self) {
        self.core.cancel.cancel();
        self.core.head_start.clear();
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
