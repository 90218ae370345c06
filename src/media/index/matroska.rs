//! The Cues of Matroska and WebM (RFC 9559 5.1.5): seek points, each with its track and time.

use super::bytes::Bytes;
use super::matroska_outline::Header;
use super::reader::{Found, MAX_INDEX_BYTES, MAX_KEYFRAMES, PROBE_BYTES};
use crate::base::MediaTime;
use crate::media::SourceProbe;

pub(super) mod id {
    pub(in crate::media::index) const EBML: u32 = 0x1A45_DFA3;
    pub(in crate::media::index) const SEGMENT: u32 = 0x1853_8067;
    pub(in crate::media::index) const SEEK_HEAD: u32 = 0x114D_9B74;
    pub(in crate::media::index) const SEEK: u32 = 0x4DBB;
    pub(in crate::media::index) const SEEK_ID: u32 = 0x53AB;
    pub(in crate::media::index) const SEEK_POSITION: u32 = 0x53AC;
    pub(in crate::media::index) const INFO: u32 = 0x1549_A966;
    pub(in crate::media::index) const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
    pub(in crate::media::index) const TRACKS: u32 = 0x1654_AE6B;
    pub(in crate::media::index) const TRACK_ENTRY: u32 = 0xAE;
    pub(in crate::media::index) const TRACK_NUMBER: u32 = 0xD7;
    pub(in crate::media::index) const TRACK_TYPE: u32 = 0x83;
    pub(in crate::media::index) const TRACK_TIMESTAMP_SCALE: u32 = 0x0023_314F;
    pub(in crate::media::index) const CODEC_DELAY: u32 = 0x56AA;
    pub(in crate::media::index) const DURATION: u32 = 0x4489;
    pub(in crate::media::index) const MUXING_APP: u32 = 0x4D80;
    pub(in crate::media::index) const CODEC_ID: u32 = 0x86;
    pub(in crate::media::index) const FLAG_DEFAULT: u32 = 0x88;
    pub(in crate::media::index) const DEFAULT_DURATION: u32 = 0x0023_E383;
    pub(in crate::media::index) const VIDEO: u32 = 0xE0;
    pub(in crate::media::index) const FLAG_INTERLACED: u32 = 0x9A;
    pub(in crate::media::index) const PIXEL_WIDTH: u32 = 0xB0;
    pub(in crate::media::index) const PIXEL_HEIGHT: u32 = 0xBA;
    pub(in crate::media::index) const DISPLAY_WIDTH: u32 = 0x54B0;
    pub(in crate::media::index) const DISPLAY_HEIGHT: u32 = 0x54BA;
    pub(in crate::media::index) const AUDIO: u32 = 0xE1;
    pub(in crate::media::index) const SAMPLING_FREQUENCY: u32 = 0xB5;
    pub(in crate::media::index) const CHANNELS: u32 = 0x9F;
    pub(in crate::media::index) const TIMESTAMP: u32 = 0xE7;
    pub(in crate::media::index) const SIMPLE_BLOCK: u32 = 0xA3;
    pub(in crate::media::index) const BLOCK_GROUP: u32 = 0xA0;
    pub(in crate::media::index) const BLOCK: u32 = 0xA1;
    pub(in crate::media::index) const CLUSTER: u32 = 0x1F43_B675;
    pub(in crate::media::index) const CUES: u32 = 0x1C53_BB6B;
    pub(in crate::media::index) const CUE_POINT: u32 = 0xBB;
    pub(in crate::media::index) const CUE_TIME: u32 = 0xB3;
    pub(in crate::media::index) const CUE_TRACK_POSITIONS: u32 = 0xB7;
    pub(in crate::media::index) const CUE_TRACK: u32 = 0xF7;
}

/// Nanoseconds per tick unless the file says otherwise.
const DEFAULT_TIMESTAMP_SCALE: u64 = 1_000_000;

