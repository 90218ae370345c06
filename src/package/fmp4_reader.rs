//! Reads the fragmented MP4 that an encoder writes on a pipe (ISO/IEC 14496-12 section 8.8).
//!
//! Written for ffmpeg's `-f mp4 -use_editlist 0 -movflags empty_moov+default_base_moof+skip_trailer`
//! `+frag_discont` with `frag_every_frame` or `frag_keyframe`, with or without `delay_moov`; other
//! single-track fragmented MP4 works as well. Samples come out as soon as their last byte is in.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::boxes::{BadBox, BoxRef, Fields, FourCc, children};
use super::codec::{ConfigError, parse_sample_entry};
use super::sample::{Sample, TrackConfig};

const MAX_MOOV_BYTES: u64 = 16 << 20;
const MAX_MOOF_BYTES: u64 = 4 << 20;
const MAX_SAMPLE_BYTES: u32 = 64 << 20;
/// A fragment may spell samples that all share the defaults in no bytes at all, so their number has
/// its own bound: more than an hour of audio in one fragment.
const MAX_SAMPLES_PER_FRAGMENT: usize = 1 << 18;
/// The most that is reserved ahead on the word of a size field.
const MAX_RESERVE_BYTES: usize = 1 << 20;

/// `sample_is_non_sync_sample` of the sample flags (section 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// What the stream says, in stream order. The configuration comes once, before the first sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fmp4Event {
    Config(TrackConfig),
    Sample(Sample),
}

/// The stream is not one that this reader can follow. The reader stays in this state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DemuxError {
    #[error("a '{kind}' box claims {size} bytes, more than the {limit} allowed")]
    TooLarge { kind: FourCc, size: u64, limit: u64 },
    #[error("the '{0}' box is damaged")]
    Malformed(FourCc),
    #[error("'{0}' comes where it cannot; the stream is not fragmented mp4")]
    Misplaced(FourCc),
    #[error("the stream has {0} tracks instead of one")]
    TrackCount(usize),
    #[error("the track has {0} sample descriptions instead of one")]
    DescriptionCount(usize),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the stream changes its configuration midway")]
    ConfigChanged,
    #[error("the stream ends inside a box or before its samples")]
    Truncated,
}

fn malformed(kind: &[u8; 4]) -> DemuxError {
    DemuxError::Malformed(FourCc(*kind))
}

/// An incremental reader of one track. Memory: one box of metadata or one sample, within the limits
/// above, and the table of one fragment.
#[derive(Debug, Default)]
pub struct Fmp4Reader {
    buf: BytesMut,
    /// Position of `buf` in the stream.
    offset: u64,
    state: State,
    track: Option<Track>,
    /// The samples of the current fragment that are still to come, by position.
    pending: VecDeque<Pending>,
    /// A `moof` has come whose `mdat` has not.
    fragment_open: bool,
    failed: Option<DemuxError>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Header,
    /// A box that is read as a whole: bytes with header.
    Whole {
        kind: FourCc,
        header_bytes: usize,
        bytes: usize,
    },
    /// A box of no interest.
    Skip {
        until: u64,
    },
    Mdat {
        until: u64,
    },
}

