//! Matroska as ffmpeg writes it: counting its packets, and giving its ticks their true length.
//!
//! ffmpeg's muxer knows ticks of a millisecond only, which no rate like 24000/1001 fits. Segments are
//! written with a whole number of ticks to a picture; afterwards `TimestampScale` (RFC 9559 section
//! 5.1.2.2) says how long a tick is, and every picture lies where it should, to a few nanoseconds.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::base::FrameRate;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1f43_b675;
const INFO: u32 = 0x1549_a966;
const BLOCK_GROUP: u32 = 0xa0;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK: u32 = 0xa1;
const TIMESTAMP_SCALE: u32 = 0x002a_d7b1;

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a segment is damaged")
}

/// A variable-length number; with its marker bit for ids.
fn number(file: &mut impl Read, keep_marker: bool) -> io::Result<(u64, u32)> {
    let mut first = [0];
    file.read_exact(&mut first)?;
    let length = first[0].leading_zeros() + 1;
    if length > 8 {
        return Err(damaged());
    }
    let mask = match keep_marker {
        true => 0xff,
        false => (0xff_u16 >> length) as u8,
    };
    let mut value = u64::from(first[0] & mask);
    for _ in 1..length {
        let mut next = [0];
        file.read_exact(&mut next)?;
        value = value << 8 | u64::from(next[0]);
    }
    Ok((value, length))
}

/// Calls `found` for every element down to blocks with its id, the place of its content and its length.
fn walk<F: Read + Seek>(file: &mut F, mut found: impl FnMut(u32, u64, u64)) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = file.seek(SeekFrom::Start(0))?;
    while at < end {
        let (id, id_length) = number(file, true)?;
        let (size, size_length) = number(file, false)?;
        let id = u32::try_from(id).map_err(|_| damaged())?;
        let content = at + u64::from(id_length + size_length);
        let unknown = size == (1 << (7 * size_length)) - 1;
        found(id, content, size);
        at = match id {
            // What they hold follows.
            SEGMENT | CLUSTER | BLOCK_GROUP | INFO => content,
            _ if unknown => return Err(damaged()),
            _ => content.checked_add(size).ok_or_else(damaged)?,
        };
        if at > end {
            return Err(damaged());
        }
        file.seek(SeekFrom::Start(at))?;
    }
    Ok(())
}

/// Packets of a file with one track.
///
/// # Errors
/// It is broken off, damaged, or no Matroska.
pub fn count_packets<F: Read + Seek>(file: &mut F) -> io::Result<u64> {
    let (mut packets, mut is_ebml) = (0, false);
    walk(file, |id, _, _| {
        is_ebml |= id == EBML;
        packets += u64::from(matches!(id, SIMPLE_BLOCK | BLOCK));
    })?;
    match is_ebml {
        true => Ok(packets),
        false => Err(damaged()),
    }
}

/// Makes a tick such that `ticks` of them are one picture of `rate`.
///
/// # Errors
/// The file does not say its ticks as ffmpeg does.
pub fn set_tick<F: Read + Write + Seek>(
    file: &mut F,
    ticks: u32,
    rate: FrameRate,
) -> io::Result<()> {
    let mut place = None;
    walk(file, |id, content, size| {
        if id == TIMESTAMP_SCALE {
            place = Some((content, size));
        }
    })?;
    let (content, size) = place
        .filter(|p| (1..=8).contains(&p.1))
        .ok_or_else(damaged)?;
    let frame_ns = u128::from(rate.den()) * 1_000_000_000;
    let parts = u128::from(rate.num()) * u128::from(ticks);
    let tick_ns = u64::try_from((frame_ns + parts / 2) / parts.max(1)).map_err(|_| damaged())?;
    let bytes = tick_ns.to_be_bytes();
    let (above, bytes) = bytes.split_at(8 - size as usize);
    if above.iter().any(|b| *b != 0) {
        return Err(damaged());
    }
    file.seek(SeekFrom::Start(content))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
        let size = (content.len() as u64 | 1 << 56).to_be_bytes();
        [id, &size, content].concat()
    }

    fn file() -> Vec<u8> {
        let info = element(
            &[0x15, 0x49, 0xa9, 0x66],
            &[0x2a, 0xd7, 0xb1, 0x83, 0x0f, 0x42, 0x40],
        );
        let block = element(&[0xa3], &[0x81, 0, 0, 0x80, 9, 9]);
        let group = element(&[0xa0], &element(&[0xa1], &[0x81, 0, 40, 0, 9]));
        let cluster = element(
            &[0x1f, 0x43, 0xb6, 0x75],
            &[&block[..], &block, &group].concat(),
        );
        let segment = [
            &[
                0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ][..],
            &info,
            &cluster,
        ]
        .concat();
        [element(&[0x1a, 0x45, 0xdf, 0xa3], b"head"), segment].concat()
    }

    #[test]
    fn packets_are_counted() {
        let whole = file();
        assert_eq!(count_packets(&mut Cursor::new(&whole)).unwrap(), 3);
        for cut in [10, 30, whole.len() - 1] {
            assert!(
                count_packets(&mut Cursor::new(&whole[..cut])).is_err(),
                "{cut}"
            );
        }
        assert!(count_packets(&mut Cursor::new(b"not at all")).is_err());
    }

    #[test]
    fn a_tick_lasts_as_long_as_it_should() {
        let mut bytes = file();
        let film = FrameRate::new(24_000, 1001).unwrap();
        set_tick(&mut Cursor::new(&mut bytes[..]), 42, film).unwrap();
        let at = bytes
            .windows(4)
            .position(|w| w == [0x2a, 0xd7, 0xb1, 0x83])
            .unwrap()
            + 4;
        let tick = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]);
        assert_eq!(tick, 993_056);
        set_tick(&mut Cursor::new(&mut bytes[..]), 40, FrameRate::PAL).unwrap();
        assert_eq!(bytes[at..at + 3], [0x0f, 0x42, 0x40]);
    }
}
