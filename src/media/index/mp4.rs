//! The sample tables of MP4 and MOV (ISO/IEC 14496-12): `stts` and `ctts` give each sample its
//! time, `stss` names the keyframes, `elst` maps media time to presentation time.

use super::bytes::Bytes;
use super::mp4_outline::outline;
use super::reader::{Found, MAX_INDEX_BYTES, MAX_KEYFRAMES, PROBE_BYTES};
use crate::base::MediaTime;
use crate::media::SourceProbe;

/// Two days at 60 pictures per second. A table of a few bytes can claim billions.
const MAX_SAMPLES: u32 = 10_368_000;

pub(super) type FourCc = [u8; 4];

/// Finds `moov` from the top level's box headers.
#[derive(Debug)]
pub(super) struct Mp4 {
    nth_video: usize,
    /// `moov` was asked for whole.
    is_moov: bool,
    pub(super) outline: Option<SourceProbe>,
}

impl Mp4 {
    pub(super) fn new(nth_video: usize) -> Self {
        Mp4 {
            nth_video,
            is_moov: false,
            outline: None,
        }
    }

    pub(super) fn feed(&mut self, offset: u64, bytes: &[u8]) -> Option<Found> {
        let mut at = 0_u64;
        loop {
            let rest = Bytes(bytes.get(usize::try_from(at).ok()?..).unwrap_or_default());
            let Some(head) = BoxHead::read(rest) else {
                // The next header lies beyond these bytes, or the file ends.
                let progress = at > 0 && !self.is_moov;
                return progress.then_some(Found::More {
                    offset: offset.checked_add(at)?,
                    len: PROBE_BYTES,
                });
            };
            match &head.kind {
                b"moov" => {
                    let mut body = rest;
                    body.take(head.header_bytes)?;
                    // Size 0 reaches to the end of the file.
                    let size = head.size.unwrap_or(MAX_INDEX_BYTES);
                    if size > MAX_INDEX_BYTES {
                        return None;
                    }
                    if let Some(body) = body.take(size - head.header_bytes) {
                        self.outline = outline(body);
                        return keyframes(body, self.nth_video);
                    }
                    if self.is_moov {
                        return head
                            .size
                            .is_none()
                            .then(|| keyframes(body.0, self.nth_video))?;
                    }
                    self.is_moov = true;
                    let len = usize::try_from(size).ok()?;
                    return Some(Found::More {
                        offset: offset.checked_add(at)?,
                        len,
                    });
                }
                // Pictures before the index: a fragment without its beginning.
                b"moof" => return Some(Found::Nothing),
                _ => at = at.checked_add(head.size?)?,
            }
        }
    }
}

/// A box's type and size. `size` is `None` when it reaches to the end of the file.
struct BoxHead {
    kind: FourCc,
    header_bytes: u64,
    size: Option<u64>,
}

impl BoxHead {
    fn read(mut b: Bytes<'_>) -> Option<Self> {
        let (size, kind) = (b.u32()?, b.array()?);
        let (header_bytes, size) = match size {
            0 => (8, None),
            1 => (16, Some(b.u64()?)),
            n => (8, Some(u64::from(n))),
        };
        if size.is_some_and(|s| s < header_bytes) {
            return None;
        }
        Some(BoxHead {
            kind,
            header_bytes,
            size,
        })
    }
}

/// The boxes in a box's body, until one does not fit.
pub(super) fn boxes(body: &[u8]) -> impl Iterator<Item = (FourCc, &[u8])> {
    let mut rest = Bytes(body);
    std::iter::from_fn(move || {
        let head = BoxHead::read(rest)?;
        let whole = rest.take(head.size.unwrap_or(rest.0.len() as u64))?;
        Some((
            head.kind,
            whole.get(usize::try_from(head.header_bytes).ok()?..)?,
        ))
    })
}

pub(super) fn child<'a>(body: &'a [u8], kind: &FourCc) -> Option<&'a [u8]> {
    boxes(body).find(|(k, _)| k == kind).map(|(_, b)| b)
}

