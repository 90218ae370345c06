use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::super::testing::{
    aac_config, audio_frame, audio_samples, avc_config, picture, video_samples,
};
use super::super::time::TS_ORIGIN;
use super::*;

fn both() -> TsLayout {
    TsLayout {
        video: Some(avc_config()),
        audio: Some(aac_config()),
    }
}

fn mux(layout: &TsLayout, index: u64, video: &[Sample], audio: &[Sample]) -> Vec<u8> {
    let mut s = TsSegment::new(layout, index).unwrap();
    video.iter().for_each(|v| s.push_video(v.clone()).unwrap());
    audio.iter().for_each(|a| s.push_audio(a.clone()).unwrap());
    s.finish_video();
    s.finish_audio();
    assert!(s.is_complete());
    s.take().to_vec()
}

/// A PES packet as found in the stream.
#[derive(Debug, PartialEq)]
struct Found {
    pid: u16,
    pts: i64,
    dts: i64,
    random_access: bool,
    payload: Vec<u8>,
}

struct Demuxed {
    pes: Vec<Found>,
    pcrs: Vec<i64>,
    /// First and number of the continuity counters of each PID.
    counters: BTreeMap<u16, (u8, usize)>,
}

fn stamp(b: &[u8]) -> i64 {
    let field = |i: usize| i64::from(b[i]);
    (field(0) >> 1 & 7) << 30 | field(1) << 22 | field(2) >> 1 << 15 | field(3) << 7 | field(4) >> 1
}

fn demux(ts: &[u8]) -> Demuxed {
    assert_eq!(ts.len() % 188, 0);
    let mut d = Demuxed {
        pes: Vec::new(),
        pcrs: Vec::new(),
        counters: Default::default(),
    };
    let mut units: Vec<(u16, bool, Vec<u8>)> = Vec::new();
    for p in ts.chunks(188) {
        assert_eq!(p[0], 0x47);
        let pid = u16::from_be_bytes([p[1] & 0x1f, p[2]]);
        let (field, payload) = (p[3] & 0x20 != 0, p[3] & 0x10 != 0);
        let start = if field { 5 + usize::from(p[4]) } else { 4 };
        let flags = if field && p[4] > 0 { p[5] } else { 0 };
        if flags & 0x10 != 0 {
            let b = &p[6..];
            let base = u64::from_be_bytes([0, 0, 0, b[0], b[1], b[2], b[3], b[4]]) >> 7;
            d.pcrs.push(base as i64);
        }
        let (first, n) = d.counters.entry(pid).or_insert((p[3] & 0xf, 0));
        if payload {
            assert_eq!(
                usize::from(p[3] & 0xf),
                (usize::from(*first) + *n) % 16,
                "continuity of {pid}"
            );
            *n += 1;
        } else {
            assert_eq!(start, 188);
        }
        if pid == 0 || pid == 0x1000 {
            continue;
        }
        if p[1] & 0x40 != 0 {
            units.push((pid, flags & 0x40 != 0, Vec::new()));
        }
        if payload {
            let unit = units
                .iter_mut()
                .rev()
                .find(|u| u.0 == pid)
                .expect("starts with a unit");
            unit.2.extend_from_slice(&p[start..]);
        }
    }
    for (pid, random_access, data) in units {
        assert_eq!(data[..3], [0, 0, 1]);
        let pts = stamp(&data[9..]);
        let dts = if data[7] & 0x40 != 0 {
            stamp(&data[14..])
        } else {
            pts
        };
        let payload = data[9 + usize::from(data[8])..].to_vec();
        d.pes.push(Found {
            pid,
            pts,
            dts,
            random_access,
            payload,
        });
    }
    d
}

fn pictures(count: i64, frame_ticks: i64) -> Vec<Sample> {
    (0..count)
        .map(|i| {
            picture(
                i * frame_ticks,
                i * frame_ticks,
                frame_ticks as u32,
                i == 0,
                300,
            )
        })
        .collect()
}

fn frames(count: i64) -> Vec<Sample> {
    (0..count)
        .map(|i| audio_frame(i * 1024, 1024, 200))
        .collect()
}