#[derive(Debug)]
struct Track {
    config: TrackConfig,
    id: u32,
    defaults: Defaults,
    /// Decode time after the last sample, for fragments without `tfdt`.
    next_dts: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

#[derive(Debug)]
struct Pending {
    position: u64,
    size: u32,
    dts: i64,
    pts: i64,
    duration: u32,
    sync: bool,
}

impl Fmp4Reader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, split anywhere, and gives what they complete. Events that
    /// precede an error in the same bytes are lost with it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Fmp4Event>, DemuxError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        self.buf.extend_from_slice(bytes);
        let mut events = Vec::new();
        match self.advance(&mut events) {
            Ok(()) => Ok(events),
            Err(e) => {
                self.buf.clear();
                self.pending.clear();
                self.failed = Some(e.clone());
                Err(e)
            }
        }
    }

    /// The stream has ended: says whether at a box boundary with all announced samples delivered.
    pub fn finish(self) -> Result<(), DemuxError> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        let at_boundary = matches!(self.state, State::Header) && self.buf.is_empty();
        if at_boundary && self.pending.is_empty() && self.track.is_some() {
            Ok(())
        } else {
            Err(DemuxError::Truncated)
        }
    }

    fn consume(&mut self, n: usize) {
        self.buf.advance(n);
        self.offset += n as u64;
    }

    fn split_off_front(&mut self, n: usize) -> Bytes {
        self.offset += n as u64;
        self.buf.split_to(n).freeze()
    }

    fn advance(&mut self, events: &mut Vec<Fmp4Event>) -> Result<(), DemuxError> {
        loop {
            let progressed = match self.state {
                State::Header => self.read_header()?,
                State::Whole {
                    kind,
                    header_bytes,
                    bytes,
                } => self.read_whole(kind, header_bytes, bytes, events)?,
                State::Skip { until } => self.skip(until),
                State::Mdat { until } => self.read_mdat(until, events)?,
            };
            if !progressed {
                return Ok(());
            }
        }
    }

    fn read_header(&mut self) -> Result<bool, DemuxError> {
        let mut f = Fields::new(&self.buf);
        let (Some(size32), Some(kind)) = (f.u32(), f.array().map(FourCc)) else {
            return Ok(false);
        };
        let (header_bytes, size) = match size32 {
            // "To the end of the file": on a pipe this is a header that was never completed.
            0 => return Err(DemuxError::Malformed(kind)),
            1 => match f.u64() {
                Some(size) => (16, size),
                None => return Ok(false),
            },
            n => (8, u64::from(n)),
        };
        let until = self
            .offset
            .checked_add(size)
            .ok_or(DemuxError::Malformed(kind))?;
        if size < header_bytes as u64 {
            return Err(DemuxError::Malformed(kind));
        }
        let limit = match &kind.0 {
            b"moov" => MAX_MOOV_BYTES,
            b"moof" => MAX_MOOF_BYTES,
            b"mdat" => {
                if !self.fragment_open {
                    return Err(DemuxError::Misplaced(kind));
                }
                self.fragment_open = false;
                self.consume(header_bytes);
                self.state = State::Mdat { until };
                return Ok(true);
            }
            _ => {
                self.consume(header_bytes);
                self.state = State::Skip { until };
                return Ok(true);
            }
        };
        if size > limit {
            return Err(DemuxError::TooLarge { kind, size, limit });
        }
        self.state = State::Whole {
            kind,
            header_bytes,
            bytes: size as usize,
        };
        Ok(true)
    }

    fn skip(&mut self, until: u64) -> bool {
        let n =
            usize::try_from(until - self.offset).map_or(self.buf.len(), |n| n.min(self.buf.len()));
        self.consume(n);
        if self.offset < until {
            return false;
        }
        self.state = State::Header;
        true
    }

    fn read_whole(
        &mut self,
        kind: FourCc,
        header_bytes: usize,
        bytes: usize,
        events: &mut Vec<Fmp4Event>,
    ) -> Result<bool, DemuxError> {
        if self.buf.len() < bytes {
            self.reserve_to(bytes);
            return Ok(false);
        }
        let start = self.offset;
        let whole = self.split_off_front(bytes);
        let body = &whole[header_bytes..];
        if kind.0 == *b"moov" {
            self.read_moov(body, events)?;
        } else {
            self.read_moof(body, start)?;
        }
        self.state = State::Header;
        Ok(true)
    }

    fn reserve_to(&mut self, bytes: usize) {
        let missing = bytes.saturating_sub(self.buf.len());
        self.buf.reserve(missing.min(MAX_RESERVE_BYTES));
    }

    fn read_mdat(&mut self, until: u64, events: &mut Vec<Fmp4Event>) -> Result<bool, DemuxError> {
        let Some(next) = self.pending.front() else {
            self.state = State::Skip { until };
            return Ok(true);
        };
        let end = next
            .position
            .checked_add(u64::from(next.size))
            .ok_or(malformed(b"trun"))?;
        if next.position < self.offset || end > until {
            return Err(malformed(b"trun"));
        }
        if next.position > self.offset {
            let gap = usize::try_from(next.position - self.offset).unwrap_or(usize::MAX);
            let n = gap.min(self.buf.len());
            self.consume(n);
            return Ok(n > 0);
        }
        let size = next.size as usize;
        if self.buf.len() < size {
            self.reserve_to(size);
            return Ok(false);
        }
        let Some(p) = self.pending.pop_front() else {
            return Ok(false);
        };
        let data = self.split_off_front(size);
        events.push(Fmp4Event::Sample(Sample {
            dts: p.dts,
            pts: p.pts,
            duration: p.duration,
            sync: p.sync,
            data,
        }));
        Ok(true)
    }

    fn read_moov(&mut self, body: &[u8], events: &mut Vec<Fmp4Event>) -> Result<(), DemuxError> {
        let track = parse_moov(body)?;
        match &self.track {
            None => {
                events.push(Fmp4Event::Config(track.config.clone()));
                self.track = Some(track);
                Ok(())
            }
            Some(known) if known.config == track.config && known.id == track.id => Ok(()),
            Some(_) => Err(DemuxError::ConfigChanged),
        }
    }

    fn read_moof(&mut self, body: &[u8], start: u64) -> Result<(), DemuxError> {
        let misplaced = DemuxError::Misplaced(FourCc(*b"moof"));
        if !self.pending.is_empty() {
            return Err(misplaced);
        }
        let track = self.track.as_mut().ok_or(misplaced)?;
        for child in children(body) {
            let child = child.map_err(|BadBox| malformed(b"moof"))?;
            if child.is(b"traf") {
                track.read_traf(child.body, start, &mut self.pending)?;
            }
        }
        self.fragment_open = true;
        Ok(())
    }
}

