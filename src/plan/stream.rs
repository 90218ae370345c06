//! The plan of a whole stream: its origin in the source, its timeline, its tracks.

use serde::Serialize;

use crate::base::{Bitrate, MediaTime};
use crate::hardware::Hardware;
use crate::hls::{Grid, SegmentTimeline};
use crate::media::{
    AudioChoice, AudioStream, HwAccel, MaxResolution, Mode, SourceProbe, StreamRequest, VideoStream,
};

use super::audio::{AAC_FRAME_SAMPLES, AudioPlan, plan_audio};
use super::error::PlanError;
use super::video::{VideoCodec, VideoPlan, plan_video};

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
}

impl Default for PlanSettings {
    fn default() -> Self {
        PlanSettings {
            segment_seconds: 4.0,
            max_resolution: MaxResolution::R4k,
            max_bitrate: Bitrate::kbit(50_000),
            tone_map: true,
            video_preset: "veryfast".into(),
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
    pub video: Option<VideoPlan>,
    pub audio: Option<AudioPlan>,
    /// Key frames of the played video in the source's time; empty when not known.
    pub keyframes: Vec<MediaTime>,
    /// Smallest time that a seek can reach; times before it mean the beginning.
    pub source_start: MediaTime,
    /// The container's timestamps cannot be searched exactly (MPEG-TS, MPEG-PS and raw streams).
    pub seeks_badly: bool,
    /// Timeline unit at which the pictures are known to end, when that is well before the end.
    pub video_end: Option<i64>,
    /// The same for sound, in audio frames of the output.
    pub audio_end: Option<i64>,
}

/// Longest stream that is served, as in the original.
const MAX_SECONDS: f64 = 48.0 * 3600.0;

impl StreamPlan {
    /// Length of the stream; `None` while it is not known (live sources).
    pub fn duration(&self) -> Option<MediaTime> {
        (!self.timeline.is_open_ended()).then(|| self.timeline.duration())
    }

    /// Frames of the audio track, all of them.
    pub fn audio_frames(&self) -> i64 {
        let rate = self.audio.as_ref().map_or(48_000, |a| a.sample_rate);
        let grid = Grid::audio_frames(rate, AAC_FRAME_SAMPLES);
        self.timeline
            .grid()
            .ceil_in(self.timeline.start(self.timeline.len()), grid)
    }

    /// Whether runs of the video encoder have key frames at all cuts, wherever they begin; otherwise
    /// only those that begin at a cut.
    pub fn video_obeys_cuts(&self) -> bool {
        let encoded = self.video.as_ref().filter(|v| v.encode.is_some());
        encoded.is_none_or(|v| v.codec.obeys_cuts())
    }

    /// RFC 6381 names are known only from the encoder's headers; this bound of the rate is known
    /// before: all tracks and the container's overhead.
    pub fn peak_bandwidth(&self) -> u64 {
        let video = self
            .video
            .as_ref()
            .map_or(0, |v| v.max_bitrate.bits_per_second());
        let audio = self
            .audio
            .as_ref()
            .map_or(0, |a| a.bitrate.bits_per_second());
        (video + audio) * 108 / 100
    }
}

/// Refuses what cannot be done whatever the source is, so that a client hears it at once.
pub fn check_request(request: &StreamRequest, hardware: &Hardware) -> Result<(), PlanError> {
    if request.mode != Mode::Stream {
        return Err(PlanError::ModeNotAvailable {
            mode: request.mode.name(),
        });
    }
    let output = &request.output;
    if !matches!(output.hw_accel, HwAccel::Auto | HwAccel::Software) {
        return Err(PlanError::NoSuchHardware {
            name: output.hw_accel.name(),
        });
    }
    if let Some((encoder, wanted)) =
        VideoCodec::asked(output.video).map(VideoCodec::software_encoder)
        && !hardware.has_encoder(encoder)
    {
        return Err(PlanError::NoEncoder { encoder, wanted });
    }
    match output.audio {
        AudioChoice::Aac | AudioChoice::Auto | AudioChoice::Copy => Ok(()),
        other => Err(PlanError::AudioCodecNotStreamed {
            codec: other.name(),
        }),
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
    check_request(request, hardware)?;
    let video = probe.main_video();
    let audio = probe.main_audio();
    if video.is_none() && audio.is_none() {
        return Err(PlanError::NothingToPlay);
    }
    let keyframes = keyframes.unwrap_or_default();
    let copyable = copyable(probe, video, keyframes);
    let video_plan = match video {
        Some(v) => Some(plan_video(v, copyable, request, hardware, settings)?),
        None => None,
    };
    let audio_plan = match audio {
        Some(a) => Some(plan_audio(a, request, hardware)?),
        None => None,
    };
    let zero = timeline_zero(probe, video, audio, video_plan.as_ref(), keyframes);
    let end = stream_end(probe, video, audio).map(|e| e - zero);
    let layout = Layout {
        zero,
        end,
        start: request.start_time,
        settings,
        uniform: video_plan
            .as_ref()
            .is_some_and(|v| v.encode.is_some() && !v.codec.obeys_cuts()),
    };
    let (timeline, start_time) = match (&video_plan, &audio_plan) {
        (Some(v), _) if v.encode.is_none() => layout.copied(keyframes)?,
        (Some(v), _) => layout.on_grid(Grid::frames(v.rate), keyframes)?,
        (None, Some(a)) => {
            layout.on_grid(Grid::audio_frames(a.sample_rate, AAC_FRAME_SAMPLES), &[])?
        }
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
    let audio_end = early(audio.and_then(AudioStream::end_time));
    let audio_unit = |end: MediaTime| {
        let rate = audio_plan.as_ref().map(|a| a.sample_rate)?;
        Some(Grid::audio_frames(rate, AAC_FRAME_SAMPLES).unit_near(end))
    };
    Ok(StreamPlan {
        packaging: match &video_plan {
            Some(v) if v.codec != VideoCodec::H264 => Packaging::Cmaf,
            _ => Packaging::TransportStream,
        },
        origin,
        start_time,
        video_end: video_end.map(|e| timeline.grid().unit_near(e)),
        audio_end: audio_end.and_then(audio_unit),
        timeline,
        video: video_plan,
        audio: audio_plan,
        keyframes: keyframes.to_vec(),
        source_start: probe.start_time,
        seeks_badly: !has_good_index(&probe.format),
    })
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
    use crate::media::{ColorInfo, FieldOrder, VideoChoice};

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
        assert_eq!(copied.video.unwrap().encode, None);
        request.output.resolution = MaxResolution::R720;
        let scaled = plan(&probe(), &request).unwrap().video.unwrap();
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
        assert!(
            plan(&only, &request)
                .unwrap()
                .video
                .unwrap()
                .encode
                .is_some()
        );
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
