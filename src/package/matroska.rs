//! Matroska as ffmpeg writes it: counting its packets, giving them other times, and its ticks their true
//! length.
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
const CLUSTER_TIMESTAMP: u32 = 0xe7;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const DEFAULT_DURATION: u32 = 0x0023_e383;
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
            SEGMENT | CLUSTER | BLOCK_GROUP | INFO | TRACKS | TRACK_ENTRY => content,
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

/// Where a block's time stands, and what it says.
struct Block {
    cluster: usize,
    at: u64,
    time: i64,
}

/// Where a cluster's time stands, how many bytes it has there, and what it says.
struct Cluster {
    at: u64,
    size: usize,
    time: i64,
}

impl Cluster {
    fn read<F: Read + Seek>(file: &mut F, at: u64, size: u64) -> io::Result<Cluster> {
        let size = usize::try_from(size).ok().filter(|s| (1..=8).contains(s));
        let size = size.ok_or_else(damaged)?;
        let mut bytes = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes[8 - size..])?;
        let time = i64::try_from(u64::from_be_bytes(bytes)).map_err(|_| damaged())?;
        Ok(Cluster { at, size, time })
    }

    /// The largest time that has room there.
    fn most(&self) -> i64 {
        match self.size {
            8 => i64::MAX,
            size => (1 << (8 * size)) - 1,
        }
    }
}

/// Gives the pictures of a file with one track other times: the one that is shown as number `n` (from 0)
/// gets `place(n)`, in ticks. The times that they had, ascending.
///
/// # Errors
/// It is no such file; two pictures have one time, or a time has no room where the old one stands. What
/// was written is of no use then.
pub fn retime<F: Read + Write + Seek>(
    file: &mut F,
    place: impl Fn(usize) -> i64,
) -> io::Result<Vec<i64>> {
    let (mut clusters, mut places) = (Vec::new(), Vec::new());
    walk(file, |id, content, size| match id {
        CLUSTER_TIMESTAMP => clusters.push((content, size)),
        SIMPLE_BLOCK | BLOCK => places.push((clusters.len(), content)),
        _ => {}
    })?;
    let clusters: Vec<Cluster> = clusters
        .into_iter()
        .map(|(at, size)| Cluster::read(file, at, size))
        .collect::<io::Result<_>>()?;
    let mut blocks = Vec::new();
    for (clusters_begun, content) in places {
        let cluster = clusters_begun.checked_sub(1).ok_or_else(damaged)?;
        file.seek(SeekFrom::Start(content))?;
        let (_, track_length) = number(file, false)?;
        let mut bytes = [0; 2];
        file.read_exact(&mut bytes)?;
        blocks.push(Block {
            cluster,
            at: content + u64::from(track_length),
            time: clusters[cluster].time + i64::from(i16::from_be_bytes(bytes)),
        });
    }
    let mut shown: Vec<i64> = blocks.iter().map(|b| b.time).collect();
    shown.sort_unstable();
    if shown.windows(2).any(|w| w[0] == w[1]) {
        return Err(damaged());
    }
    let place = |b: &Block| place(shown.partition_point(|t| *t < b.time));
    for held in blocks.chunk_by(|a, b| a.cluster == b.cluster) {
        let cluster = &clusters[held[0].cluster];
        let first = held.iter().map(place).min().unwrap_or(0);
        let start = first.min(cluster.most());
        file.seek(SeekFrom::Start(cluster.at))?;
        file.write_all(&start.to_be_bytes()[8 - cluster.size..])?;
        for block in held {
            let offset = i16::try_from(place(block) - start).map_err(|_| damaged())?;
            file.seek(SeekFrom::Start(block.at))?;
            file.write_all(&offset.to_be_bytes())?;
        }
    }
    Ok(shown)
}

/// Makes a tick such that `ticks` of them are one picture of `rate`, and says this rate.
///
/// # Errors
/// The file does not say its ticks as ffmpeg does.
pub fn set_tick<F: Read + Write + Seek>(
    file: &mut F,
    ticks: u32,
    rate: FrameRate,
) -> io::Result<()> {
    let (mut tick, mut picture) = (None, None);
    walk(file, |id, content, size| match id {
        TIMESTAMP_SCALE => tick = Some((content, size)),
        DEFAULT_DURATION => picture = Some((content, size)),
        _ => {}
    })?;
    let length_ns = |ticks: u32| {
        let frame_ns = u128::from(rate.den()) * 1_000_000_000;
        let parts = u128::from(rate.num()) * u128::from(ticks).max(1);
        u64::try_from((frame_ns + parts / 2) / parts).map_err(|_| damaged())
    };
    overwrite(file, tick.ok_or_else(damaged)?, length_ns(ticks)?)?;
    match picture {
        Some(picture) => overwrite(file, picture, length_ns(1)?),
        None => Ok(()),
    }
}

/// Writes a number where another stood.
fn overwrite<F: Write + Seek>(
    file: &mut F,
    (content, size): (u64, u64),
    value: u64,
) -> io::Result<()> {
    let size = usize::try_from(size).ok().filter(|s| (1..=8).contains(s));
    let bytes = value.to_be_bytes();
    let (above, bytes) = bytes.split_at(8 - size.ok_or_else(damaged)?);
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
    fn pictures_get_other_times_in_the_order_in_which_they_are_shown() {
        let block = |time: i16| {
            let [high, low] = time.to_be_bytes();
            element(&[0xa3], &[0x81, high, low, 0x80, 9])
        };
        let cluster = |time: u16, offsets: &[i16]| {
            let blocks = offsets.iter().flat_map(|t| block(*t));
            let time = element(&[0xe7], &time.to_be_bytes());
            let blocks: Vec<u8> = blocks.collect();
            element(&[0x1f, 0x43, 0xb6, 0x75], &[&time[..], &blocks].concat())
        };
        let film = |clusters: &[Vec<u8>]| {
            let head = element(&[0x1a, 0x45, 0xdf, 0xa3], b"head");
            [head, element(&[0x18, 0x53, 0x80, 0x67], &clusters.concat())].concat()
        };
        // Stored as 0 3 1 2 | 4 5, with times that tremble.
        let mut bytes = film(&[
            cluster(25_875, &[0, 125, 41, 84]),
            cluster(26_042, &[0, 41]),
        ]);
        let times = retime(&mut Cursor::new(&mut bytes[..]), |n| n as i64 * 42).unwrap();
        assert_eq!(times, [25_875, 25_916, 25_959, 26_000, 26_042, 26_083]);
        let wanted = film(&[cluster(0, &[0, 126, 42, 84]), cluster(168, &[0, 42])]);
        assert_eq!(bytes, wanted);
        let mut twice = film(&[cluster(0, &[0, 40, 40])]);
        assert!(retime(&mut Cursor::new(&mut twice[..]), |n| n as i64).is_err());
        let mut far = film(&[cluster(0, &[0, 40])]);
        let place = |n| n as i64 * 40_000;
        assert!(retime(&mut Cursor::new(&mut far[..]), place).is_err());
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