#[test]
fn audio_stands_before_the_pictures_it_accompanies() {
    let d = demux(&mux(&both(), 0, &pictures(50, 512), &frames(94)));
    let mut audio_until = 0;
    for pes in &d.pes {
        if pes.pid == AUDIO_PID {
            let frames = pes.payload.len() as i64 / 207;
            audio_until = pes.pts + frames * 1920;
        } else if audio_until < TS_ORIGIN + 94 * 1920 {
            assert!(
                audio_until > pes.dts + AUDIO_LEAD,
                "audio until {audio_until} before {}",
                pes.dts
            );
            assert!(
                audio_until < pes.dts + AUDIO_LEAD + 2 * MAX_AUDIO_PES,
                "and not far ahead"
            );
        }
    }
    assert_eq!(d.pes.iter().filter(|p| p.pid == VIDEO_PID).count(), 50);
}

#[test]
fn a_picture_waits_for_audio_only_until_the_audio_ends() {
    let mut s = TsSegment::new(&both(), 0).unwrap();
    assert_eq!(s.take().len(), 2 * 188, "the tables go out at once");
    for p in pictures(10, 512) {
        s.push_video(p).unwrap();
    }
    assert!(s.take().is_empty());
    s.finish_audio();
    let ready = demux(&s.take());
    assert_eq!(ready.pes.len(), 9, "the last picture is held back");
    assert!(!s.is_complete());
    s.finish_video();
    assert!(s.is_complete());
    assert_eq!(
        demux(&s.take()).counters[&VIDEO_PID].1 % 16,
        (16 - ready.counters[&VIDEO_PID].1 % 16) % 16
    );
}

#[test]
fn pcrs_are_close_even_between_rare_pictures() {
    for (video, audio) in [
        (pictures(4, 12800), frames(190)),
        (pictures(4, 12800), vec![]),
    ] {
        let d = demux(&mux(&both(), 0, &video, &audio));
        assert!(
            d.pcrs
                .windows(2)
                .all(|w| (1..=9000).contains(&(w[1] - w[0]))),
            "{:?}",
            d.pcrs
        );
        assert_eq!(d.pcrs[0], TS_ORIGIN - PCR_LEAD);
        assert!(d.pcrs.last() >= Some(&(TS_ORIGIN + 270_000 - PCR_LEAD)));
    }
    let only_audio = TsLayout {
        video: None,
        audio: Some(aac_config()),
    };
    let d = demux(&mux(&only_audio, 0, &[], &frames(190)));
    assert!(
        d.pcrs
            .windows(2)
            .all(|w| (1..=9000).contains(&(w[1] - w[0]))),
        "{:?}",
        d.pcrs
    );
    assert!(
        d.pes
            .iter()
            .zip(&d.pcrs)
            .all(|(pes, pcr)| pes.random_access && *pcr < pes.pts)
    );
}

#[test]
fn time_stamps_wrap_after_33_bits() {
    let wrap = (1i64 << 33) - TS_ORIGIN;
    let config = TrackConfig {
        timescale: 90_000,
        ..avc_config()
    };
    let only_video = TsLayout {
        video: Some(config),
        audio: None,
    };
    let samples: Vec<_> = (0..3)
        .map(|i| picture(wrap - 3600 + i * 3600, wrap + i * 3600, 3600, i == 0, 9))
        .collect();
    let d = demux(&mux(&only_video, 0, &samples, &[]));
    let times: Vec<_> = d.pes.iter().map(|p| (p.dts, p.pts)).collect();
    assert_eq!(times, [((1 << 33) - 3600, 0), (0, 3600), (3600, 7200)]);
}

