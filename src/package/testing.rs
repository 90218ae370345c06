//! Tracks and samples for the tests of this module.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::boxes::{children, put_box, put_full_box};
use super::codec::parse_sample_entry;
use super::sample::{Sample, TrackConfig};

/// A `VisualSampleEntry` as x264 through ffmpeg writes it, 320x180.
pub(super) fn avc_entry() -> Bytes {
    let mut out = BytesMut::new();
    put_box(&mut out, b"avc1", |o| {
        o.put_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        o.put_bytes(0, 16);
        o.put_u16(320);
        o.put_u16(180);
        o.put_slice(&[0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1]);
        o.put_bytes(0, 32);
        o.put_slice(&[0, 0x18, 0xff, 0xff]);
        put_box(o, b"avcC", |o| {
            o.put_slice(&[1, 0x64, 0, 0x0c, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x0c]);
            o.put_slice(&[1, 0, 3, 0x68, 0xef, 0x8f]);
        });
        put_box(o, b"pasp", |o| o.put_slice(&[0, 0, 0, 4, 0, 0, 0, 3]));
    });
    out.freeze()
}

/// An `AudioSampleEntry` of AAC-LC, 48 kHz stereo.
pub(super) fn aac_entry(bitrate: u32) -> Bytes {
    let mut out = BytesMut::new();
    put_box(&mut out, b"mp4a", |o| {
        o.put_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        o.put_bytes(0, 8);
        o.put_slice(&[0, 2, 0, 16, 0, 0, 0, 0]);
        o.put_u32(48000 << 16);
        put_full_box(o, b"esds", 0, 0, |o| {
            o.put_slice(&[
                3, 0x80, 0x80, 0x80, 0x22, 0, 1, 0, 4, 0x80, 0x80, 0x80, 0x14, 0x40, 0x15,
            ]);
            o.put_slice(&[0, 0, 0]);
            o.put_u32(bitrate);
            o.put_u32(bitrate);
            o.put_slice(&[
                5, 0x80, 0x80, 0x80, 2, 0x11, 0x90, 6, 0x80, 0x80, 0x80, 1, 2,
            ]);
        });
    });
    out.freeze()
}

fn config(entry: &Bytes, timescale: u32) -> TrackConfig {
    let parsed = parse_sample_entry(children(entry).next().unwrap().unwrap(), timescale).unwrap();
    TrackConfig {
        timescale,
        media: parsed.media,
        sample_entry: parsed.entry,
        codec: parsed.codec,
    }
}

pub(super) fn avc_config() -> TrackConfig {
    config(&avc_entry(), 12800)
}

pub(super) fn aac_config() -> TrackConfig {
    config(&aac_entry(128_000), 48000)
}

/// One coded picture of `size` bytes of slice data.
pub(super) fn picture(dts: i64, pts: i64, duration: u32, sync: bool, size: usize) -> Sample {
    let mut data = BytesMut::new();
    data.put_u32(size as u32 + 1);
    data.put_u8(if sync { 0x65 } else { 0x41 });
    data.extend((0..size).map(|i| (i as i64 * 7 + dts) as u8));
    Sample {
        dts,
        pts,
        duration,
        sync,
        data: data.freeze(),
    }
}

/// One raw audio frame.
pub(super) fn audio_frame(pts: i64, duration: u32, size: usize) -> Sample {
    let data = (0..size).map(|i| (i as i64 * 3 + pts) as u8).collect();
    Sample {
        dts: pts,
        pts,
        duration,
        sync: true,
        data,
    }
}

/// A segment of video at 25 frames per second in ticks of 1/12800 s: decode times run two frames
/// ahead, groups of four are reordered, and key frames stand where the flag says.
pub(super) fn video_samples(max: usize) -> impl Strategy<Value = Vec<Sample>> {
    (
        0i64..5000,
        proptest::collection::vec((1usize..700, proptest::bool::weighted(0.1)), 0..max),
    )
        .prop_map(|(start, frames)| {
            let reordered = [0i64, 3, 1, 2];
            (0i64..)
                .zip(frames)
                .map(|(i, (size, key))| {
                    let pts = i / 4 * 4 + reordered[(i % 4) as usize];
                    picture(
                        (start + i - 2) * 512,
                        (start + pts) * 512,
                        512,
                        key || i == 0,
                        size,
                    )
                })
                .collect()
        })
}

/// A run of AAC frames in ticks of 1/48000 s.
pub(super) fn audio_samples(max: usize) -> impl Strategy<Value = Vec<Sample>> {
    (
        0i64..9_000_000,
        proptest::collection::vec(1usize..400, 0..max),
    )
        .prop_map(|(start, sizes)| {
            (0i64..)
                .zip(sizes)
                .map(|(i, size)| audio_frame(start + i * 1024, 1024, size))
                .collect()
        })
}