/// The boxes in `body` that are of this kind.
fn all<'a>(
    body: &'a [u8],
    kind: &[u8; 4],
    parent: &[u8; 4],
) -> Result<Vec<BoxRef<'a>>, DemuxError> {
    let boxes = children(body)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|BadBox| malformed(parent))?;
    Ok(boxes.into_iter().filter(|b| b.is(kind)).collect())
}

/// The body of the first box of this kind.
fn one<'a>(body: &'a [u8], kind: &[u8; 4], parent: &[u8; 4]) -> Result<&'a [u8], DemuxError> {
    all(body, kind, parent)?
        .first()
        .map(|b| b.body)
        .ok_or(malformed(kind))
}

fn parse_moov(body: &[u8]) -> Result<Track, DemuxError> {
    let traks = all(body, b"trak", b"moov")?;
    let [trak] = traks.as_slice() else {
        return Err(DemuxError::TrackCount(traks.len()));
    };
    let tkhd = one(trak.body, b"tkhd", b"trak")?;
    let id = tkhd_track_id(tkhd).ok_or(malformed(b"tkhd"))?;
    let mdia = one(trak.body, b"mdia", b"trak")?;
    let timescale = mdhd_timescale(one(mdia, b"mdhd", b"mdia")?).ok_or(malformed(b"mdhd"))?;
    let minf = one(mdia, b"minf", b"mdia")?;
    let stbl = one(minf, b"stbl", b"minf")?;
    let stsd = one(stbl, b"stsd", b"stbl")?;
    let entries = children(stsd.get(8..).unwrap_or_default())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|BadBox| malformed(b"stsd"))?;
    let [entry] = entries.as_slice() else {
        return Err(DemuxError::DescriptionCount(entries.len()));
    };
    let parsed = parse_sample_entry(*entry, timescale)?;
    let mut defaults = Defaults::default();
    for mvex in all(body, b"mvex", b"moov")? {
        for trex in all(mvex.body, b"trex", b"mvex")? {
            let (track, d) = parse_trex(trex.body).ok_or(malformed(b"trex"))?;
            if track == id {
                defaults = d;
            }
        }
    }
    let config = TrackConfig {
        timescale,
        media: parsed.media,
        sample_entry: parsed.entry,
        codec: parsed.codec,
    };
    Ok(Track {
        config,
        id,
        defaults,
        next_dts: 0,
    })
}

fn tkhd_track_id(body: &[u8]) -> Option<u32> {
    let mut f = Fields::new(body);
    let (version, _) = f.version_flags()?;
    f.skip(if version == 1 { 16 } else { 8 })?;
    f.u32()
}

fn mdhd_timescale(body: &[u8]) -> Option<u32> {
    let mut f = Fields::new(body);
    let (version, _) = f.version_flags()?;
    f.skip(if version == 1 { 16 } else { 8 })?;
    f.u32().filter(|t| *t > 0)
}

fn parse_trex(body: &[u8]) -> Option<(u32, Defaults)> {
    let mut f = Fields::new(body);
    f.version_flags()?;
    let track = f.u32()?;
    f.skip(4)?;
    Some((
        track,
        Defaults {
            duration: f.u32()?,
            size: f.u32()?,
            flags: f.u32()?,
        },
    ))
}

impl Track {
    fn read_traf(
        &mut self,
        body: &[u8],
        moof_start: u64,
        pending: &mut VecDeque<Pending>,
    ) -> Result<(), DemuxError> {
        let tfhd = one(body, b"tfhd", b"traf")?;
        let header = parse_tfhd(tfhd, self.defaults).ok_or(malformed(b"tfhd"))?;
        if header.track != self.id {
            return Err(DemuxError::TrackCount(2));
        }
        if let Some(tfdt) = all(body, b"tfdt", b"traf")?.first() {
            self.next_dts = parse_tfdt(tfdt.body).ok_or(malformed(b"tfdt"))?;
        }
        let base = header.base.unwrap_or(moof_start);
        let mut position = None;
        for trun in all(body, b"trun", b"traf")? {
            let run = Run {
                base,
                position,
                defaults: header.defaults,
                dts: self.next_dts,
            };
            let end = run.read(trun.body, pending)?.ok_or(malformed(b"trun"))?;
            position = Some(end.position);
            self.next_dts = end.dts;
        }
        Ok(())
    }
}