/// Walks the top level of the segment, jumping where the seek heads point.
#[derive(Debug)]
pub(super) struct Matroska {
    nth_video: usize,
    /// Where positions in the file count from.
    segment: Option<u64>,
    timestamp_scale: u64,
    track: Option<Track>,
    cues: Option<Vec<Cue>>,
    /// Offsets of Cues, Tracks, Info and further seek heads that are still to be read.
    ahead: Vec<u64>,
    /// All offsets that were ever put there.
    visited: Vec<u64>,
    header: Header,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    number: u64,
    is_plain: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cue {
    track: u64,
    time: u64,
}

impl Matroska {
    pub(super) fn new(nth_video: usize) -> Self {
        Matroska {
            nth_video,
            segment: None,
            timestamp_scale: DEFAULT_TIMESTAMP_SCALE,
            track: None,
            cues: None,
            ahead: Vec::new(),
            visited: Vec::new(),
            header: Header::default(),
        }
    }

    pub(super) fn outline(&self) -> Option<SourceProbe> {
        self.header.outline(self.timestamp_scale)
    }

    pub(super) fn feed(&mut self, offset: u64, bytes: &[u8]) -> Option<Found> {
        let mut rest = Bytes(bytes);
        if self.segment.is_none() {
            let ebml = Element::head(&mut rest).filter(|e| e.id == id::EBML)?;
            rest.take(ebml.size?)?;
            Element::head(&mut rest).filter(|e| e.id == id::SEGMENT)?;
            self.segment = Some(offset + (bytes.len() - rest.0.len()) as u64);
        }
        loop {
            let at = offset.checked_add((bytes.len() - rest.0.len()) as u64)?;
            let Some(element) = Element::head(&mut rest) else {
                return self.jump();
            };
            match element.id {
                // The pictures: what is needed lies where the seek heads say, or was before.
                id::CLUSTER => {
                    self.header.first_clusters(rest);
                    return self.jump();
                }
                id::SEEK_HEAD | id::INFO | id::TRACKS | id::CUES => {
                    let header_bytes = offset + (bytes.len() - rest.0.len()) as u64 - at;
                    let Some(body) = rest.take(element.size?) else {
                        let whole = header_bytes.checked_add(element.size?)?;
                        // Asked for whole before: the file ends within it.
                        if at == offset && bytes.len() > PROBE_BYTES || whole > MAX_INDEX_BYTES {
                            return None;
                        }
                        let len = usize::try_from(whole).ok()?.max(PROBE_BYTES + 1);
                        return Some(Found::More { offset: at, len });
                    };
                    self.element(element.id, body)?;
                    self.visited.push(at);
                    if let Some(index) = self.finished() {
                        return index;
                    }
                }
                _ => {
                    if rest.take(element.size?).is_none() {
                        return self.jump();
                    }
                }
            }
        }
    }

    fn element(&mut self, id: u32, body: &[u8]) -> Option<()> {
        match id {
            id::SEEK_HEAD => {
                for (_, seek) in children(body).filter(|(i, _)| *i == id::SEEK) {
                    let target = child(seek, id::SEEK_ID).and_then(uint);
                    let position = child(seek, id::SEEK_POSITION).and_then(uint);
                    let (Some(target), Some(position)) = (target, position) else {
                        continue;
                    };
                    let is_wanted = [id::SEEK_HEAD, id::INFO, id::TRACKS, id::CUES]
                        .iter()
                        .any(|&i| u64::from(i) == target);
                    if is_wanted {
                        self.ahead.push(self.segment?.checked_add(position)?);
                    }
                }
            }
            id::INFO => {
                self.header.info(body);
                if let Some(scale) = child(body, id::TIMESTAMP_SCALE) {
                    self.timestamp_scale = uint(scale).filter(|&s| s > 0)?;
                }
            }
            id::TRACKS => {
                self.header.tracks(body);
                let entries = children(body).filter(|(i, _)| *i == id::TRACK_ENTRY);
                let mut videos =
                    entries.filter(|(_, e)| child(e, id::TRACK_TYPE).and_then(uint) == Some(1));
                let (_, entry) = videos.nth(self.nth_video)?;
                self.track = Some(Track {
                    number: child(entry, id::TRACK_NUMBER).and_then(uint)?,
                    is_plain: is_plain(entry),
                });
            }
            _ => self.cues = Some(cues(body)?),
        }
        Some(())
    }

