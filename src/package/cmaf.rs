//! CMAF: the init segment and media segments of one track (ISO/IEC 23000-19).

use bytes::{BufMut, Bytes, BytesMut};

use super::boxes::{Fields, children, put_box, put_full_box};
use super::sample::{Sample, TrackConfig, TrackMedia};

/// Samples in each chunk but the last of a video segment.
pub const SAMPLES_PER_VIDEO_CHUNK: usize = 8;
/// Samples in each chunk but the last of an audio segment.
pub const SAMPLES_PER_AUDIO_CHUNK: usize = 32;

const TRACK_ID: u32 = 1;
const MATRIX: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];

/// Sample flags (ISO/IEC 14496-12 section 8.8.3.1): depends on nothing.
const SYNC_FLAGS: u32 = 0x0200_0000;
/// Depends on others, and is no sync sample.
const NON_SYNC_FLAGS: u32 = 0x0101_0000;

/// Fragments in a segment for which `mfhd` still counts up into the next segment.
const FRAGMENTS_PER_SEGMENT: u32 = 1 << 10;

/// A sample that has no place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CmafError {
    #[error("the sample at decode time {dts} lies before the start of the timeline")]
    NegativeTime { dts: i64 },
    #[error("decode time {dts} does not follow {previous}")]
    NotMonotonic { previous: i64, dts: i64 },
    #[error("the sample at decode time {dts} is too large or too far from its presentation time")]
    OutOfRange { dts: i64 },
    #[error("a sample comes after the end of its segment")]
    Finished,
}

/// The init segment (`ftyp` and `moov`) of a track with id 1. Equal configurations give equal bytes.
pub fn init_segment(config: &TrackConfig) -> Bytes {
    let mut out = BytesMut::with_capacity(600 + config.sample_entry.len());
    put_box(&mut out, b"ftyp", |o| {
        o.put_slice(b"iso6\0\0\0\0iso6cmfcmp41");
    });
    put_box(&mut out, b"moov", |o| {
        put_full_box(o, b"mvhd", 0, 0, |o| {
            o.put_bytes(0, 8); // creation and modification time
            o.put_u32(1000);
            o.put_u32(0); // duration: that of the fragments
            o.put_u32(0x10000); // rate 1.0
            o.put_u16(0x100); // volume 1.0
            o.put_bytes(0, 10);
            put_matrix(o);
            o.put_bytes(0, 24);
            o.put_u32(TRACK_ID + 1);
        });
        put_box(o, b"trak", |o| put_trak(o, config));
        put_box(o, b"mvex", |o| {
            put_full_box(o, b"trex", 0, 0, |o| {
                o.put_u32(TRACK_ID);
                o.put_u32(1);
                o.put_bytes(0, 12);
            });
        });
    });
    out.freeze()
}

fn put_matrix(o: &mut BytesMut) {
    for v in MATRIX {
        o.put_u32(v);
    }
}

fn put_trak(o: &mut BytesMut, config: &TrackConfig) {
    // Enabled, in the movie, in the preview.
    put_full_box(o, b"tkhd", 0, 7, |o| {
        o.put_bytes(0, 8);
        o.put_u32(TRACK_ID);
        o.put_bytes(0, 4 + 4 + 8 + 4); // reserved, duration, reserved, layer and group
        o.put_u16(if config.is_video() { 0 } else { 0x100 });
        o.put_u16(0);
        put_matrix(o);
        let (width, height) = display_size(config);
        o.put_u32(width);
        o.put_u32(height);
    });
    put_box(o, b"mdia", |o| {
        put_full_box(o, b"mdhd", 0, 0, |o| {
            o.put_bytes(0, 8);
            o.put_u32(config.timescale);
            o.put_u32(0);
            o.put_u16(0x55c4); // language "und"
            o.put_u16(0);
        });
        put_full_box(o, b"hdlr", 0, 0, |o| {
            o.put_u32(0);
            o.put_slice(if config.is_video() { b"vide" } else { b"soun" });
            o.put_bytes(0, 12 + 1); // reserved, empty name
        });
        put_box(o, b"minf", |o| put_minf(o, config));
    });
}

