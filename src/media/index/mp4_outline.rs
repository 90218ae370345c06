//! What an MP4 most likely is, by its header alone: ISO/IEC 14496-12, sections 8.4 to 8.6 and 12.

use super::bytes::Bytes;
use super::mp4::{Edit, FourCc, Samples, boxes, child, timescale};
use super::outline::{guessed_audio, guessed_video, probe_of};
use crate::base::{FrameRate, MediaTime, Resolution};
use crate::media::{AudioStream, SourceProbe, VideoStream};

/// The part of a transformation matrix that turns and stretches, when it does neither.
const UPRIGHT: [u32; 5] = [0x1_0000, 0, 0, 0, 0x1_0000];
/// Fields of a picture's sample entry before its boxes (section 12.1.3).
const VISUAL_ENTRY_BYTES: u64 = 78;

/// `None` for what is not plain: fragments, turned or stretched pictures, rates that change.
pub(super) fn outline(moov: &[u8]) -> Option<SourceProbe> {
    if child(moov, b"mvex").is_some() {
        return None;
    }
    let movie_timescale = timescale(child(moov, b"mvhd")?)?;
    let (mut video, mut audio) = (Vec::new(), Vec::new());
    for ((_, trak), index) in boxes(moov).filter(|(k, _)| k == b"trak").zip(0..) {
        let mdia = child(trak, b"mdia")?;
        match child(mdia, b"hdlr")?.get(8..12)? {
            b"vide" => video.push(picture_track(trak, mdia, index, movie_timescale)?),
            b"soun" => audio.push(sound_track(trak, mdia, index, movie_timescale)?),
            _ => {}
        }
    }
    probe_of("mov,mp4,m4a,3gp,3g2,mj2", None, video, audio)
}

/// `track_enabled`, and whether the picture is shown as it is.
fn header(trak: &[u8]) -> Option<(bool, bool)> {
    let mut b = Bytes(child(trak, b"tkhd")?);
    let first = b.u32()?;
    b.take(if first >> 24 == 1 { 32 } else { 20 })?;
    b.take(16)?;
    let [a, b_, _, c, d, _] = [b.u32()?, b.u32()?, b.u32()?, b.u32()?, b.u32()?, b.u32()?];
    Some((first & 1 == 1, [a, b_, 0, c, d] == UPRIGHT))
}

/// Where a track begins and how long it is, in its own ticks.
fn span(trak: &[u8], table: &[u8], scales: (u32, u32)) -> Option<(i64, i64)> {
    let (movie, track) = scales;
    let edit = match child(trak, b"edts").and_then(|e| child(e, b"elst")) {
        Some(list) => Some(Edit::read(list, movie, track)?),
        None => None,
    };
    let length = Samples::read(table)?.length()?;
    let (start, length) = match edit {
        Some(edit) => (edit.empty, length.min(edit.media_end - edit.media_start)),
        None => (0, length),
    };
    Some((start, length))
}

/// The name and the fields of the only sample entry.
fn entry(table: &[u8]) -> Option<(FourCc, &[u8])> {
    let mut b = Bytes(child(table, b"stsd")?);
    b.take(4)?;
    (b.u32()? == 1).then(|| boxes(b.0).next())?
}

fn picture_track(trak: &[u8], mdia: &[u8], index: u32, movie: u32) -> Option<VideoStream> {
    let (default, is_upright) = header(trak)?;
    let track = timescale(child(mdia, b"mdhd")?)?;
    let table = child(child(mdia, b"minf")?, b"stbl")?;
    let (start, length) = span(trak, table, (movie, track))?;
    let start = match child(trak, b"edts") {
        Some(_) => start,
        None => Samples::read(table)?.first_shown()?,
    };
    let (kind, fields) = entry(table)?;
    let mut b = Bytes(fields);
    b.take(24)?;
    let size = b.u32()?;
    let coded = Resolution {
        width: size >> 16,
        height: size & 0xFFFF,
    };
    let mut more = Bytes(fields);
    more.take(VISUAL_ENTRY_BYTES)?;
    let sample_aspect = child(more.0, b"pasp").and_then(|body| {
        let mut b = Bytes(body);
        Some((b.u32()?, b.u32()?))
    });
    let rate = FrameRate::new(track, Samples::read(table)?.only_duration()?)?;
    let codec = match &kind {
        b"avc1" | b"avc3" => "h264",
        b"hvc1" | b"hev1" => "hevc",
        b"av01" => "av1",
        b"vp09" => "vp9",
        _ => return None,
    };
    is_upright.then(|| VideoStream {
        sample_aspect: sample_aspect.unwrap_or((1, 1)),
        start_time: Some(MediaTime::from_ticks(start, track)),
        duration: Some(MediaTime::from_ticks(length, track)),
        default,
        ..guessed_video(index, codec, coded, rate)
    })
}

fn sound_track(trak: &[u8], mdia: &[u8], index: u32, movie: u32) -> Option<AudioStream> {
    let (default, _) = header(trak)?;
    let track = timescale(child(mdia, b"mdhd")?)?;
    let table = child(child(mdia, b"minf")?, b"stbl")?;
    let (start, length) = span(trak, table, (movie, track))?;
    let (kind, fields) = entry(table)?;
    let mut b = Bytes(fields);
    b.take(16)?;
    let mut channels = b.u32()? >> 16;
    b.take(4)?;
    let rate = b.u32()? >> 16;
    if kind == *b"mp4a" {
        channels = aac_channels(child(b.0, b"esds")?)?;
    }
    let codec = match &kind {
        b"mp4a" => "aac",
        b"Opus" => "opus",
        b"ac-3" => "ac3",
        b"ec-3" => "eac3",
        b"fLaC" => "flac",
        _ => return None,
    };
    Some(AudioStream {
        start_time: Some(MediaTime::from_ticks(start, track)),
        duration: Some(MediaTime::from_ticks(length, track)),
        time_base: (1, track),
        default,
        ..guessed_audio(index, codec, rate, channels)
    })
}

/// The channels of AAC-LC (ISO/IEC 14496-1 section 7.2.6, 14496-3 section 1.6.2); the sample entry is
/// allowed to say two whatever they are.
fn aac_channels(esds: &[u8]) -> Option<u32> {
    let mut b = Bytes(esds);
    b.take(4)?;
    // An elementary stream, its decoder's configuration, what only the decoder understands.
    for (tag, fields) in [(3, 3), (4, 13), (5, 0)] {
        if b.u8()? != tag {
            return None;
        }
        while b.u8()? & 0x80 != 0 {}
        b.take(fields)?;
    }
    let [first, second] = b.array()?;
    let is_low_complexity = first >> 3 == 2;
    match u32::from(second >> 3 & 0xF) {
        channels @ 1..=6 if is_low_complexity => Some(channels),
        7 if is_low_complexity => Some(8),
        _ => None,
    }
}
