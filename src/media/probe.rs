//! What ffprobe says of a source, parsed from its JSON.

use serde::{Deserialize, Serialize};

use crate::base::{FrameRate, MediaTime, Resolution};

/// Facts of a source that do not change while it is played.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceProbe {
    /// Demuxer names as ffprobe lists them, e.g. `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// Length of the container from `start_time` on; `None` for live sources, pipes and files without an index.
    pub duration: Option<MediaTime>,
    /// Smallest presentation time of any stream.
    pub start_time: MediaTime,
    pub size_bytes: Option<u64>,
    /// Pictures that move; cover art is left out.
    pub video: Vec<VideoStream>,
    /// Pictures that do not: cover art.
    pub covers: Vec<VideoStream>,
    pub audio: Vec<AudioStream>,
    pub subtitles: Vec<SubtitleStream>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoStream {
    /// Stream index in the container.
    pub index: u32,
    /// ffmpeg's codec name, e.g. `h264`.
    pub codec: String,
    pub profile: String,
    pub pixel_format: String,
    pub bit_depth: u8,
    /// Size as coded, before rotation and sample aspect ratio.
    pub coded: Resolution,
    /// Sample aspect ratio; 1:1 when unknown.
    pub sample_aspect: (u32, u32),
    /// Clockwise degrees the picture is to be turned for display: 0, 90, 180 or 270.
    pub rotation: u16,
    pub field_order: FieldOrder,
    /// `r_frame_rate`: the smallest rate that can hold all timestamps.
    pub base_rate: Option<FrameRate>,
    /// `avg_frame_rate`: frames over duration.
    pub average_rate: Option<FrameRate>,
    pub start_time: Option<MediaTime>,
    pub duration: Option<MediaTime>,
    pub bit_rate: Option<u64>,
    /// Frames the decoder may hold back; B-frames are present when positive.
    pub has_b_frames: bool,
    pub color: ColorInfo,
    pub default: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldOrder {
    Progressive,
    Interlaced,
    Unknown,
}

/// Colour tags as ffprobe names them; `None` where the source says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ColorInfo {
    pub primaries: Option<String>,
    pub transfer: Option<String>,
    pub matrix: Option<String>,
    pub range: Option<String>,
    /// Dolby Vision profile from the configuration record.
    pub dolby_vision_profile: Option<u8>,
}

/// Transfer characteristics that decide whether a picture must be tone-mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    Sdr,
    /// SMPTE ST 2084, used by HDR10 and Dolby Vision.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

