//! The boxes that describe samples: `moov` and `moof`.

use std::collections::VecDeque;

use super::super::boxes::{BadBox, BoxRef, Fields, FourCc, children};
use super::super::sample::TrackConfig;
use super::super::sample_entry::parse_sample_entry;
use super::DemuxError;

const MAX_SAMPLE_BYTES: u32 = 64 << 20;
/// A fragment may spell samples that all share the defaults in no bytes at all, so their number has
/// its own bound: more than an hour of audio in one fragment.
const MAX_SAMPLES_PER_FRAGMENT: usize = 1 << 18;

/// `sample_is_non_sync_sample` of the sample flags (section 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

pub(super) fn malformed(kind: &[u8; 4]) -> DemuxError {
    DemuxError::Malformed(FourCc(*kind))
}

/// What the `moov` says of the one track.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) config: TrackConfig,
    pub(super) id: u32,
    defaults: Defaults,
    /// Decode time after the last sample, for fragments without `tfdt`.
    next_dts: i64,
}

/// Values for the samples of a run that does not spell them.
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// A sample whose data are still to come.
#[derive(Debug)]
pub(super) struct Pending {
    /// In the stream.
    pub(super) position: u64,
    pub(super) size: u32,
    pub(super) dts: i64,
    pub(super) pts: i64,
    pub(super) duration: u32,
    pub(super) sync: bool,
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

pub(super) fn parse_moov(body: &[u8]) -> Result<Track, DemuxError> {
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
    /// Adds the samples of the `moof` with this body that starts at `start` of the stream.
    pub(super) fn read_moof(
        &mut self,
        body: &[u8],
        start: u64,
        pending: &mut VecDeque<Pending>,
    ) -> Result<(), DemuxError> {
        for traf in all(body, b"traf", b"moof")? {
            self.read_traf(traf.body, start, pending)?;
        }
        Ok(())
    }

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
