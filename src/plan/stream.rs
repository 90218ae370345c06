//! The plan of a whole stream: its origin in the source, its timeline, its tracks.

use serde::Serialize;

use crate::base::{Bitrate, MediaTime};
use crate::hardware::Hardware;
use crate::hls::{Grid, SegmentTimeline};
use crate::media::{
    AudioStream, MaxResolution, Mode, SourceProbe, StreamRequest, VideoChoice, VideoStream,
};

use super::audio::{AudioCodec, AudioPlan, check_encoder, plan_audio};
use super::encoder::AcceleratorSettings;
use super::error::PlanError;
use super::ladder::plan_ladder;
use super::subtitle::{SubtitlePlan, plan_burn, plan_subtitles, track_name, unique};
use super::video::{VideoCodec, VideoPlan, choose, plan_video};

/// What the gateway's owner fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanSettings {
    /// Length of a segment after the first few, seconds.
    pub segment_seconds: f64,
    pub max_resolution: MaxResolution,
    pub max_bitrate: Bitrate,
    pub tone_map: bool,
    /// Name of an x264 preset.
    pub video_preset: String,
    /// Whether adaptive streams have more than one rendition.
    pub enable_abr: bool,
    /// Most renditions of an adaptive stream.
    pub abr_max_variants: usize,
    pub hardware: AcceleratorSettings,
}

impl Default for PlanSettings {
    fn default() -> Self {
        PlanSettings {
            segment_seconds: 4.0,
            max_resolution: MaxResolution::R4k,
            max_bitrate: Bitrate::kbit(50_000),
            tone_map: true,
            video_preset: "veryfast".into(),
            enable_abr: true,
            abr_max_variants: 4,
            hardware: AcceleratorSettings::default(),
        }
    }
}

/// Form of the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Packaging {
    /// MPEG-TS with video and audio in the same segment: H.264 and AAC.
    TransportStream,
    /// CMAF, one playlist per track, for codecs that browsers do not take in transport streams.
    Cmaf,
}

/// A stream, decided once, before the first encoder starts.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPlan {
    pub packaging: Packaging,
    /// Presentation time in the source at which the timeline begins.
    pub origin: MediaTime,
    /// `start_time` as it was asked for, moved to the nearest picture.
    pub start_time: MediaTime,
    pub timeline: SegmentTimeline,
    /// Renditions of the same pictures, best first.
    pub videos: Vec<VideoPlan>,
    /// One for each audio stream of the source, the one that is played by itself first.
    pub audios: Vec<AudioPlan>,
    pub subtitles: Vec<SubtitlePlan>,
    /// Key frames of the played video in the source's time; empty when not known.
    pub keyframes: Vec<MediaTime>,
    /// Smallest time that a seek can reach; times before it mean the beginning.
    pub source_start: MediaTime,
    /// The container's timestamps cannot be searched exactly (MPEG-TS, MPEG-PS and raw streams).
    pub seeks_badly: bool,
    /// Timeline unit at which the pictures are known to end, when that is well before the end.
    pub video_end: Option<i64>,
}

/// Longest stream that is served, as in the original.
const MAX_SECONDS: f64 = 48.0 * 3600.0;

impl StreamPlan {
    /// Length of the stream; `None` while it is not known (live sources).
    pub fn duration(&self) -> Option<MediaTime> {
        (!self.timeline.is_open_ended()).then(|| self.timeline.duration())
    }

    /// The best video rendition.
    pub fn main_video(&self) -> Option<&VideoPlan> {
        self.videos.first()
    }

    /// The audio rendition that is played unless the listener chooses another.
    pub fn main_audio(&self) -> Option<&AudioPlan> {
        self.audios.first()
    }

    /// Names of the audio renditions, each there once.
    pub fn audio_names(&self) -> Vec<String> {
        let name = |a: &AudioPlan| track_name(a.title.as_deref(), a.language.as_deref(), "Audio");
        unique(self.audios.iter().map(name))
    }

    /// Frames of an audio rendition, all of them.
    pub fn audio_frames(&self, audio: &AudioPlan) -> i64 {
        let end = self.timeline.start(self.timeline.len());
        self.timeline.grid().ceil_in(end, audio.grid())
    }