    /// The result, once everything is known.
    fn finished(&self) -> Option<Option<Found>> {
        let (track, cues) = (self.track?, self.cues.as_ref()?);
        if !track.is_plain {
            return Some(None);
        }
        let time = |ticks: u64| {
            let ns = i128::from(ticks) * i128::from(self.timestamp_scale);
            i64::try_from((ns + 500) / 1000)
                .ok()
                .map(MediaTime::from_micros)
        };
        let of_track = cues.iter().filter(|c| c.track == track.number);
        Some(
            of_track
                .map(|c| time(c.time))
                .collect::<Option<Vec<_>>>()
                .map(Found::Index),
        )
    }

    /// On to the next place that a seek head names.
    fn jump(&mut self) -> Option<Found> {
        while let Some(offset) = self.ahead.pop() {
            if !self.visited.contains(&offset) {
                self.visited.push(offset);
                return Some(Found::More {
                    offset,
                    len: PROBE_BYTES,
                });
            }
        }
        Some(Found::Nothing)
    }
}

/// Whether packet times are block times: no speed of its own, and no delay.
fn is_plain(entry: &[u8]) -> bool {
    let speed = child(entry, id::TRACK_TIMESTAMP_SCALE);
    let is_one =
        speed.is_none_or(|s| matches!(s, [0x3f, 0x80, 0, 0] | [0x3f, 0xf0, 0, 0, 0, 0, 0, 0]));
    is_one && child(entry, id::CODEC_DELAY).and_then(uint).unwrap_or(0) == 0
}

fn cues(body: &[u8]) -> Option<Vec<Cue>> {
    let mut found = Vec::new();
    for (_, point) in children(body).filter(|(i, _)| *i == id::CUE_POINT) {
        let Some(time) = child(point, id::CUE_TIME).and_then(uint) else {
            continue;
        };
        for (_, positions) in children(point).filter(|(i, _)| *i == id::CUE_TRACK_POSITIONS) {
            if let Some(track) = child(positions, id::CUE_TRACK).and_then(uint) {
                found.push(Cue { track, time });
            }
        }
        if found.len() > 8 * MAX_KEYFRAMES {
            return None;
        }
    }
    Some(found)
}

/// An element's identifier and the size of its body, `None` when that is unknown (RFC 8794 6.2).
pub(super) struct Element {
    pub(super) id: u32,
    pub(super) size: Option<u64>,
}

impl Element {
    pub(super) fn head(rest: &mut Bytes<'_>) -> Option<Self> {
        let first = rest.u8()?;
        let mut id = u32::from(first);
        for _ in 0..first.leading_zeros() {
            id = id.checked_mul(256)? | u32::from(rest.u8()?);
        }
        let first = rest.u8()?;
        let extra = first.leading_zeros();
        if extra > 7 {
            return None;
        }
        let mut size = u64::from(first) & ((1 << (7 - extra)) - 1);
        for _ in 0..extra {
            size = size << 8 | u64::from(rest.u8()?);
        }
        let is_unknown = size == (1 << (7 * (extra + 1))) - 1;
        Some(Element {
            id,
            size: (!is_unknown).then_some(size),
        })
    }
}

/// The elements in an element's body, until one does not fit.
pub(super) fn children(body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = Bytes(body);
    std::iter::from_fn(move || {
        let element = Element::head(&mut rest)?;
        Some((element.id, rest.take(element.size?)?))
    })
}

pub(super) fn child(body: &[u8], id: u32) -> Option<&[u8]> {
    children(body).find(|(i, _)| *i == id).map(|(_, b)| b)
}

/// An unsigned integer element: up to eight bytes (RFC 8794 7.2).
pub(super) fn uint(body: &[u8]) -> Option<u64> {
    (body.len() <= 8).then(|| body.iter().fold(0, |v, &b| v << 8 | u64::from(b)))
}
