//! Asking for the few parts of a file that hold its index.

use super::matroska::Matroska;
use super::mp4::Mp4;
use crate::media::{KeyframeIndex, SourceProbe};

/// An index (the `moov` box, the `Cues` element) larger than this is not read.
pub(super) const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// An index with more keyframes than this is not used.
pub(super) const MAX_KEYFRAMES: usize = 1_000_000;

/// How much is read where an element begins that may be small.
pub(super) const PROBE_BYTES: usize = 64 * 1024;

/// Files whose index is not found within so many reads have none.
const MAX_READS: u32 = 10;

/// The containers whose index can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerHint {
    /// MP4, MOV, 3GP (ISO/IEC 14496-12, QuickTime).
    Mp4,
    /// Matroska, WebM (RFC 9559).
    Matroska,
}

impl ContainerHint {
    /// From ffprobe's `format_name`, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub fn from_format_name(name: &str) -> Option<Self> {
        name.split(',').find_map(|n| match n {
            "mov" | "mp4" => Some(ContainerHint::Mp4),
            "matroska" | "webm" => Some(ContainerHint::Matroska),
            _ => None,
        })
    }

    /// From the first bytes of a file, at least eight: a `ftyp`, `moov`, `mdat` or `wide` box, or an
    /// EBML header.
    pub fn sniff(start: &[u8]) -> Option<Self> {
        if start.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
            return Some(ContainerHint::Matroska);
        }
        let kind = start.get(4..8)?;
        let boxes: [&[u8]; 6] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"];
        boxes.contains(&kind).then_some(ContainerHint::Mp4)
    }
}

/// Whether a file that begins with `start` (64 KiB are plenty) is an MP4 whose `moov` box follows its
/// media, so that it cannot be played from its beginning on (ISO/IEC 14496-12 section 6.2.3).
pub fn index_follows_media(start: &[u8]) -> bool {
    if ContainerHint::sniff(start) != Some(ContainerHint::Mp4) {
        return false;
    }
    let mut rest = start;
    loop {
        let (Some(size), Some(kind)) = (rest.first_chunk::<4>(), rest.get(4..8)) else {
            return false;
        };
        match kind {
            b"moov" => return false,
            b"mdat" => return true,
            _ => {}
        }
        let size = u32::from_be_bytes(*size) as usize;
        match rest.get(size.max(8)..) {
            // Sizes of 64 bits (1) and to the end (0) belong to media.
            Some(after) if size >= 8 => rest = after,
            _ => return false,
        }
    }
}

/// What an [`IndexReader`] wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// These bytes, for [`IndexReader::feed`]: `len` of them, or fewer at the end of the file.
    Need { offset: u64, len: usize },
    /// The index, if the file has one that can be trusted.
    Done(Option<KeyframeIndex>),
}

/// Reads the keyframe index of one video stream. Ends after at most ten reads, whatever the bytes.
#[derive(Debug)]
pub struct IndexReader {
    container: Container,
    wanted: Option<u64>,
    reads: u32,
}

#[derive(Debug)]
enum Container {
    Mp4(Mp4),
    Matroska(Matroska),
}

/// What a container's parser makes of a read.
pub(super) enum Found {
    /// It goes on at `offset`.
    More {
        offset: u64,
        len: usize,
    },
    Index(Vec<crate::base::MediaTime>),
    Nothing,
}

impl IndexReader {
    /// For the video stream that ffmpeg calls `v:nth_video`.
    pub fn new(container: ContainerHint, nth_video: usize) -> Self {
        let container = match container {
            ContainerHint::Mp4 => Container::Mp4(Mp4::new(nth_video)),
            ContainerHint::Matroska => Container::Matroska(Matroska::new(nth_video)),
        };
        IndexReader {
            container,
            wanted: None,
            reads: 0,
        }
    }

    /// The first read.
    pub fn start(&mut self) -> Step {
        self.need(0, PROBE_BYTES)
    }

    /// Takes the bytes of the last [`Step::Need`]. Bytes that were not asked for end the reading.
    pub fn feed(&mut self, bytes: &[u8]) -> Step {
        let Some(offset) = self.wanted.take() else {
            return Step::Done(None);
        };
        let found = match &mut self.container {
            Container::Mp4(mp4) => mp4.feed(offset, bytes),
            Container::Matroska(matroska) => matroska.feed(offset, bytes),
        };
        match found {
            Some(Found::More { offset, len }) => self.need(offset, len),
            Some(Found::Index(pts)) if pts.len() <= MAX_KEYFRAMES => {
                Step::Done(KeyframeIndex::new(pts))
            }
            Some(Found::Index(_) | Found::Nothing) | None => Step::Done(None),
        }
    }

    /// What the source most likely is, as far as the header tells; `None` before it was read, and for
    /// what is not plain. A guess: only ffprobe knows.
    pub fn outline(&self) -> Option<SourceProbe> {
        match &self.container {
            Container::Mp4(mp4) => mp4.outline.clone(),
            Container::Matroska(matroska) => matroska.outline(),
        }
    }

    fn need(&mut self, offset: u64, len: usize) -> Step {
        if self.reads == MAX_READS || len == 0 || len as u64 > MAX_INDEX_BYTES {
            return Step::Done(None);
        }
        self.reads += 1;
        self.wanted = Some(offset);
        Step::Need { offset, len }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