fn put_minf(o: &mut BytesMut, config: &TrackConfig) {
    if config.is_video() {
        put_full_box(o, b"vmhd", 0, 1, |o| o.put_bytes(0, 8));
    } else {
        put_full_box(o, b"smhd", 0, 0, |o| o.put_bytes(0, 4));
    }
    put_box(o, b"dinf", |o| {
        put_full_box(o, b"dref", 0, 0, |o| {
            o.put_u32(1);
            put_full_box(o, b"url ", 0, 1, |_| {});
        });
    });
    put_box(o, b"stbl", |o| {
        put_full_box(o, b"stsd", 0, 0, |o| {
            o.put_u32(1);
            o.put_slice(&config.sample_entry);
        });
        put_full_box(o, b"stts", 0, 0, |o| o.put_u32(0));
        put_full_box(o, b"stsc", 0, 0, |o| o.put_u32(0));
        put_full_box(o, b"stsz", 0, 0, |o| o.put_u64(0));
        put_full_box(o, b"stco", 0, 0, |o| o.put_u32(0));
    });
}

/// Width and height in 16.16 pixels as they are to be shown: the width is stretched by `pasp`.
fn display_size(config: &TrackConfig) -> (u32, u32) {
    let TrackMedia::Video { width, height } = config.media else {
        return (0, 0);
    };
    let boxes = config.sample_entry.get(86..).unwrap_or_default();
    let pasp = children(boxes)
        .flatten()
        .find(|b| b.is(b"pasp"))
        .and_then(|b| {
            let mut f = Fields::new(b.body);
            Some((f.u32()?, f.u32()?))
        });
    let (h, v) = pasp.filter(|(h, v)| *h > 0 && *v > 0).unwrap_or((1, 1));
    let scaled = (u128::from(width) << 16) * u128::from(h) / u128::from(v);
    (
        u32::try_from(scaled).unwrap_or(u32::from(width) << 16),
        u32::from(height) << 16,
    )
}

/// A media segment in the making: `styp`, then chunks (`moof` and `mdat`) of a fixed number of
/// samples each, so that the bytes do not depend on when the samples came.
#[derive(Debug)]
pub struct CmafSegment {
    decode_shift: i64,
    samples_per_chunk: usize,
    next_fragment: u32,
    chunk: Vec<Sample>,
    last_dts: Option<i64>,
    finished: bool,
    out: BytesMut,
}

impl CmafSegment {
    /// `decode_shift` ticks are added to every decode time, none to presentation times: the reorder
    /// delay of the encoder, with which the first sample's decode and presentation times coincide and
    /// no decode time is negative. It must be the same for all segments of a rendition.
    ///
    /// `sequence_number` is that of the segment; fragments count up from 1024 times that.
    pub fn new(config: &TrackConfig, sequence_number: u32, decode_shift: i64) -> Self {
        let mut out = BytesMut::with_capacity(4096);
        put_box(&mut out, b"styp", |o| o.put_slice(b"msdh\0\0\0\0msdhcmfs"));
        let samples_per_chunk = if config.is_video() {
            SAMPLES_PER_VIDEO_CHUNK
        } else {
            SAMPLES_PER_AUDIO_CHUNK
        };
        CmafSegment {
            decode_shift,
            samples_per_chunk,
            next_fragment: sequence_number
                .wrapping_mul(FRAGMENTS_PER_SEGMENT)
                .wrapping_add(1),
            chunk: Vec::with_capacity(samples_per_chunk),
            last_dts: None,
            finished: false,
            out,
        }
    }

    /// Adds the next sample in decode order. After an error the segment is as before the call.
    pub fn push(&mut self, sample: Sample) -> Result<(), CmafError> {
        let dts = sample.dts;
        if self.finished {
            return Err(CmafError::Finished);
        }
        if let Some(previous) = self.last_dts.filter(|p| dts <= *p) {
            return Err(CmafError::NotMonotonic { previous, dts });
        }
        let out_of_range = CmafError::OutOfRange { dts };
        let shifted = dts.checked_add(self.decode_shift).ok_or(out_of_range)?;
        if shifted < 0 {
            return Err(CmafError::NegativeTime { dts });
        }
        sample
            .pts
            .checked_sub(shifted)
            .and_then(|o| i32::try_from(o).ok())
            .ok_or(out_of_range)?;
        let gap = dts.saturating_sub(self.chunk.last().map_or(dts, |last| last.dts));
        if gap > i64::from(u32::MAX) || sample.data.len() > (u32::MAX >> 8) as usize {
            return Err(out_of_range);
        }
        self.last_dts = Some(dts);
        self.chunk.push(sample);
        if self.chunk.len() == self.samples_per_chunk {
            self.write_chunk();
        }
        Ok(())
    }

