use bytes::BufMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::boxes::{put_box, put_full_box};
use super::super::cmaf::{CmafSegment, init_segment};
use super::super::testing::{aac_config, audio_frame, avc_config, video_samples};
use super::*;

fn stream(samples: &[Sample]) -> Vec<u8> {
    let mut out = init_segment(&avc_config()).to_vec();
    let mut segment = CmafSegment::new(&avc_config(), 0, 1024);
    samples
        .iter()
        .for_each(|s| segment.push(s.clone()).unwrap());
    segment.finish();
    out.extend_from_slice(&segment.take());
    out
}

fn read(stream: &[u8]) -> Result<Vec<Fmp4Event>, DemuxError> {
    let mut reader = Fmp4Reader::new();
    let events = reader.push(stream)?;
    reader.finish().map(|()| events)
}

fn samples_of(events: Vec<Fmp4Event>) -> Vec<Sample> {
    let sample = |e| {
        if let Fmp4Event::Sample(s) = e {
            Some(s)
        } else {
            None
        }
    };
    events.into_iter().filter_map(sample).collect()
}

/// A fragment of one sample as ffmpeg writes it with `frag_every_frame`.
fn fragment(tfdt: i64, offset: i32, data: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put_box(&mut out, b"moof", |o| {
        put_full_box(o, b"mfhd", 0, 0, |o| o.put_u32(1));
        put_box(o, b"traf", |o| {
            put_full_box(o, b"tfhd", 0, 0x02_0038, |o| {
                o.put_u32(1);
                o.put_u32(512);
                o.put_u32(data.len() as u32);
                o.put_u32(0x0101_0000);
            });
            put_full_box(o, b"tfdt", 1, 0, |o| o.put_i64(tfdt));
            put_full_box(o, b"trun", 0, 0x805, |o| {
                o.put_u32(1);
                o.put_u32(16 + 28 + 20 + 28 + 8 + 8 + 8);
                o.put_u32(0x0200_0000);
                o.put_i32(offset);
            });
        });
    });
    put_box(&mut out, b"mdat", |o| o.put_slice(data));
    out
}

fn after_init(rest: &[u8]) -> Result<Vec<Fmp4Event>, DemuxError> {
    read(&[&init_segment(&avc_config()), rest].concat())
}

#[test]
fn a_wrapped_decode_time_is_negative() {
    let events = after_init(&fragment(-1024, 1024, b"abc")).unwrap();
    let expected = Sample {
        dts: -1024,
        pts: 0,
        duration: 512,
        sync: true,
        data: Bytes::from_static(b"abc"),
    };
    assert_eq!(
        events,
        [Fmp4Event::Config(avc_config()), Fmp4Event::Sample(expected)]
    );
}

#[test]
fn a_fragment_without_a_time_follows_the_one_before() {
    let mut second = fragment(0, -100, b"second");
    let at = second.windows(4).position(|w| w == b"tfdt").unwrap();
    second[at..at + 4].copy_from_slice(b"free");
    let both = [&fragment(5000, 0, b"first")[..], &second].concat();
    let samples = samples_of(after_init(&both).unwrap());
    assert_eq!((samples[1].dts, samples[1].pts), (5512, 5412));
}

#[test]
fn a_configuration_may_be_repeated_but_not_changed() {
    let (avc, aac) = (init_segment(&avc_config()), init_segment(&aac_config()));
    assert_eq!(
        read(&[&avc[..], &avc].concat()),
        Ok(vec![Fmp4Event::Config(avc_config())])
    );
    assert_eq!(read(&[avc, aac].concat()), Err(DemuxError::ConfigChanged));
}

#[test]
fn sizes_beyond_reason_are_refused_at_once() {
    let mut header = vec![0, 0, 0, 1];
    header.extend_from_slice(b"moov\x7f\0\0\0\0\0\0\0");
    assert!(matches!(read(&header), Err(DemuxError::TooLarge { .. })));
    let mut moof = fragment(0, 0, b"");
    moof[..4].copy_from_slice(&(5u32 << 20).to_be_bytes());
    assert!(matches!(
        after_init(&moof),
        Err(DemuxError::TooLarge {
            limit: 0x40_0000,
            ..
        })
    ));
    let mut sample = fragment(0, 0, b"");
    let size = sample.windows(4).position(|w| w == b"tfhd").unwrap() + 4 + 4 + 4 + 4;
    sample[size..size + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(
        after_init(&sample),
        Err(DemuxError::TooLarge {
            limit: 0x400_0000,
            ..
        })
    ));
    let mut many = fragment(0, 0, b"");
    let count = many.windows(4).position(|w| w == b"trun").unwrap() + 4 + 4;
    many[count - 1] = 0x01; // no fields of its own
    many[count..count + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(
        after_init(&many),
        Err(DemuxError::TooLarge {
            size: 0xffff_ffff,
            ..
        })
    ));
}