    /// Whether runs of the video encoder have key frames at all cuts, wherever they begin; otherwise
    /// only those that begin at a cut.
    pub fn video_obeys_cuts(&self) -> bool {
        let encoded = self.main_video().filter(|v| v.encode.is_some());
        encoded.is_none_or(|v| v.codec.obeys_cuts())
    }

    fn audio_bits(&self) -> u64 {
        let rate = |a: &AudioPlan| a.bitrate.bits_per_second();
        self.audios.iter().map(rate).max().unwrap_or(0)
    }

    /// Upper bound of the rate of a video rendition with sound and the container's overhead, over
    /// half a target duration and more (RFC 8216 section 4.3.4.2): what the encoder's buffer holds
    /// may come at once.
    pub fn peak_bandwidth(&self, video: Option<&VideoPlan>, segment_seconds: f64) -> u64 {
        let burst = |v: &VideoPlan| match v.encode {
            Some(_) => (v.buffer_bits() as f64 * 0.9 / (segment_seconds / 2.0).max(1.0)) as u64,
            None => 0,
        };
        let pictures = video.map_or(0, |v| v.max_bitrate.bits_per_second() + burst(v));
        (pictures + self.audio_bits()) * 108 / 100
    }

    /// The same over the whole stream.
    pub fn average_bandwidth(&self, video: Option<&VideoPlan>) -> u64 {
        let pictures = video.map_or(0, |v| {
            let encode = v.encode.as_ref();
            let target = encode
                .and_then(|e| e.target_bitrate)
                .map(|b| b.bits_per_second());
            target.unwrap_or(v.max_bitrate.bits_per_second() * 2 / 3)
        });
        (pictures + self.audio_bits()) * 104 / 100
    }
}