    /// The segment ends here: what is left becomes its last chunk.
    pub fn finish(&mut self) {
        self.finished = true;
        if !self.chunk.is_empty() {
            self.write_chunk();
        }
    }

    /// What can be sent now, empty when nothing new is complete.
    pub fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    fn write_chunk(&mut self) {
        let data_bytes: usize = self.chunk.iter().map(|s| s.data.len()).sum();
        self.out.reserve(data_bytes + 128 + 16 * self.chunk.len());
        let start = self.out.len();
        let sequence = self.next_fragment;
        self.next_fragment = sequence.wrapping_add(1);
        let (chunk, decode_shift) = (&self.chunk, self.decode_shift);
        let mut data_offset_at = 0;
        put_box(&mut self.out, b"moof", |o| {
            put_full_box(o, b"mfhd", 0, 0, |o| o.put_u32(sequence));
            put_box(o, b"traf", |o| {
                data_offset_at = put_traf(o, chunk, decode_shift)
            });
        });
        let data_offset = (self.out.len() - start + 8) as u32;
        self.out[data_offset_at..data_offset_at + 4].copy_from_slice(&data_offset.to_be_bytes());
        put_box(&mut self.out, b"mdat", |o| {
            for sample in chunk {
                o.put_slice(&sample.data);
            }
        });
        self.chunk.clear();
    }
}

fn sample_flags(sample: &Sample) -> u32 {
    if sample.sync {
        SYNC_FLAGS
    } else {
        NON_SYNC_FLAGS
    }
}

/// Writes the boxes of a `traf`; gives the place of the data offset, which is not known yet.
fn put_traf(o: &mut BytesMut, chunk: &[Sample], decode_shift: i64) -> usize {
    // The distance to the next decode time rather than what the encoder called the duration, so that
    // decode times inside the chunk are exact.
    let durations: Vec<u32> = chunk
        .iter()
        .enumerate()
        .map(|(i, s)| {
            chunk
                .get(i + 1)
                .map_or(s.duration, |next| (next.dts - s.dts) as u32)
        })
        .collect();
    let offset = |s: &Sample| (s.pts - s.dts - decode_shift) as i32;
    let same_duration = durations.windows(2).all(|w| w[0] == w[1]);
    let has_offsets = chunk.iter().any(|s| offset(s) != 0);
    let first_flags = chunk.first().map_or(SYNC_FLAGS, sample_flags);
    let rest_flags = chunk.get(1).map_or(first_flags, sample_flags);
    let uniform_rest = chunk.iter().skip(1).all(|s| sample_flags(s) == rest_flags);

    // Default base is moof; default flags, and the default duration where it holds.
    put_full_box(
        o,
        b"tfhd",
        0,
        0x02_0020 | if same_duration { 0x08 } else { 0 },
        |o| {
            o.put_u32(TRACK_ID);
            if same_duration {
                o.put_u32(durations.first().copied().unwrap_or(0));
            }
            o.put_u32(rest_flags);
        },
    );
    put_full_box(o, b"tfdt", 1, 0, |o| {
        o.put_i64(chunk.first().map_or(0, |s| s.dts + decode_shift));
    });
    let mut fields = 0x201;
    if !same_duration {
        fields |= 0x100;
    }
    if !uniform_rest {
        fields |= 0x400;
    } else if first_flags != rest_flags {
        fields |= 0x04;
    }
    if has_offsets {
        fields |= 0x800;
    }
    let mut data_offset_at = 0;
    put_full_box(o, b"trun", 1, fields, |o| {
        o.put_u32(chunk.len() as u32);
        data_offset_at = o.len();
        o.put_u32(0);
        if fields & 0x04 != 0 {
            o.put_u32(first_flags);
        }
        for (sample, duration) in chunk.iter().zip(&durations) {
            if !same_duration {
                o.put_u32(*duration);
            }
            o.put_u32(sample.data.len() as u32);
            if !uniform_rest {
                o.put_u32(sample_flags(sample));
            }
            if has_offsets {
                o.put_i32(offset(sample));
            }
        }
    });
    data_offset_at
}