#[test]
fn a_plain_mp4_is_told_apart() {
    let mdat = DemuxError::Misplaced(FourCc(*b"mdat"));
    assert_eq!(read(b"\0\0\0\x09mdatx"), Err(mdat));
    assert_eq!(
        read(&fragment(0, 0, b"")),
        Err(DemuxError::Misplaced(FourCc(*b"moof")))
    );
    assert_eq!(
        read(b"\0\0\0\0moov"),
        Err(DemuxError::Malformed(FourCc(*b"moov")))
    );
    assert_eq!(read(b""), Err(DemuxError::Truncated));
}

#[test]
fn the_reader_stays_failed() {
    let mut reader = Fmp4Reader::new();
    let error = reader.push(b"\0\0\0\x04free").unwrap_err();
    assert_eq!(
        reader.push(&init_segment(&avc_config())),
        Err(error.clone())
    );
    assert_eq!(reader.finish(), Err(error));
}

#[test]
fn samples_come_out_with_their_last_byte() {
    let mut segment = CmafSegment::new(&aac_config(), 0, 0);
    (0..3).for_each(|i| segment.push(audio_frame(i * 1024, 1024, 100)).unwrap());
    segment.finish();
    let bytes = [init_segment(&aac_config()), segment.take()].concat();
    let mut reader = Fmp4Reader::new();
    let count = |e: Vec<Fmp4Event>| e.len();
    assert_eq!(reader.push(&bytes[..bytes.len() - 200]).map(count), Ok(2));
    assert_eq!(
        reader
            .push(&bytes[bytes.len() - 200..bytes.len() - 100])
            .map(count),
        Ok(1)
    );
    assert_eq!(
        reader
            .push(&bytes[bytes.len() - 100..bytes.len() - 1])
            .map(count),
        Ok(0)
    );
    assert_eq!(reader.push(&bytes[bytes.len() - 1..]).map(count), Ok(1));
    reader.finish().unwrap();
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(samples in video_samples(30), cuts in vec(any::<Index>(), 0..40)) {
        let stream = stream(&samples);
        let whole = read(&stream).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut reader = Fmp4Reader::new();
        let mut events = Vec::new();
        for pair in cuts.windows(2) {
            events.extend(reader.push(&stream[pair[0]..pair[1]]).unwrap());
        }
        reader.finish().unwrap();
        prop_assert_eq!(events, whole);
    }

    #[test]
    fn a_truncated_stream_is_noticed(samples in video_samples(10), cut in any::<Index>()) {
        let stream = stream(&samples);
        let cut = &stream[..cut.index(stream.len())];
        match read(cut) {
            // Between two boxes nothing is missing.
            Ok(events) => prop_assert!(stream[cut.len()..].len() >= 8 && !events.is_empty()),
            Err(e) => prop_assert_eq!(e, DemuxError::Truncated),
        }
    }

    #[test]
    fn mutated_streams_never_panic(
        samples in video_samples(10),
        edits in vec((any::<Index>(), any::<u8>()), 1..12),
        step in 1usize..500,
    ) {
        let mut stream = stream(&samples);
        for (at, value) in edits {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        let mut reader = Fmp4Reader::new();
        let mut delivered = 0;
        for part in stream.chunks(step) {
            match reader.push(part) {
                Ok(events) => delivered += samples_of(events).iter().map(|s| s.data.len()).sum::<usize>(),
                Err(_) => break,
            }
        }
        prop_assert!(delivered <= stream.len());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400), kind in 0usize..4) {
        let kinds = [b"moov", b"moof", b"mdat", b"free"];
        let mut out = init_segment(&avc_config()).to_vec();
        let mut boxed = BytesMut::new();
        put_box(&mut boxed, kinds[kind], |o| o.put_slice(&bytes));
        out.extend_from_slice(&boxed);
        let mut reader = Fmp4Reader::new();
        prop_assert!(reader.push(&out).is_ok_and(|e| e.len() == 1) || reader.finish().is_err());
    }
}
