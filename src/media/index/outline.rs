//! What a source most likely is, by a glance at its header. Whoever acts on it must be ready to hear
//! from ffprobe that it is something else.

use crate::base::{FrameRate, MediaTime, Resolution};
use crate::media::{AudioStream, ColorInfo, FieldOrder, SourceProbe, VideoStream};

/// A picture track as most are: upright, progressive, eight bits, square samples.
pub(super) fn guessed_video(
    index: u32,
    codec: &str,
    coded: Resolution,
    rate: FrameRate,
) -> VideoStream {
    VideoStream {
        index,
        codec: codec.into(),
        profile: String::new(),
        pixel_format: "yuv420p".into(),
        bit_depth: 8,
        coded,
        sample_aspect: (1, 1),
        rotation: 0,
        field_order: FieldOrder::Progressive,
        base_rate: Some(rate),
        average_rate: Some(rate),
        start_time: None,
        duration: None,
        bit_rate: None,
        has_b_frames: true,
        color: ColorInfo::default(),
        default: true,
    }
}

/// A sound track of which only this is known.
pub(super) fn guessed_audio(
    index: u32,
    codec: &str,
    sample_rate: u32,
    channels: u32,
) -> AudioStream {
    AudioStream {
        index,
        codec: codec.into(),
        profile: String::new(),
        sample_rate,
        channels,
        start_time: None,
        duration: None,
        time_base: (1, sample_rate),
        bit_rate: None,
        language: None,
        title: None,
        default: true,
    }
}

/// A source of these tracks that ends at `end`, or with the last of them; `None` without any.
pub(super) fn probe_of(
    format: &str,
    end: Option<MediaTime>,
    video: Vec<VideoStream>,
    audio: Vec<AudioStream>,
) -> Option<SourceProbe> {
    let starts = video.iter().map(|v| v.start_time);
    let starts = starts.chain(audio.iter().map(|a| a.start_time));
    let start_time = starts.flatten().min()?;
    let ends = video.iter().map(VideoStream::end_time);
    let ends = ends.chain(audio.iter().map(AudioStream::end_time));
    let end = end.or(ends.flatten().max())?;
    Some(SourceProbe {
        format: format.into(),
        duration: Some(end - start_time).filter(|d| d.is_positive()),
        start_time,
        size_bytes: None,
        video,
        covers: Vec::new(),
        audio,
        subtitles: Vec::new(),
    })
}