#[test]
fn a_hole_in_the_audio_starts_a_new_packet() {
    let times = [0, 1024, 5000, 6024];
    let audio: Vec<_> = times.iter().map(|t| audio_frame(*t, 1024, 50)).collect();
    let only_audio = TsLayout {
        video: None,
        audio: Some(aac_config()),
    };
    let d = demux(&mux(&only_audio, 0, &[], &audio));
    let found: Vec<_> = d
        .pes
        .iter()
        .map(|p| (p.pts - TS_ORIGIN, p.payload.len()))
        .collect();
    assert_eq!(found, [(0, 114), (9375, 114)]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let none = TsLayout {
        video: None,
        audio: None,
    };
    assert_eq!(TsSegment::new(&none, 0).err(), Some(TsError::NoTracks));
    let opus = TrackConfig {
        codec: SampleCodec::Opus,
        ..aac_config()
    };
    let layout = TsLayout {
        video: None,
        audio: Some(opus),
    };
    assert_eq!(
        TsSegment::new(&layout, 0).err(),
        Some(TsError::Codec("opus".into()))
    );

    let mut s = TsSegment::new(
        &TsLayout {
            video: None,
            audio: Some(aac_config()),
        },
        0,
    )
    .unwrap();
    assert_eq!(
        s.push_video(picture(0, 0, 1, true, 1)),
        Err(TsError::NoSuchTrack)
    );
    let big = audio_frame(0, 1024, 8185);
    assert_eq!(
        s.push_audio(big),
        Err(TsError::FrameTooLarge {
            pts: 0,
            bytes: 8185
        })
    );
    s.push_audio(audio_frame(0, 1024, 8184)).unwrap();
    assert_eq!(
        s.push_audio(audio_frame(0, 1024, 1)),
        Err(TsError::NotMonotonic {
            previous: 0,
            time: 0
        })
    );
    s.finish_audio();
    assert_eq!(
        s.push_audio(audio_frame(1024, 1024, 1)),
        Err(TsError::Finished)
    );

    let mut s = TsSegment::new(
        &TsLayout {
            video: Some(avc_config()),
            audio: None,
        },
        0,
    )
    .unwrap();
    let bad = Sample {
        data: Bytes::from_static(&[0, 0, 0, 9, 1]),
        ..picture(5, 5, 1, true, 1)
    };
    assert_eq!(s.push_video(bad), Err(TsError::BadNalLength { dts: 5 }));
}

proptest! {
    #[test]
    fn every_sample_arrives_with_its_times_and_counters_join(
        video in video_samples(40),
        audio in audio_samples(60),
        index: u64,
    ) {
        let d = demux(&mux(&both(), index, &video, &audio));
        for (pid, (first, count)) in &d.counters {
            match *pid {
                0 | 0x1000 => prop_assert_eq!((u64::from(*first), *count), (index % 16, 1)),
                _ => prop_assert_eq!((*first, *count % 16), (0, 0)),
            }
        }
        let pictures: Vec<_> = d.pes.iter().filter(|p| p.pid == VIDEO_PID).collect();
        prop_assert_eq!(pictures.len(), video.len());
        for (pes, sample) in pictures.iter().zip(&video) {
            prop_assert_eq!(pes.pts, TS_ORIGIN + sample.pts * 90_000 / 12_800);
            prop_assert_eq!(pes.dts & 0x1_ffff_ffff, (TS_ORIGIN + sample.dts * 90_000 / 12_800) & 0x1_ffff_ffff);
            prop_assert_eq!(pes.random_access, sample.sync);
            prop_assert!(pes.payload.starts_with(&[0, 0, 0, 1, 9, 0xf0]));
            prop_assert!(pes.payload.ends_with(&sample.data[4..]));
        }
        let raw: Vec<u8> =
            d.pes.iter().filter(|p| p.pid == AUDIO_PID).flat_map(|p| p.payload.clone()).collect();
        let mut rest = &raw[..];
        for sample in &audio {
            prop_assert_eq!(&rest[..2], &[0xff, 0xf1]);
            prop_assert_eq!(&rest[7..7 + sample.data.len()], &sample.data[..]);
            rest = &rest[7 + sample.data.len()..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn bytes_do_not_depend_on_the_order_of_calls(
        video in video_samples(30),
        audio in audio_samples(60),
        calls in proptest::collection::vec(0u8..3, 0..200),
    ) {
        let expected = mux(&both(), 7, &video, &audio);
        let mut s = TsSegment::new(&both(), 7).unwrap();
        let mut out = Vec::new();
        let (mut v, mut a) = (video.into_iter(), audio.into_iter());
        for call in calls {
            match call {
                0 => match v.next() {
                    Some(sample) => s.push_video(sample).unwrap(),
                    None => s.finish_video(),
                },
                1 => match a.next() {
                    Some(sample) => s.push_audio(sample).unwrap(),
                    None => s.finish_audio(),
                },
                _ => out.extend_from_slice(&s.take()),
            }
        }
        a.for_each(|sample| s.push_audio(sample).unwrap());
        s.finish_audio();
        v.for_each(|sample| s.push_video(sample).unwrap());
        s.finish_video();
        prop_assert!(s.is_complete());
        out.extend_from_slice(&s.take());
        prop_assert!(out == expected);
    }
}