fn keyframes(moov: &[u8], nth_video: usize) -> Option<Found> {
    // Fragmented: the samples are described beside the pictures.
    if child(moov, b"mvex").is_some() {
        return Some(Found::Nothing);
    }
    let movie_timescale = timescale(child(moov, b"mvhd")?)?;
    let mut videos = boxes(moov)
        .filter(|(k, _)| k == b"trak")
        .filter(|(_, trak)| {
            let handler = child(trak, b"mdia").and_then(|m| child(m, b"hdlr"));
            handler.and_then(|h| h.get(8..12)) == Some(b"vide")
        });
    let (_, trak) = videos.nth(nth_video)?;
    let mdia = child(trak, b"mdia")?;
    let track_timescale = timescale(child(mdia, b"mdhd")?)?;
    let table = child(child(mdia, b"minf")?, b"stbl")?;
    let edit = match child(trak, b"edts").and_then(|e| child(e, b"elst")) {
        Some(list) => Some(Edit::read(list, movie_timescale, track_timescale)?),
        None => None,
    };
    let ticks = presented(Samples::read(table)?, edit.as_ref())?;
    let pts = ticks
        .into_iter()
        .map(|t| MediaTime::from_ticks(t, track_timescale))
        .collect();
    Some(Found::Index(pts))
}

/// The field `timescale` of `mvhd` and `mdhd`, in ticks per second, not 0.
pub(super) fn timescale(full_box: &[u8]) -> Option<u32> {
    let mut b = Bytes(full_box);
    let is_wide = b.u32()? >> 24 == 1;
    b.take(if is_wide { 16 } else { 8 })?;
    b.u32().filter(|&t| t > 0)
}

/// The keyframes on the presentation's time line, in ticks of the track. As in ffmpeg
/// (`mov_fix_index`), the first picture that an edit shows appears right after the empty edits,
/// wherever between two pictures the edit begins.
fn presented(samples: Samples<'_>, edit: Option<&Edit>) -> Option<Vec<i64>> {
    let (found, earliest) = samples.times(edit)?;
    let shift = match edit {
        Some(edit) => edit.empty.checked_sub(earliest?)?,
        None => 0,
    };
    found.into_iter().map(|t| t.checked_add(shift)).collect()
}

/// The one part of the media that is shown, in ticks of the track.
pub(super) struct Edit {
    /// Nothing is shown for this long first.
    pub(super) empty: i64,
    pub(super) media_start: i64,
    pub(super) media_end: i64,
}

impl Edit {
    /// `None` for lists that show more than one part, or change the speed.
    pub(super) fn read(list: &[u8], movie_timescale: u32, track_timescale: u32) -> Option<Self> {
        let mut b = Bytes(list);
        let is_wide = b.u32()? >> 24 == 1;
        let count = b.u32()?;
        let scaled = |ticks: u64| {
            let ticks = u128::from(ticks) * u128::from(track_timescale);
            let scale = u128::from(movie_timescale);
            i64::try_from((ticks + scale / 2) / scale).ok()
        };
        let mut empty = 0_i64;
        for nth in 1..=count {
            let duration = scaled(b.u32_or_u64(is_wide)?)?;
            let time = b.u32_or_u64(is_wide)?;
            let media_start = if is_wide {
                time as i64
            } else {
                i64::from(time as u32 as i32)
            };
            let rate = b.u32()?;
            if media_start == -1 {
                empty = empty.checked_add(duration)?;
                continue;
            }
            if media_start < 0 || duration == 0 || rate != 0x0001_0000 || nth != count {
                return None;
            }
            let media_end = media_start.checked_add(duration)?;
            return Some(Edit {
                empty,
                media_start,
                media_end,
            });
        }
        None
    }
}

/// The sample tables of one track, still in their runs.
pub(super) struct Samples<'a> {
    count: u32,
    durations: Runs<'a>,
    offsets: Option<Runs<'a>>,
    /// Sample numbers from 1, ascending; `None`: every sample.
    sync: Option<Bytes<'a>>,
}