/// Refuses what cannot be done whatever the source is, so that a client hears it at once.
pub fn check_request(
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<(), PlanError> {
    let output = &request.output;
    match request.mode {
        Mode::Stream => {}
        Mode::Abr if output.video == VideoChoice::Copy => return Err(PlanError::LadderOfCopies),
        Mode::Abr => {}
        Mode::Batch => {
            return Err(PlanError::NoStream {
                mode: request.mode.name(),
            });
        }
    }
    if let Some(codec) = VideoCodec::asked(output.video) {
        let (encoder, wanted) = codec.software_encoder();
        let chosen = choose(codec, output.hw_accel, hardware, settings)?;
        if chosen.is_none() && !hardware.has_encoder(encoder) {
            return Err(PlanError::NoEncoder { encoder, wanted });
        }
    }
    match AudioCodec::asked(output.audio) {
        Some(codec) => check_encoder(codec, hardware),
        None => Ok(()),
    }
}

/// Plans a stream.
///
/// `keyframes` are the key frames of the main video stream in presentation time, if the container
/// has an index of them; without them video is not copied.
pub fn plan_stream(
    probe: &SourceProbe,
    keyframes: Option<&[MediaTime]>,
    request: &StreamRequest,
    hardware: &Hardware,
    settings: &PlanSettings,
) -> Result<StreamPlan, PlanError> {
    check_request(request, hardware, settings)?;
    let video = probe.main_video();
    let audio = probe.main_audio();
    if video.is_none() && audio.is_none() {
        return Err(PlanError::NothingToPlay);
    }
    let keyframes = keyframes.unwrap_or_default();
    let burn = plan_burn(probe, video, request.output.burn_subtitle)?;
    let videos = match video {
        None => Vec::new(),
        Some(v) if request.mode == Mode::Abr && settings.enable_abr => {
            plan_ladder(v, burn, request, hardware, settings)?
        }
        Some(v) => {
            let copyable = copyable(probe, video, keyframes);
            vec![plan_video(v, copyable, burn, request, hardware, settings)?]
        }
    };
    let mut audios = plan_audios(probe, request, hardware)?;
    let subtitles = plan_subtitles(probe, &request.subtitles);
    let (video_plan, audio_plan) = (videos.first(), audios.first());
    let zero = timeline_zero(probe, video, audio, video_plan, keyframes);
    let end = stream_end(probe, video, audio).map(|e| e - zero);
    let layout = Layout {
        zero,
        end,
        start: request.start_time,
        settings,
        uniform: video_plan.is_some_and(|v| v.encode.is_some() && !v.codec.obeys_cuts()),
    };
    let (timeline, start_time) = match (video_plan, audio_plan) {
        (Some(v), _) if v.encode.is_none() => layout.copied(keyframes)?,
        (Some(v), _) => layout.on_grid(Grid::frames(v.rate), keyframes)?,
        (None, Some(a)) => layout.on_grid(a.grid(), &[])?,
        (None, None) => return Err(PlanError::NothingToPlay),
    };
    let origin = zero + start_time;
    let stream_close = origin + timeline.duration();
    // Encoded tracks are filled to the timeline's end.
    let early = |end: Option<MediaTime>| {
        end.filter(|e| stream_close - *e > PAD_WITHOUT_DOUBT)
            .map(|e| (e - origin).max(MediaTime::ZERO))
    };
    let video_end = early(video.and_then(VideoStream::end_time));
    for plan in &mut audios {
        let stream = probe.audio.iter().find(|a| a.index == plan.stream);
        let end = early(stream.and_then(AudioStream::end_time));
        plan.source_end = end.map(|e| plan.grid().unit_near(e));
    }
    let (mut videos, mut subtitles) = (videos, subtitles);
    if timeline.is_open_ended() {
        // It is read once: by one encoder of each kind.
        videos.truncate(1);
        audios.truncate(1);
        subtitles.clear();
    }
    Ok(StreamPlan {
        packaging: packaging(request.mode, &videos, &audios, &subtitles),
        origin,
        start_time,
        video_end: video_end.map(|e| timeline.grid().unit_near(e)),
        timeline,
        videos,
        audios,
        subtitles,
        keyframes: keyframes.to_vec(),
        source_start: probe.start_time,
        seeks_badly: !has_good_index(&probe.format),
    })
}

/// The audio streams of the source, the main one first. One that cannot be had as it is asked for is
/// left out, unless it is the main one.
fn plan_audios(
    probe: &SourceProbe,
    request: &StreamRequest,
    hardware: &Hardware,
) -> Result<Vec<AudioPlan>, PlanError> {
    let Some(main) = probe.main_audio() else {
        return Ok(Vec::new());
    };
    let first = plan_audio(main, request, hardware)?;
    let others = probe.audio.iter().filter(|a| a.index != main.index);
    let others = others.filter_map(|a| plan_audio(a, request, hardware).ok());
    // One group of renditions has one codec, so that a player can change between them.
    let same: Vec<AudioPlan> = others.filter(|a| a.codec == first.codec).collect();
    Ok(std::iter::once(first)
        .chain(same)
        .take(MAX_AUDIOS)
        .collect())
}

/// Audio renditions of one stream.
const MAX_AUDIOS: usize = 16;

/// The plain form is what the simplest players take: one playlist, transport streams with one picture
/// and one sound. Whatever has more to offer is a multivariant playlist.
fn packaging(
    mode: Mode,
    videos: &[VideoPlan],
    audios: &[AudioPlan],
    subtitles: &[SubtitlePlan],
) -> Packaging {
    let plain = mode != Mode::Abr
        && videos.iter().all(|v| v.codec == VideoCodec::H264)
        && audios.iter().all(|a| a.codec == AudioCodec::Aac)
        && audios.len() <= 1
        && subtitles.is_empty();
    match plain {
        true => Packaging::TransportStream,
        false => Packaging::Cmaf,
    }
}

/// Longest distance of key frames with which a stream is copied: a segment is held in memory while
/// it is made, and a player waits for all of it.
const MAX_COPY_GAP: MediaTime = MediaTime::from_micros(60_000_000);

/// Whether segments can be cut from the video as it is; else why not.
fn copyable(
    probe: &SourceProbe,
    video: Option<&VideoStream>,
    keyframes: &[MediaTime],
) -> Result<(), &'static str> {
    let Some(last) = keyframes.last() else {
        return Err("the source has no index of key frames");
    };
    let container = probe.duration.map(|d| probe.start_time + d);
    let end = video.and_then(VideoStream::end_time).or(container);
    let end = end.ok_or("the length of the source is not known")?;
    let mut gaps = keyframes.windows(2).map(|pair| pair[1] - pair[0]);
    if end - *last > MAX_COPY_GAP || gaps.any(|gap| gap > MAX_COPY_GAP) {
        return Err("its key frames are more than a minute apart");
    }
    Ok(())
}