impl ColorInfo {
    pub fn transfer_kind(&self) -> Transfer {
        match self.transfer.as_deref() {
            Some("smpte2084") => Transfer::Pq,
            Some("arib-std-b67") => Transfer::Hlg,
            _ => Transfer::Sdr,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudioStream {
    pub index: u32,
    pub codec: String,
    pub profile: String,
    pub sample_rate: u32,
    pub channels: u32,
    pub start_time: Option<MediaTime>,
    pub duration: Option<MediaTime>,
    /// Distance of two timestamps, as (numerator, denominator) of a second.
    pub time_base: (u32, u32),
    pub bit_rate: Option<u64>,
    pub language: Option<String>,
    pub title: Option<String>,
    pub default: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubtitleStream {
    pub index: u32,
    pub codec: String,
    pub language: Option<String>,
    pub title: Option<String>,
    pub default: bool,
    pub forced: bool,
}

/// ffprobe's output was not what this parser knows.
#[derive(Debug, thiserror::Error)]
#[error("the answer of ffprobe cannot be read")]
pub struct ParseProbeError(#[from] serde_json::Error);

impl SourceProbe {
    /// Reads the output of `ffprobe -show_format -show_streams -of json`.
    pub fn from_ffprobe(json: &str) -> Result<Self, ParseProbeError> {
        let mut raw: Raw = serde_json::from_str(json)?;
        raw.count_from_start();
        let mut probe = SourceProbe {
            format: raw.format.format_name,
            duration: raw.format.length.filter(|d| d.is_positive()),
            start_time: seconds(raw.format.start_time.as_deref()).unwrap_or_default(),
            size_bytes: raw.format.size.and_then(|s| s.parse().ok()),
            video: Vec::new(),
            covers: Vec::new(),
            audio: Vec::new(),
            subtitles: Vec::new(),
        };
        for s in raw.streams {
            match s.codec_type.as_str() {
                "video" if s.disposition.attached_pic == 0 => probe.video.extend(s.into_video()),
                "video" => probe.covers.extend(s.into_video()),
                "audio" => probe.audio.extend(s.into_audio()),
                "subtitle" => probe.subtitles.push(s.into_subtitle()),
                _ => {}
            }
        }
        Ok(probe)
    }

    /// Whether its few bytes cannot be that many hours: a broken header claims it. Even a picture that
    /// never changes takes more.
    pub fn has_absurd_length(&self) -> bool {
        const FEWEST_BITS_PER_SECOND: f64 = 500.0;
        let seconds = self.duration.map_or(0.0, MediaTime::as_secs_f64);
        let bits = self.size_bytes.map(|b| b as f64 * 8.0);
        !self.video.is_empty()
            && seconds > 60.0
            && bits.is_some_and(|b| b < seconds * FEWEST_BITS_PER_SECOND)
    }

    /// Leaves it open how long the source and its streams are.
    pub fn forget_lengths(&mut self) {
        self.duration = None;
        self.video.iter_mut().for_each(|v| v.duration = None);
        self.audio.iter_mut().for_each(|a| a.duration = None);
    }

    /// The video stream that is played: the default one, else the first with a known size.
    pub fn main_video(&self) -> Option<&VideoStream> {
        self.video
            .iter()
            .find(|v| v.default)
            .or_else(|| self.video.first())
    }

    /// The audio stream that is played: the default one, else the first.
    pub fn main_audio(&self) -> Option<&AudioStream> {
        self.audio
            .iter()
            .find(|a| a.default)
            .or_else(|| self.audio.first())
    }
}

impl VideoStream {
    /// Size on a display with square pixels, after rotation, not yet rounded to even numbers.
    pub fn display_size(&self) -> Resolution {
        let (num, den) = self.sample_aspect;
        let width = u64::from(self.coded.width) * u64::from(num);
        let den = u64::from(den);
        let width = ((width + den / 2) / den).clamp(1, 65_535) as u32;
        let height = self.coded.height;
        if self.rotation % 180 == 90 {
            Resolution {
                width: height,
                height: width,
            }
        } else {
            Resolution { width, height }
        }
    }

    /// Presentation time at which the last frame ends, if the container says so.
    pub fn end_time(&self) -> Option<MediaTime> {
        Some(self.start_time.unwrap_or_default() + self.duration?)
    }
}

impl AudioStream {
    pub fn end_time(&self) -> Option<MediaTime> {
        Some(self.start_time.unwrap_or_default() + self.duration?)
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    streams: Vec<RawStream>,
    #[serde(default)]
    format: RawFormat,
}

impl Raw {
    /// Reads the lengths. Some containers write the time of the end where others write the time
    /// from the first picture to the end; all are made the latter.
    fn count_from_start(&mut self) {
        self.format.length = seconds(self.format.duration.as_deref());
        for stream in &mut self.streams {
            stream.length = stream.stream_duration();
        }
        if !self.lengths_are_ends() {
            return;
        }
        let rest = |length: MediaTime, start: Option<&str>| {
            length - seconds(start).unwrap_or_default().max(MediaTime::ZERO)
        };
        let format = &mut self.format;
        format.length = format.length.map(|l| rest(l, format.start_time.as_deref()));
        for stream in &mut self.streams {
            stream.length = stream.length.map(|l| rest(l, stream.start_time.as_deref()));
        }
    }

    /// In Matroska it depends on the muxer: libmatroska's write the span, others the end.
    fn lengths_are_ends(&self) -> bool {
        let is = |name| self.format.format_name.split(',').any(|f| f == name);
        if !is("matroska") {
            return is("asf") || is("mp3") || is("nut");
        }
        // Such a tag has a language of its own, which ffprobe appends to its name.
        let statistics = |name: &str| name.starts_with("_STATISTICS_WRITING_APP");
        let by_mkvmerge = |s: &RawStream| {
            let mut tags = s.tags.iter();
            tags.any(|(name, app)| statistics(name) && app.starts_with("mkvmerge"))
        };
        let app = tag(&self.format.tags, "encoder").unwrap_or_default();
        let span = app.contains("libmatroska") || self.streams.iter().any(by_mkvmerge);
        let start = seconds(self.format.start_time.as_deref()).unwrap_or_default();
        !span && self.format.length.is_some_and(|end| end > start)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawFormat {
    format_name: String,
    duration: Option<String>,
    start_time: Option<String>,
    size: Option<String>,
    tags: std::collections::BTreeMap<String, String>,
    /// From the first presentation time to the end.
    #[serde(skip)]
    length: Option<MediaTime>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawStream {
    index: u32,
    codec_type: String,
    codec_name: String,
    profile: String,
    pix_fmt: String,
    width: i64,
    height: i64,
    sample_aspect_ratio: String,
    field_order: String,
    r_frame_rate: String,
    avg_frame_rate: String,
    time_base: String,
    start_time: Option<String>,
    duration: Option<String>,
    bit_rate: Option<String>,
    has_b_frames: i64,
    color_primaries: Option<String>,
    color_transfer: Option<String>,
    color_space: Option<String>,
    color_range: Option<String>,
    sample_rate: Option<String>,
    channels: i64,
    disposition: RawDisposition,
    tags: std::collections::BTreeMap<String, String>,
    side_data_list: Vec<RawSideData>,
    /// From the first presentation time to the end.
    #[serde(skip)]
    length: Option<MediaTime>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawDisposition {
    default: i64,
    forced: i64,
    attached_pic: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawSideData {
    rotation: Option<f64>,
    dv_profile: Option<u8>,
}

impl RawStream {
    fn tag(&self, name: &str) -> Option<&str> {
        tag(&self.tags, name)
    }

    /// Matroska keeps a stream's length in a tag, `HH:MM:SS.nnnnnnnnn`.
    fn stream_duration(&self) -> Option<MediaTime> {
        positive(seconds(self.duration.as_deref())).or_else(|| {
            let tag = self
                .tags
                .iter()
                .find(|(k, _)| k.to_ascii_uppercase().starts_with("DURATION"));
            let mut total = 0.0;
            for part in tag?.1.split(':') {
                total = total * 60.0 + part.parse::<f64>().ok()?;
            }
            positive(Some(MediaTime::from_secs_f64(total)))
        })
    }

    fn into_video(self) -> Option<VideoStream> {
        let size = |v: i64| u32::try_from(v).ok().filter(|v| (1..=32_768).contains(v));
        let coded = Resolution {
            width: size(self.width)?,
            height: size(self.height)?,
        };
        let rotation = self
            .side_data_list
            .iter()
            .find_map(|s| s.rotation)
            .unwrap_or(0.0);
        // ffprobe counts counter-clockwise; a display matrix that is no multiple of 90 degrees is
        // taken to the nearest one, as players do.
        let turns = (-rotation / 90.0).round().rem_euclid(4.0) as u16;
        Some(VideoStream {
            index: self.index,
            rotation: turns * 90,
            sample_aspect: aspect(&self.sample_aspect_ratio),
            field_order: match self.field_order.as_str() {
                "progressive" => FieldOrder::Progressive,
                "tt" | "bb" | "tb" | "bt" => FieldOrder::Interlaced,
                _ => FieldOrder::Unknown,
            },
            base_rate: self.r_frame_rate.parse().ok(),
            average_rate: self.avg_frame_rate.parse().ok(),
            start_time: seconds(self.start_time.as_deref()),
            duration: positive(self.length),
            bit_rate: bit_rate(self.bit_rate.as_deref()),
            has_b_frames: self.has_b_frames > 0,
            bit_depth: bit_depth(&self.pix_fmt),
            coded,
            color: ColorInfo {
                dolby_vision_profile: self.side_data_list.iter().find_map(|s| s.dv_profile),
                primaries: known(self.color_primaries),
                transfer: known(self.color_transfer),
                matrix: known(self.color_space),
                range: known(self.color_range),
            },
            default: self.disposition.default != 0,
            codec: self.codec_name,
            profile: self.profile,
            pixel_format: self.pix_fmt,
        })
    }

    fn into_audio(self) -> Option<AudioStream> {
        let rate: u32 = self.sample_rate.as_deref()?.parse().ok()?;
        let channels = u32::try_from(self.channels).ok()?;
        if !(1_000..=768_000).contains(&rate) || channels == 0 || self.codec_name.is_empty() {
            return None;
        }
        let tb: Option<FrameRate> = self.time_base.parse().ok();
        Some(AudioStream {
            index: self.index,
            sample_rate: rate,
            channels,
            start_time: seconds(self.start_time.as_deref()),
            duration: positive(self.length),
            time_base: tb.map_or((1, rate), |t| (t.num(), t.den())),
            bit_rate: bit_rate(self.bit_rate.as_deref()),
            language: self.tag("language").map(str::to_owned),
            title: self.tag("title").map(str::to_owned),
            default: self.disposition.default != 0,
            codec: self.codec_name,
            profile: self.profile,
        })
    }

    fn into_subtitle(self) -> SubtitleStream {
        SubtitleStream {
            index: self.index,
            language: self.tag("language").map(str::to_owned),
            title: self.tag("title").map(str::to_owned),
            default: self.disposition.default != 0,
            forced: self.disposition.forced != 0,
            codec: self.codec_name,
        }
    }
}

fn tag<'a>(tags: &'a std::collections::BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let found = tags.iter().find(|(k, _)| k.eq_ignore_ascii_case(name));
    found
        .map(|(_, v)| v.as_str())
        .filter(|v| !v.is_empty() && *v != "und")
}

fn seconds(text: Option<&str>) -> Option<MediaTime> {
    let v: f64 = text?.parse().ok()?;
    v.is_finite().then(|| MediaTime::from_secs_f64(v))
}

/// Bits per second; `None` for what only a broken header could hold.
fn bit_rate(text: Option<&str>) -> Option<u64> {
    let rate: u64 = text?.parse().ok()?;
    (1..=10_000_000_000).contains(&rate).then_some(rate)
}

fn positive(t: Option<MediaTime>) -> Option<MediaTime> {
    t.filter(|t| t.is_positive())
}

fn known(tag: Option<String>) -> Option<String> {
    tag.filter(|t| !t.is_empty() && t != "unknown" && t != "reserved")
}

/// `16:15`; 1:1 for nonsense and for values that only a broken header could hold.
fn aspect(text: &str) -> (u32, u32) {
    let parse = || {
        let (n, d) = text.split_once(':')?;
        let (n, d): (u32, u32) = (n.parse().ok()?, d.parse().ok()?);
        let ratio = f64::from(n) / f64::from(d);
        (n > 0 && d > 0 && (0.1..=10.0).contains(&ratio)).then_some((n, d))
    };
    parse().unwrap_or((1, 1))
}

/// Bits per component, read from ffmpeg's pixel format name.
fn bit_depth(pixel_format: &str) -> u8 {
    let name = pixel_format.trim_end_matches("le").trim_end_matches("be");
    for (tail, depth) in [
        ("p9", 9),
        ("p10", 10),
        ("p12", 12),
        ("p14", 14),
        ("p16", 16),
    ] {
        if name.ends_with(tail) {
            return depth;
        }
    }
    match name {
        "p010" | "p210" | "p410" | "y210" | "gray10" | "x2rgb10" => 10,
        "p012" | "y212" | "gray12" | "xyz12" => 12,
        "p016" | "gray16" | "rgb48" | "rgba64" | "ya16" => 16,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = r#"{"streams":[
      {"index":0,"codec_name":"h264","profile":"High","codec_type":"video","width":1920,"height":1080,
       "sample_aspect_ratio":"1:1","pix_fmt":"yuv420p","field_order":"progressive","r_frame_rate":"30/1",
       "avg_frame_rate":"2997/100","time_base":"1/90000","start_time":"0.021000","duration":"10.5",
       "has_b_frames":2,"disposition":{"default":1,"attached_pic":0},
       "side_data_list":[{"side_data_type":"Display Matrix","rotation":-90}]},
      {"index":1,"codec_name":"aac","codec_type":"audio","sample_rate":"44100","channels":2,
       "time_base":"1/1000","start_time":"0.000000","disposition":{"default":1},
       "tags":{"language":"und","DURATION-eng":"00:00:10.400000000"}},
      {"index":2,"codec_name":"mjpeg","codec_type":"video","width":600,"height":600,
       "disposition":{"attached_pic":1}}],
      "format":{"format_name":"matroska,webm","duration":"10.521","start_time":"0.000000"}}"#;

    #[test]
    fn reads_rotation_tags_and_leaves_cover_art_out() {
        let p = SourceProbe::from_ffprobe(PHONE).unwrap();
        assert_eq!(p.video.len(), 1);
        let v = &p.video[0];
        assert_eq!(
            (v.rotation, v.display_size()),
            (
                90,
                Resolution {
                    width: 1080,
                    height: 1920
                }
            )
        );
        assert_eq!(v.start_time, Some(MediaTime::from_micros(21_000)));
        assert_eq!(
            p.audio[0].duration,
            Some(MediaTime::from_micros(10_400_000))
        );
        assert_eq!(p.audio[0].language, None);
    }

    /// What ffprobe says of three files with the same ten seconds, which begin at 7.3 s.
    #[test]
    fn ends_and_spans_are_told_apart() {
        let answer = |format: &str, tags: &str, length: &str, stream: &str| {
            let json = format!(
                r#"{{"streams":[{{"codec_name":"aac","codec_type":"audio","sample_rate":"48000",
                "channels":2,"start_time":"7.300000","tags":{{{stream}}}}}],
                "format":{{"format_name":"{format}","duration":"{length}","start_time":"7.300000",
                "tags":{{{tags}}}}}}}"#
            );
            let probe = SourceProbe::from_ffprobe(&json).unwrap();
            (probe.duration, probe.audio[0].duration)
        };
        let ten = Some(MediaTime::from_micros(10_000_000));
        let ends = r#""DURATION":"00:00:17.300000000""#;
        let lavf = r#""ENCODER":"Lavf59.27.100""#;
        assert_eq!(answer("matroska,webm", lavf, "17.3", ends), (ten, ten));
        let spans =
            r#""DURATION":"00:00:10.000000000","_STATISTICS_WRITING_APP":"mkvmerge v74.0.0""#;
        assert_eq!(answer("matroska,webm", lavf, "10.0", spans), (ten, ten));
        let named = r#""DURATION-eng":"00:00:10.000000000","_STATISTICS_WRITING_APP-eng":"mkvmerge v49.0.0""#;
        assert_eq!(answer("matroska,webm", lavf, "10.0", named), (ten, ten));
        let old = r#""encoder":"libebml v0.7.7 + libmatroska v0.8.0""#;
        assert_eq!(answer("matroska,webm", old, "10.0", ""), (ten, None));
        assert_eq!(answer("nut", lavf, "17.3", ""), (ten, None));
        assert_eq!(answer("flv", lavf, "10.0", ""), (ten, None));
    }

    #[test]
    fn an_empty_answer_is_an_empty_probe() {
        let p = SourceProbe::from_ffprobe("{}").unwrap();
        assert!(p.video.is_empty() && p.audio.is_empty() && p.duration.is_none());
        assert!(SourceProbe::from_ffprobe("nonsense").is_err());
    }

    #[test]
    fn lengths_that_no_file_of_its_size_has_are_absurd() {
        let of = |seconds: u32, bytes: u32| {
            let json = format!(
                r#"{{"streams":[{{"codec_name":"h264","codec_type":"video","width":16,"height":16,
                "duration":"{seconds}"}}],"format":{{"duration":"{seconds}","size":"{bytes}"}}}}"#
            );
            SourceProbe::from_ffprobe(&json).unwrap()
        };
        assert!(!of(7200, 2_000_000).has_absurd_length());
        let mut broken = of(143_165, 200_000);
        assert!(broken.has_absurd_length());
        broken.forget_lengths();
        assert_eq!((broken.duration, broken.video[0].duration), (None, None));
    }

    #[test]
    fn absurd_bit_rates_are_none() {
        assert_eq!(bit_rate(Some("128000")), Some(128_000));
        for absurd in ["0", "-1", "N/A", "9223372036854775807"] {
            assert_eq!(bit_rate(Some(absurd)), None, "{absurd}");
        }
    }

    #[test]
    fn depths_come_from_the_pixel_format() {
        for (name, depth) in [
            ("yuv420p", 8),
            ("yuv420p10le", 10),
            ("gbrp12be", 12),
            ("p010le", 10),
        ] {
            assert_eq!(bit_depth(name), depth, "{name}");
        }
    }
}
