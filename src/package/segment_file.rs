//! The form in which the samples of one track of one segment wait in a cache.
//!
//! Header: magic `gseg`, version and reserved (16 bits each), number of samples, bytes of the table
//! (32 bits each), big-endian. Table: four LEB128 numbers per sample: decode time as a difference from
//! the sample before and composition offset (both zigzag), duration, and size doubled plus the sync
//! bit. Then the data of all samples. There is no checksum: every number is checked against the
//! length of the file, and a cache that doubts its disk must check itself.

use bytes::Bytes;

use super::boxes::Fields;
use super::sample::Sample;

const MAGIC: [u8; 4] = *b"gseg";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
/// Each of the four numbers takes at least a byte.
const MIN_ENTRY_BYTES: usize = 4;

/// The bytes are not a whole segment of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFileError {
    #[error("not a cached segment")]
    NotASegment,
    #[error("a cached segment of version {0}, which this version cannot read")]
    Version(u16),
    #[error("the cached segment is truncated or damaged")]
    Damaged,
}

/// The number of bytes that [`encode_samples`] gives.
pub fn encoded_len(samples: &[Sample]) -> usize {
    let mut previous = 0;
    let entries: usize = samples
        .iter()
        .map(|s| {
            entry(s, &mut previous)
                .iter()
                .map(|v| varint_len(*v))
                .sum::<usize>()
                + s.data.len()
        })
        .sum();
    HEADER_BYTES + entries
}

/// The samples as one self-contained piece. There must be fewer than 2^32 of them.
pub fn encode_samples(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_len(samples));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(samples.len() as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut previous = 0;
    for sample in samples {
        for v in entry(sample, &mut previous) {
            put_varint(&mut out, v);
        }
    }
    let table_bytes = (out.len() - HEADER_BYTES) as u32;
    out[12..16].copy_from_slice(&table_bytes.to_be_bytes());
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    out
}

/// The samples of an encoded segment; their data are slices of `file`, not copies.
pub fn decode_samples(mut file: Bytes) -> Result<Vec<Sample>, SegmentFileError> {
    let mut f = Fields::new(&file);
    if f.array() != Some(MAGIC) {
        return Err(SegmentFileError::NotASegment);
    }
    let damaged = SegmentFileError::Damaged;
    match f.u16().ok_or(damaged)? {
        VERSION => {}
        other => return Err(SegmentFileError::Version(other)),
    }
    f.skip(2).ok_or(damaged)?;
    let count = f.u32().ok_or(damaged)? as usize;
    let table_bytes = f.u32().ok_or(damaged)? as usize;
    let body = file.split_off(HEADER_BYTES);
    if table_bytes > body.len() || count > table_bytes / MIN_ENTRY_BYTES {
        return Err(damaged);
    }
    read_entries(&body, table_bytes, count).ok_or(damaged)
}

fn read_entries(body: &Bytes, table_bytes: usize, count: usize) -> Option<Vec<Sample>> {
    let mut table = Fields::new(body.get(..table_bytes)?);
    let mut samples = Vec::with_capacity(count);
    let (mut previous, mut at) = (0i64, table_bytes);
    for _ in 0..count {
        let dts = previous.wrapping_add(unzigzag(varint(&mut table)?));
        let pts = dts.wrapping_add(unzigzag(varint(&mut table)?));
        let duration = u32::try_from(varint(&mut table)?).ok()?;
        let size_sync = varint(&mut table)?;
        let end = at.checked_add(usize::try_from(size_sync >> 1).ok()?)?;
        if end > body.len() {
            return None;
        }
        samples.push(Sample {
            dts,
            pts,
            duration,
            sync: size_sync & 1 == 1,
            data: body.slice(at..end),
        });
        (previous, at) = (dts, end);
    }
    (table.len() == 0 && at == body.len()).then_some(samples)
}

/// The numbers of a sample's table entry. `previous` is the decode time before it.
fn entry(s: &Sample, previous: &mut i64) -> [u64; 4] {
    let delta = s.dts.wrapping_sub(*previous);
    *previous = s.dts;
    let offset = s.pts.wrapping_sub(s.dts);
    let size_sync = (s.data.len() as u64) << 1 | u64::from(s.sync);
    [
        zigzag(delta),
        zigzag(offset),
        u64::from(s.duration),
        size_sync,
    ]
}

fn zigzag(v: i64) -> u64 {
    (v << 1 ^ v >> 63).cast_unsigned()
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1).cast_signed() ^ -((v & 1).cast_signed())
}

fn varint_len(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// At most ten bytes; bits beyond the sixty-fourth are an error.
fn varint(f: &mut Fields<'_>) -> Option<u64> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = f.u8()?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        v |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(v);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::video_samples;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_sample() -> impl Strategy<Value = Sample> {
        (
            any::<i64>(),
            any::<i64>(),
            any::<u32>(),
            any::<bool>(),
            vec(any::<u8>(), 0..50),
        )
            .prop_map(|(dts, pts, duration, sync, data)| Sample {
                dts,
                pts,
                duration,
                sync,
                data: data.into(),
            })
    }

    #[test]
    fn other_files_and_versions_are_told_apart() {
        assert_eq!(
            decode_samples(Bytes::from_static(b"RIFF....")),
            Err(SegmentFileError::NotASegment)
        );
        let mut file = encode_samples(&[]);
        file[5] = 9;
        assert_eq!(
            decode_samples(file.into()),
            Err(SegmentFileError::Version(9))
        );
    }

    proptest! {
        #[test]
        fn round_trip(samples in vec(any_sample(), 0..20)) {
            let file = encode_samples(&samples);
            prop_assert_eq!(file.len(), encoded_len(&samples));
            prop_assert_eq!(decode_samples(file.into()).unwrap(), samples);
        }

        #[test]
        fn every_truncation_and_extension_is_noticed(samples in video_samples(10), cut in any::<prop::sample::Index>()) {
            let file = encode_samples(&samples);
            let cut = cut.index(file.len());
            prop_assert!(decode_samples(Bytes::copy_from_slice(&file[..cut])).is_err());
            let longer = [&file[..], &[0]].concat();
            prop_assert_eq!(decode_samples(longer.into()), Err(SegmentFileError::Damaged));
        }

        #[test]
        fn mutated_files_never_panic(
            samples in video_samples(10),
            edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut file = encode_samples(&samples);
            for (at, value) in edits {
                let at = at.index(file.len());
                file[at] = value;
            }
            let len = file.len();
            if let Ok(read) = decode_samples(file.into()) {
                prop_assert!(read.iter().map(|s| s.data.len()).sum::<usize>() <= len);
            }
        }

        #[test]
        fn random_tables_never_panic(count in any::<u32>(), table in vec(any::<u8>(), 0..80)) {
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(&[0, 1, 0, 0]);
            file.extend_from_slice(&(count % 24).to_be_bytes());
            file.extend_from_slice(&(table.len() as u32 / 2).to_be_bytes());
            file.extend_from_slice(&table);
            let read = decode_samples(file.into());
            prop_assert!(read.is_ok() || read == Err(SegmentFileError::Damaged));
        }
    }
}