#[cfg(test)]
mod tests {
    use super::super::fmp4_reader::{Fmp4Event, Fmp4Reader};
    use super::super::testing::{
        aac_config, audio_frame, audio_samples, avc_config, picture, video_samples,
    };
    use super::*;
    use proptest::prelude::*;

    fn segment(config: &TrackConfig, samples: &[Sample], shift: i64) -> Bytes {
        let mut s = CmafSegment::new(config, 3, shift);
        for sample in samples {
            s.push(sample.clone()).unwrap();
        }
        s.finish();
        s.take()
    }

    fn read_back(config: &TrackConfig, segment: &[u8]) -> (TrackConfig, Vec<Sample>) {
        let mut reader = Fmp4Reader::new();
        let mut events = reader.push(&init_segment(config)).unwrap();
        events.extend(reader.push(segment).unwrap());
        reader.finish().unwrap();
        let mut it = events.into_iter();
        let Some(Fmp4Event::Config(config)) = it.next() else {
            panic!("no configuration")
        };
        let samples = it.map(|e| match e {
            Fmp4Event::Sample(s) => s,
            Fmp4Event::Config(_) => panic!("a second configuration"),
        });
        (config, samples.collect())
    }

    #[test]
    fn the_display_size_follows_the_pixel_aspect_ratio() {
        assert_eq!(display_size(&avc_config()), (426 << 16 | 0xaaaa, 180 << 16));
    }

    #[test]
    fn a_chunk_goes_out_with_its_eighth_picture() {
        let mut s = CmafSegment::new(&avc_config(), 1, 1024);
        assert_eq!(&s.take()[4..8], b"styp");
        for i in 0..8 {
            assert!(s.take().is_empty());
            s.push(picture(i * 512 - 1024, i * 512, 512, i == 0, 10))
                .unwrap();
        }
        assert_eq!(&s.take()[4..8], b"moof");
    }

    #[test]
    fn misplaced_samples_are_refused() {
        let mut s = CmafSegment::new(&aac_config(), 1, 0);
        assert_eq!(
            s.push(audio_frame(-1, 1024, 3)),
            Err(CmafError::NegativeTime { dts: -1 })
        );
        s.push(audio_frame(1024, 1024, 3)).unwrap();
        let again = s.push(audio_frame(1024, 1024, 3));
        assert_eq!(
            again,
            Err(CmafError::NotMonotonic {
                previous: 1024,
                dts: 1024
            })
        );
        let far = Sample {
            pts: i64::MAX,
            ..audio_frame(2048, 1024, 3)
        };
        assert_eq!(s.push(far), Err(CmafError::OutOfRange { dts: 2048 }));
        s.finish();
        assert_eq!(s.push(audio_frame(2048, 1024, 3)), Err(CmafError::Finished));
    }

    #[test]
    fn uneven_durations_keep_decode_times_exact() {
        let times = [0, 1001, 2003, 3003, 9000];
        let samples: Vec<_> = times.iter().map(|t| audio_frame(*t, 1000, 5)).collect();
        let (_, back) = read_back(&aac_config(), &segment(&aac_config(), &samples, 0));
        assert_eq!(back.iter().map(|s| s.dts).collect::<Vec<_>>(), times);
    }

    proptest! {
        #[test]
        fn video_reads_back_with_shifted_decode_times(samples in video_samples(40)) {
            let config = avc_config();
            let (read, back) = read_back(&config, &segment(&config, &samples, 1024));
            prop_assert_eq!(read, config);
            let shifted: Vec<_> = samples.iter().cloned().map(|s| Sample { dts: s.dts + 1024, ..s }).collect();
            prop_assert_eq!(back, shifted);
        }

        #[test]
        fn bytes_do_not_depend_on_when_they_are_taken(samples in audio_samples(100), every in 1usize..50) {
            let config = aac_config();
            let mut s = CmafSegment::new(&config, 3, 0);
            let mut out = Vec::new();
            for (i, sample) in samples.iter().enumerate() {
                s.push(sample.clone()).unwrap();
                if i % every == 0 {
                    out.extend_from_slice(&s.take());
                }
            }
            s.finish();
            out.extend_from_slice(&s.take());
            prop_assert_eq!(&out, &segment(&config, &samples, 0));
            let (_, back) = read_back(&config, &out);
            prop_assert_eq!(back, samples);
        }
    }
}