/// A difference between the ends of the played streams that is no accident of rounding.
const PAD_WITHOUT_DOUBT: MediaTime = MediaTime::from_micros(1_000_000);

fn has_good_index(format: &str) -> bool {
    [
        "mov", "matroska", "avi", "flv", "asf", "wav", "ogg", "mp3", "flac",
    ]
    .iter()
    .any(|f| format.split(',').any(|name| name == *f))
}

/// The source's time at which its timeline begins: its first timestamp, moved so that the first
/// picture lies exactly on the frame grid (less than a frame of leading sound is cut off).
fn timeline_zero(
    probe: &SourceProbe,
    video: Option<&VideoStream>,
    audio: Option<&AudioStream>,
    plan: Option<&VideoPlan>,
    keyframes: &[MediaTime],
) -> MediaTime {
    let audio_start = audio.map(|a| a.start_time.unwrap_or(probe.start_time));
    let (Some(video), Some(plan)) = (video, plan) else {
        return audio_start.unwrap_or(probe.start_time);
    };
    let video_start = video.start_time.unwrap_or(probe.start_time);
    if plan.encode.is_none() {
        return keyframes.first().copied().unwrap_or(video_start);
    }
    match audio_start {
        Some(a) if a < video_start => {
            let lead = (video_start - a).as_secs_f64();
            let frames = (lead * plan.rate.as_f64() + 1e-6).floor() as i64;
            video_start - plan.rate.time_of(frames)
        }
        _ => video_start,
    }
}

/// The end of the longest played stream, in the source's time; the container's end where a stream
/// does not say its own.
fn stream_end(
    probe: &SourceProbe,
    video: Option<&VideoStream>,
    audio: Option<&AudioStream>,
) -> Option<MediaTime> {
    let container = probe.duration.map(|d| probe.start_time + d);
    let ends = [
        video.map(|v| v.end_time().or(container)),
        audio.map(|a| a.end_time().or(container)),
    ];
    // A stream cannot reach beyond its container; broken headers claim it.
    let within = |e: MediaTime| container.map_or(e, |c| e.min(c + PAD_WITHOUT_DOUBT));
    ends.into_iter().flatten().flatten().map(within).max()
}

struct Layout<'a> {
    zero: MediaTime,
    /// Relative to `zero`.
    end: Option<MediaTime>,
    start: MediaTime,
    settings: &'a PlanSettings,
    /// The encoder makes key frames at a fixed distance only.
    uniform: bool,
}

