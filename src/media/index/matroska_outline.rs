//! What a Matroska or WebM file most likely is, by its header and its first blocks: RFC 9559
//! sections 5.1.2, 5.1.4 and 10.

use super::bytes::Bytes;
use super::matroska::{Element, child, children, id, uint};
use super::outline::{guessed_audio, guessed_video, probe_of};
use crate::base::{FrameRate, MediaTime, Resolution};
use crate::media::{AudioStream, SourceProbe, VideoStream};

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Of the whole file, in ticks.
    duration: Option<f64>,
    /// Some programs write the length from the first picture on, others the time of the end.
    is_span: bool,
    tracks: Vec<Entry>,
    /// Track and time of the first block of each, in ticks.
    blocks: Vec<(u64, i64)>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    codec_delay_ns: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Video(VideoStream),
    Audio(AudioStream),
    Other,
    /// Not plain: nothing is said of the file.
    Odd,
}

impl Header {
    pub(super) fn info(&mut self, body: &[u8]) {
        self.duration = child(body, id::DURATION).and_then(float);
        let app = child(body, id::MUXING_APP).unwrap_or_default();
        self.is_span = app.windows(11).any(|w| w == b"libmatroska");
    }

    pub(super) fn tracks(&mut self, body: &[u8]) {
        let entries = children(body).filter(|(i, _)| *i == id::TRACK_ENTRY);
        self.tracks = entries
            .zip(0..)
            .map(|((_, entry), index)| Entry {
                number: child(entry, id::TRACK_NUMBER).and_then(uint).unwrap_or(0),
                codec_delay_ns: child(entry, id::CODEC_DELAY).and_then(uint).unwrap_or(0),
                kind: kind(entry, index),
            })
            .collect();
    }

    /// Takes what is there of the body of the first cluster, and of those that follow.
    pub(super) fn first_clusters(&mut self, mut rest: Bytes<'_>) {
        let mut begins = 0;
        while self.blocks.len() < self.tracks.len() {
            let Some(element) = Element::head(&mut rest) else {
                return;
            };
            // Another one begins where a key frame does.
            if element.id == id::CLUSTER {
                continue;
            }
            let Some(body) = element.size.and_then(|size| rest.take(size)) else {
                return;
            };
            let block = match element.id {
                id::TIMESTAMP => {
                    begins = uint(body).and_then(|t| i64::try_from(t).ok()).unwrap_or(0);
                    continue;
                }
                id::SIMPLE_BLOCK => Some(body),
                id::BLOCK_GROUP => child(body, id::BLOCK),
                _ => None,
            };
            let found = block.and_then(|b| time_of(b, begins));
            let is_first = |(track, _): &(u64, i64)| self.blocks.iter().all(|(t, _)| t != track);
            self.blocks.extend(found.filter(is_first));
        }
    }

    pub(super) fn outline(&self, timestamp_scale: u64) -> Option<SourceProbe> {
        let time = |ticks: f64| MediaTime::from_secs_f64(ticks * timestamp_scale as f64 / 1e9);
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        for track in &self.tracks {
            let start = || {
                let mut of_track = self.blocks.iter().filter(|(n, _)| *n == track.number);
                let delay = (track.codec_delay_ns as f64 / timestamp_scale as f64).round();
                Some(time(of_track.next()?.1 as f64 - delay))
            };
            match &track.kind {
                Kind::Video(v) => video.push(VideoStream {
                    start_time: Some(start()?),
                    ..v.clone()
                }),
                Kind::Audio(a) => audio.push(AudioStream {
                    start_time: Some(start()?),
                    time_base: (1, u32::try_from(1_000_000_000 / timestamp_scale).ok()?),
                    ..a.clone()
                }),
                Kind::Other => {}
                Kind::Odd => return None,
            }
        }
        let starts = video.iter().map(|v| v.start_time);
        let first = starts
            .chain(audio.iter().map(|a| a.start_time))
            .flatten()
            .min()?;
        let length = time(self.duration?);
        // The end counts from zero, unless the file begins before it.
        let end = match self.is_span || first < MediaTime::ZERO {
            true => first + length,
            false => length,
        };
        probe_of("matroska,webm", Some(end), video, audio)
    }
}