impl<'a> Samples<'a> {
    pub(super) fn read(table: &'a [u8]) -> Option<Self> {
        let count = match (child(table, b"stsz"), child(table, b"stz2")) {
            (Some(sizes), _) | (None, Some(sizes)) => {
                let mut b = Bytes(sizes);
                b.take(8)?;
                b.u32()?
            }
            (None, None) => return None,
        };
        if count > MAX_SAMPLES {
            return None;
        }
        let sync = match child(table, b"stss") {
            Some(list) => {
                let mut b = Bytes(list);
                b.take(4)?;
                let entries = u64::from(b.u32()?);
                Some(Bytes(b.take(entries * 4)?))
            }
            None => None,
        };
        let offsets = match child(table, b"ctts") {
            Some(body) => Some(Runs::read(body)?),
            None => None,
        };
        Some(Samples {
            count,
            durations: Runs::read(child(table, b"stts")?)?,
            offsets,
            sync,
        })
    }

    /// The length of all samples together.
    pub(super) fn length(self) -> Option<i64> {
        let mut sum = 0_i64;
        for duration in self.durations.take(self.count as usize) {
            sum = sum.checked_add(i64::from(duration))?;
        }
        Some(sum)
    }

    /// The length of every sample, when they differ in the last one at most.
    pub(super) fn only_duration(&self) -> Option<u32> {
        let mut runs = self.durations.table;
        let (count, duration) = (runs.u32()?, runs.u32()?);
        let is_only = runs.is_empty() || count.checked_add(1)? >= self.count;
        is_only.then_some(duration)
    }

    /// The earliest time at which a sample is shown.
    pub(super) fn first_shown(self) -> Option<i64> {
        self.times(None)?.1
    }

    /// The times of all keyframes (media time), and the earliest of all samples in `edit`.
    fn times(mut self, edit: Option<&Edit>) -> Option<(Vec<i64>, Option<i64>)> {
        let mut next_sync = self.next_sync(0)?;
        let mut found = Vec::new();
        let mut earliest: Option<i64> = None;
        let mut decode_time = 0_i64;
        for sample in 1..=self.count {
            let Some(duration) = self.durations.next() else {
                break;
            };
            let offset = self.offsets.as_mut().map_or(0, |o| o.next().unwrap_or(0));
            let time = decode_time.checked_add(i64::from(offset as i32))?;
            let is_shown = edit.is_none_or(|e| (e.media_start..e.media_end).contains(&time));
            if is_shown {
                earliest = Some(earliest.map_or(time, |e| e.min(time)));
            }
            if next_sync == Some(sample) {
                if is_shown {
                    found.push(time);
                }
                next_sync = self.next_sync(sample)?;
                if found.len() > MAX_KEYFRAMES {
                    return None;
                }
            }
            // ffmpeg reads such a duration as negative.
            let duration = i32::try_from(duration).ok()?;
            decode_time = decode_time.checked_add(i64::from(duration))?;
        }
        Some((found, earliest))
    }

    /// The number of the next keyframe after `sample`; `None` when the list is not ascending.
    fn next_sync(&mut self, sample: u32) -> Option<Option<u32>> {
        match &mut self.sync {
            None => Some(sample.checked_add(1)),
            Some(list) if list.is_empty() => Some(None),
            Some(list) => list.u32().filter(|&n| n > sample).map(Some),
        }
    }
}

/// A table of (count, value), one value after the other.
#[derive(Clone, Copy)]
struct Runs<'a> {
    table: Bytes<'a>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn read(full_box: &'a [u8]) -> Option<Self> {
        let mut b = Bytes(full_box);
        b.take(4)?;
        let entries = u64::from(b.u32()?);
        Some(Runs {
            table: Bytes(b.take(entries * 8)?),
            left: 0,
            value: 0,
        })
    }
}

impl Iterator for Runs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.left = self.table.u32()?;
            self.value = self.table.u32()?;
        }
        self.left -= 1;
        Some(self.value)
    }
}