impl Layout<'_> {
    fn check(&self, start: MediaTime) -> Result<(), PlanError> {
        match self.end {
            None if start.is_positive() => Err(PlanError::StartWithoutLength),
            Some(end) if start >= end && start.is_positive() => Err(PlanError::StartBeyondEnd {
                start: format!("{:.3}", self.start.as_secs_f64()),
                duration: format!("{:.3}", end.as_secs_f64()),
            }),
            Some(end) if end.as_secs_f64() > MAX_SECONDS => Err(PlanError::TooLong {
                hours: (end.as_secs_f64() / 3600.0) as u64,
            }),
            _ => Ok(()),
        }
    }

    fn on_grid(
        &self,
        grid: Grid,
        keyframes: &[MediaTime],
    ) -> Result<(SegmentTimeline, MediaTime), PlanError> {
        let first = grid.unit_near(self.start);
        let start = grid.time_of(first);
        self.check(start)?;
        let seconds = self.settings.segment_seconds;
        let timeline = match self.end {
            None if self.uniform => SegmentTimeline::uniform_open_ended(grid, seconds),
            None => SegmentTimeline::open_ended(grid, seconds),
            Some(end) if self.uniform => {
                SegmentTimeline::uniform(grid, grid.unit_near(end - start), seconds)
            }
            Some(end) => {
                let total = grid.unit_near(end - start);
                let origin = self.zero + start;
                let units = keyframes.iter().map(|k| grid.unit_near(*k - origin));
                let keys: Vec<i64> = units.filter(|u| *u > 0).collect();
                SegmentTimeline::fixed(grid, total, seconds, &keys)
            }
        };
        Ok((timeline, start))
    }

    /// A copy begins at the key frame at or before `start_time`.
    fn copied(&self, keyframes: &[MediaTime]) -> Result<(SegmentTimeline, MediaTime), PlanError> {
        self.check(self.start)?;
        let grid = Grid::ticks(COPY_TIMESCALE);
        let wanted = self.zero + self.start;
        let first = keyframes
            .partition_point(|k| *k <= wanted)
            .saturating_sub(1);
        let no_index = PlanError::CopyNeedsIndex {
            reason: "the source has no key frame",
        };
        let origin = *keyframes.get(first).ok_or_else(|| no_index.clone())?;
        let units: Vec<i64> = keyframes[first..]
            .iter()
            .map(|k| grid.unit_near(*k - origin))
            .collect();
        let end = self.end.ok_or(PlanError::CopyNeedsIndex {
            reason: "its length is not known",
        })?;
        let total = grid.unit_near(self.zero + end - origin);
        let timeline =
            SegmentTimeline::at_keyframes(grid, total, self.settings.segment_seconds, &units);
        Ok((timeline.ok_or(no_index)?, origin - self.zero))
    }
}