struct FragmentHeader {
    track: u32,
    base: Option<u64>,
    defaults: Defaults,
}

/// Section 8.8.7.
fn parse_tfhd(body: &[u8], trex: Defaults) -> Option<FragmentHeader> {
    let mut f = Fields::new(body);
    let (_, flags) = f.version_flags()?;
    let track = f.u32()?;
    let base = if flags & 0x01 != 0 {
        Some(f.u64()?)
    } else {
        None
    };
    if flags & 0x02 != 0 {
        f.skip(4)?;
    }
    let mut or = |bit, default| {
        if flags & bit != 0 {
            f.u32()
        } else {
            Some(default)
        }
    };
    let defaults = Defaults {
        duration: or(0x08, trex.duration)?,
        size: or(0x10, trex.size)?,
        flags: or(0x20, trex.flags)?,
    };
    Some(FragmentHeader {
        track,
        base,
        defaults,
    })
}

/// Section 8.8.12. ffmpeg writes a negative time (reordered pictures, audio priming) as the unsigned
/// number of the same bits.
fn parse_tfdt(body: &[u8]) -> Option<i64> {
    let mut f = Fields::new(body);
    match f.version_flags()? {
        (1, _) => f.u64().map(u64::cast_signed),
        _ => f.u32().map(i64::from),
    }
}

/// Where a run starts.
struct Run {
    base: u64,
    position: Option<u64>,
    defaults: Defaults,
    dts: i64,
}

/// Where a run ends.
struct RunEnd {
    position: u64,
    dts: i64,
}

impl Run {
    /// Adds the samples of a `trun` (section 8.8.8); `None` when it is damaged.
    fn read(
        self,
        body: &[u8],
        pending: &mut VecDeque<Pending>,
    ) -> Result<Option<RunEnd>, DemuxError> {
        let mut f = Fields::new(body);
        let Some((flags, count, mut position, first_flags)) = self.header(&mut f) else {
            return Ok(None);
        };
        if pending.len().saturating_add(count as usize) > MAX_SAMPLES_PER_FRAGMENT {
            return Err(DemuxError::TooLarge {
                kind: FourCc(*b"trun"),
                size: u64::from(count),
                limit: MAX_SAMPLES_PER_FRAGMENT as u64,
            });
        }
        let mut dts = self.dts;
        for i in 0..count {
            let mut or = |bit, default| {
                if flags & bit != 0 {
                    f.u32()
                } else {
                    Some(default)
                }
            };
            let duration = or(0x100, self.defaults.duration);
            let size = or(0x200, self.defaults.size);
            let sample_flags = or(0x400, self.defaults.flags);
            // Signed in version 1; in version 0 ffmpeg writes what is negative as the same bits.
            let offset = or(0x800, 0).map(u32::cast_signed);
            let (Some(duration), Some(size), Some(sample_flags), Some(offset)) =
                (duration, size, sample_flags, offset)
            else {
                return Ok(None);
            };
            if size > MAX_SAMPLE_BYTES {
                return Err(DemuxError::TooLarge {
                    kind: FourCc(*b"mdat"),
                    size: u64::from(size),
                    limit: u64::from(MAX_SAMPLE_BYTES),
                });
            }
            let sample_flags = first_flags.filter(|_| i == 0).unwrap_or(sample_flags);
            let Some(pts) = dts.checked_add(i64::from(offset)) else {
                return Ok(None);
            };
            let sync = sample_flags & NON_SYNC == 0;
            pending.push_back(Pending {
                position,
                size,
                dts,
                pts,
                duration,
                sync,
            });
            let next = (
                dts.checked_add(i64::from(duration)),
                position.checked_add(u64::from(size)),
            );
            let (Some(next_dts), Some(next_position)) = next else {
                return Ok(None);
            };
            (dts, position) = (next_dts, next_position);
        }
        Ok(Some(RunEnd { position, dts }))
    }

    /// Flags, number of samples, position of the first one and the flags that hold for it alone.
    fn header(&self, f: &mut Fields<'_>) -> Option<(u32, u32, u64, Option<u32>)> {
        let (_, flags) = f.version_flags()?;
        let count = f.u32()?;
        let position = if flags & 0x01 != 0 {
            let offset = f.u32()?.cast_signed();
            self.base.checked_add_signed(i64::from(offset))?
        } else {
            self.position?
        };
        let first_flags = if flags & 0x04 != 0 {
            Some(f.u32()?)
        } else {
            None
        };
        Some((flags, count, position, first_flags))
    }
}

#[cfg(test)]
mod tests;
