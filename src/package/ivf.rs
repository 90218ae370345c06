//! IVF: the plain container in which scenes of AV1 and VP9 come. One packet is one picture, with a time.
//!
//! Layout (libvpx `ivfenc.c`): a header of 32 bytes (`DKIF`, version, header length, codec, width,
//! height, clock as denominator and numerator, number of pictures), then for each picture its length (4
//! bytes), its time (8 bytes) and its bytes. Numbers are little-endian.

use std::io::{self, Read, Write};

use super::av1_metadata::with_units;

const MAGIC: &[u8; 4] = b"DKIF";
const AV1: &[u8; 4] = b"AV01";
const HEADER: usize = 32;
const PICTURE_HEADER: usize = 12;
/// Longest packet that is believed, bytes.
const MOST_BYTES: u32 = 1 << 28;

/// A file cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum IvfError {
    #[error("a scene is no IVF file")]
    NotIvf,
    #[error("a scene holds {found} pictures, not {wanted}")]
    Count { found: u64, wanted: u64 },
    #[error("a scene is broken off or damaged")]
    Damaged,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the pictures of several files one behind the other, each with the time it is given.
pub struct IvfJoiner<W> {
    out: W,
    begun: bool,
    pictures: u64,
    /// What every sequence header of AV1 is followed by.
    units: Vec<u8>,
}

impl<W: Write> IvfJoiner<W> {
    pub fn new(out: W) -> Self {
        IvfJoiner {
            out,
            begun: false,
            pictures: 0,
            units: Vec::new(),
        }
    }

    /// Puts `units` (of [`super::hdr_units`]) behind every sequence header, where pictures are AV1.
    #[must_use]
    pub fn with_units(self, units: Vec<u8>) -> Self {
        IvfJoiner { units, ..self }
    }

    /// Appends a file, whose pictures get `times_us` (microseconds) in order.
    ///
    /// # Errors
    /// The file does not hold as many pictures as there are times; what was written is of no use then.
    pub fn append(&mut self, mut file: impl Read, times_us: &[i64]) -> Result<(), IvfError> {
        let wanted = times_us.len() as u64;
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(|_| IvfError::NotIvf)?;
        let length = u16::from_le_bytes([header[6], header[7]]);
        if &header[..4] != MAGIC || usize::from(length) != HEADER {
            return Err(IvfError::NotIvf);
        }
        if !self.begun {
            header[16..20].copy_from_slice(&1_000_000_u32.to_le_bytes());
            header[20..24].copy_from_slice(&1_u32.to_le_bytes());
            self.out.write_all(&header)?;
            self.begun = true;
        }
        let mut times = times_us.iter();
        let mut found = 0;
        let mut bytes = Vec::new();
        loop {
            let mut head = [0; PICTURE_HEADER];
            match file.read(&mut head[..1])? {
                0 => break,
                _ => file
                    .read_exact(&mut head[1..])
                    .map_err(|_| IvfError::Damaged)?,
            }
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            if length > MOST_BYTES {
                return Err(IvfError::Damaged);
            }
            bytes.clear();
            let read = file
                .by_ref()
                .take(u64::from(length))
                .read_to_end(&mut bytes)?;
            if read != length as usize {
                return Err(IvfError::Damaged);
            }
            found += 1;
            let Some(time) = times.next() else { continue };
            if !self.units.is_empty()
                && &header[8..12] == AV1
                && let Some(more) = with_units(&bytes, &self.units)
            {
                bytes = more;
            }
            let length = u32::try_from(bytes.len()).map_err(|_| IvfError::Damaged)?;
            self.out.write_all(&length.to_le_bytes())?;
            self.out.write_all(&time.to_le_bytes())?;
            self.out.write_all(&bytes)?;
        }
        if found != wanted {
            return Err(IvfError::Count { found, wanted });
        }
        self.pictures += found;
        Ok(())
    }

    /// Ends the file; the number of its pictures.
    pub fn finish(mut self) -> Result<u64, IvfError> {
        self.out.flush()?;
        Ok(self.pictures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pictures: &[&[u8]]) -> Vec<u8> {
        let mut out =
            b"DKIF\0\0\x20\0AV01\x40\0\x24\0\x19\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        for (nth, bytes) in pictures.iter().enumerate() {
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend((nth as u64).to_le_bytes());
            out.extend(*bytes);
        }
        out
    }

    #[test]
    fn pictures_follow_each_other_with_their_own_times() {
        let mut out = Vec::new();
        let mut joiner = IvfJoiner::new(&mut out);
        joiner
            .append(&file(&[b"one", b""])[..], &[0, 41_708])
            .unwrap();
        joiner.append(&file(&[b"three"])[..], &[83_417]).unwrap();
        assert_eq!(joiner.finish().unwrap(), 3);
        assert_eq!(&out[16..24], [0x40, 0x42, 0x0f, 0, 1, 0, 0, 0]);
        let tail = [
            &5_u32.to_le_bytes()[..],
            &83_417_i64.to_le_bytes(),
            b"three",
        ]
        .concat();
        assert!(out.ends_with(&tail));
        assert_eq!(out.len(), 32 + 3 * 12 + 8);
    }

    #[test]
    fn units_are_put_into_key_pictures_of_av1() {
        let key: &[u8] = &[0x12, 0, 0x0a, 1, 7, 0x32, 1, 9];
        let inter: &[u8] = &[0x12, 0, 0x32, 1, 9];
        let joined = |codec: &[u8; 4]| {
            let mut whole = file(&[key, inter]);
            whole[8..12].copy_from_slice(codec);
            let mut out = Vec::new();
            let mut joiner = IvfJoiner::new(&mut out).with_units(vec![0x2a, 1, 0x80]);
            joiner.append(&whole[..], &[0, 1]).unwrap();
            joiner.finish().unwrap();
            out
        };
        let made = joined(b"AV01");
        assert_eq!(made[32..36], 11_u32.to_le_bytes());
        let wanted = [0x12, 0, 0x0a, 1, 7, 0x2a, 1, 0x80, 0x32, 1, 9];
        assert_eq!(made[44..55], wanted);
        assert_eq!(made.len(), 55 + 12 + inter.len());
        assert_eq!(joined(b"VP90").len(), made.len() - 3);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let append = |bytes: &[u8], times: &[i64]| IvfJoiner::new(Vec::new()).append(bytes, times);
        let good = file(&[b"one", b"two"]);
        assert!(matches!(
            append(&good, &[0]),
            Err(IvfError::Count {
                found: 2,
                wanted: 1
            })
        ));
        assert!(matches!(
            append(&good, &[0, 1, 2]),
            Err(IvfError::Count { found: 2, .. })
        ));
        assert!(matches!(
            append(&good[..good.len() - 1], &[0, 1]),
            Err(IvfError::Damaged)
        ));
        assert!(matches!(
            append(&good[..40], &[0, 1]),
            Err(IvfError::Damaged)
        ));
        assert!(matches!(append(b"RIFF", &[0]), Err(IvfError::NotIvf)));
        let mut huge = file(&[b"x"]);
        huge[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(append(&huge, &[0]), Err(IvfError::Damaged)));
    }
}