/// Ticks per second of copied video: transport streams have no finer clock.
pub const COPY_TIMESCALE: u32 = 90_000;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::{FrameRate, Resolution};
    use crate::media::{ColorInfo, FieldOrder};

    pub(in crate::plan) fn video() -> VideoStream {
        VideoStream {
            index: 0,
            codec: "h264".into(),
            profile: "High".into(),
            pixel_format: "yuv420p".into(),
            bit_depth: 8,
            coded: Resolution {
                width: 1920,
                height: 1080,
            },
            sample_aspect: (1, 1),
            rotation: 0,
            field_order: FieldOrder::Progressive,
            base_rate: FrameRate::new(30, 1),
            average_rate: FrameRate::new(30, 1),
            start_time: Some(MediaTime::ZERO),
            duration: Some(MediaTime::from_micros(60_000_000)),
            bit_rate: None,
            has_b_frames: true,
            color: ColorInfo::default(),
            default: true,
        }
    }

    pub(in crate::plan) fn probe() -> SourceProbe {
        SourceProbe {
            format: "matroska,webm".into(),
            duration: Some(MediaTime::from_micros(60_021_000)),
            start_time: MediaTime::ZERO,
            size_bytes: None,
            video: vec![video()],
            covers: vec![],
            audio: vec![AudioStream {
                index: 1,
                codec: "aac".into(),
                profile: "LC".into(),
                sample_rate: 48_000,
                channels: 6,
                start_time: Some(MediaTime::ZERO),
                duration: Some(MediaTime::from_micros(60_000_000)),
                time_base: (1, 1000),
                bit_rate: None,
                language: None,
                title: None,
                default: true,
            }],
            subtitles: vec![],
        }
    }

    pub(in crate::plan) fn machine() -> Hardware {
        let names = |n: &[&str]| n.iter().map(|s| (*s).to_owned()).collect();
        Hardware {
            ffmpeg_version: "5.1".into(),
            encoders: names(&["libx264", "libx265", "libvpx-vp9", "libsvtav1", "aac"]),
            decoders: names(&["h264"]),
            filters: names(&["zscale", "tonemap"]),
            maps_dolby_vision: false,
            accelerators: Vec::new(),
        }
    }

    fn plan(probe: &SourceProbe, request: &StreamRequest) -> Result<StreamPlan, PlanError> {
        let keys: Vec<MediaTime> = (0..12)
            .map(|i| MediaTime::from_micros(i * 5_000_000))
            .collect();
        plan_stream(
            probe,
            Some(&keys),
            request,
            &machine(),
            &PlanSettings::default(),
        )
    }

    #[test]
    fn the_first_picture_lies_on_the_grid() {
        let mut p = probe();
        p.video[0].start_time = Some(MediaTime::from_micros(121_000));
        let plan = plan(&p, &StreamRequest::default()).unwrap();
        // Three frames of 1/30 s fit before the picture at 0.121 s.
        assert_eq!(plan.origin, MediaTime::from_micros(21_000));
        assert_eq!(plan.packaging, Packaging::TransportStream);
    }

    #[test]
    fn an_empty_edit_is_cut_off() {
        let mut p = probe();
        p.audio.clear();
        p.start_time = MediaTime::from_micros(5_000_000);
        p.video[0].start_time = Some(MediaTime::from_micros(5_000_000));
        p.video[0].duration = Some(MediaTime::from_micros(10_000_000));
        let plan = plan(&p, &StreamRequest::default()).unwrap();
        assert_eq!(plan.duration(), Some(MediaTime::from_micros(10_000_000)));
    }

    #[test]
    fn start_time_moves_the_origin() {
        let at = |s: f64| {
            plan(
                &probe(),
                &StreamRequest {
                    start_time: MediaTime::from_secs_f64(s),
                    ..Default::default()
                },
            )
        };
        let p = at(30.01).unwrap();
        assert_eq!(
            (p.start_time, p.origin),
            (MediaTime::from_micros(30_000_000), p.start_time)
        );
        assert_eq!(p.duration(), Some(MediaTime::from_micros(30_000_000)));
        assert!(matches!(at(60.5), Err(PlanError::StartBeyondEnd { .. })));
    }

    #[test]
    fn auto_copies_what_fits_and_encodes_the_rest() {
        let mut request = StreamRequest::default();
        request.output.video = VideoChoice::Auto;
        let copied = plan(&probe(), &request).unwrap();
        assert_eq!(copied.videos[0].encode, None);
        request.output.resolution = MaxResolution::R720;
        let scaled = plan(&probe(), &request).unwrap().videos.remove(0);
        assert_eq!(
            scaled.size,
            Resolution {
                width: 1280,
                height: 720
            }
        );
        assert!(scaled.encode.is_some());
        let mut odd = probe();
        odd.video[0].codec = "mpeg4".into();
        request.output.video = VideoChoice::Copy;
        assert!(matches!(
            plan(&odd, &request),
            Err(PlanError::CannotCopyVideo { .. })
        ));
    }

    #[test]
    fn pictures_without_key_frames_for_minutes_are_not_copied() {
        let mut request = StreamRequest::default();
        request.output.video = VideoChoice::Auto;
        let mut source = probe();
        let two_hours = MediaTime::from_secs_f64(7200.0);
        source.duration = Some(two_hours);
        source.video[0].duration = Some(two_hours);
        let plan = |keys: &[MediaTime], request: &StreamRequest| {
            let settings = PlanSettings::default();
            plan_stream(&source, Some(keys), request, &machine(), &settings)
        };
        let only = [MediaTime::ZERO];
        assert!(plan(&only, &request).unwrap().videos[0].encode.is_some());
        request.output.video = VideoChoice::Copy;
        assert!(matches!(
            plan(&only, &request),
            Err(PlanError::CopyNeedsIndex { .. })
        ));
        let minutely: Vec<_> = (0..120)
            .map(|i| MediaTime::from_micros(i * 60_000_000))
            .collect();
        assert!(plan(&minutely, &request).is_ok());
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_a_reason() {
        let mut request = StreamRequest::default();
        request.output.video = VideoChoice::H265;
        let p = probe();
        let bare = Hardware::default();
        let refused = plan_stream(&p, None, &request, &bare, &PlanSettings::default());
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the installed ffmpeg has no encoder libx265, which h265 needs"
        );
        let empty = SourceProbe {
            video: vec![],
            audio: vec![],
            ..p
        };
        assert_eq!(
            plan(&empty, &StreamRequest::default()),
            Err(PlanError::NothingToPlay)
        );
    }
}