/// The track of a block and its time in ticks (section 10.1).
fn time_of(block: &[u8], begins: i64) -> Option<(u64, i64)> {
    let mut b = Bytes(block);
    let first = b.u8()?;
    // Tracks beyond the 127th have longer numbers; nobody plays those.
    let number = u64::from(first & 0x7F);
    let time = i16::from_be_bytes(b.array()?);
    (first >= 0x80).then_some((number, begins + i64::from(time)))
}

fn kind(entry: &[u8], index: u32) -> Kind {
    match child(entry, id::TRACK_TYPE).and_then(uint) {
        Some(1) => picture_track(entry, index).map_or(Kind::Odd, Kind::Video),
        Some(2) => sound_track(entry, index).map_or(Kind::Odd, Kind::Audio),
        _ => Kind::Other,
    }
}

fn is_default(entry: &[u8]) -> bool {
    child(entry, id::FLAG_DEFAULT).and_then(uint) != Some(0)
}

fn picture_track(entry: &[u8], index: u32) -> Option<VideoStream> {
    let codec = match child(entry, id::CODEC_ID)? {
        b"V_MPEG4/ISO/AVC" => "h264",
        b"V_MPEGH/ISO/HEVC" => "hevc",
        b"V_VP8" => "vp8",
        b"V_VP9" => "vp9",
        b"V_AV1" => "av1",
        _ => return None,
    };
    let picture = child(entry, id::VIDEO)?;
    let number = |id| child(picture, id).and_then(uint);
    let coded = Resolution {
        width: u32::try_from(number(id::PIXEL_WIDTH)?).ok()?,
        height: u32::try_from(number(id::PIXEL_HEIGHT)?).ok()?,
    };
    let shown = |id, coded: u32| {
        let shown = number(id).and_then(|n| u32::try_from(n).ok());
        shown.unwrap_or(coded)
    };
    let (width, height) = (
        shown(id::DISPLAY_WIDTH, coded.width),
        shown(id::DISPLAY_HEIGHT, coded.height),
    );
    let is_progressive = number(id::FLAG_INTERLACED) != Some(1);
    let sample_aspect = (
        width.checked_mul(coded.height)?,
        height.checked_mul(coded.width)?,
    );
    let ns = child(entry, id::DEFAULT_DURATION).and_then(uint)?;
    let rate = FrameRate::usual(1e9 / ns as f64)?;
    is_progressive.then_some(VideoStream {
        default: is_default(entry),
        sample_aspect,
        ..guessed_video(index, codec, coded, rate)
    })
}

fn sound_track(entry: &[u8], index: u32) -> Option<AudioStream> {
    let codec = match child(entry, id::CODEC_ID)? {
        b"A_AAC" => "aac",
        b"A_OPUS" => "opus",
        b"A_VORBIS" => "vorbis",
        b"A_AC3" => "ac3",
        b"A_EAC3" => "eac3",
        b"A_FLAC" => "flac",
        b"A_MPEG/L3" => "mp3",
        _ => return None,
    };
    let sound = child(entry, id::AUDIO)?;
    let rate = child(sound, id::SAMPLING_FREQUENCY).and_then(float)?;
    let channels = child(sound, id::CHANNELS).and_then(uint).unwrap_or(1);
    Some(AudioStream {
        default: is_default(entry),
        ..guessed_audio(index, codec, rate as u32, u32::try_from(channels).ok()?)
    })
}

/// A floating-point element (RFC 8794 section 7.3); `None` for what is no length or rate.
fn float(body: &[u8]) -> Option<f64> {
    let value = match *body {
        [a, b, c, d] => f64::from(f32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    };
    (value.is_finite() && value > 0.0).then_some(value)
}
