//! Reads the fragmented MP4 that an encoder writes on a pipe (ISO/IEC 14496-12 section 8.8).
//!
//! Written for ffmpeg's `-f mp4 -use_editlist 0 -movflags empty_moov+default_base_moof+skip_trailer`
//! `+frag_discont` with `frag_every_frame` or `frag_keyframe`, with or without `delay_moov`; other
//! single-track fragmented MP4 works as well. Samples come out as soon as their last byte is in.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::boxes::{Fields, FourCc};
use super::codec::ConfigError;
use super::sample::{Sample, TrackConfig};
use metadata::{Pending, Track, malformed, parse_moov};

mod metadata;

const MAX_MOOV_BYTES: u64 = 16 << 20;
const MAX_MOOF_BYTES: u64 = 4 << 20;
/// What is allocated at a time: small reads share a block, and a block lives as long as the samples in it.
const BLOCK_BYTES: usize = 64 << 10;
/// The most that is reserved ahead on the word of a size field.
const MAX_RESERVE_BYTES: usize = 1 << 20;

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

/// An incremental reader of one track. Memory: one box of metadata or one sample, within the limits
/// above, and the table of one fragment.
#[derive(Debug)]
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

#[derive(Debug, Clone, Copy)]
enum State {
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

impl Default for Fmp4Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Fmp4Reader {
    pub fn new() -> Self {
        Fmp4Reader {
            buf: BytesMut::with_capacity(BLOCK_BYTES),
            offset: 0,
            state: State::Header,
            track: None,
            pending: VecDeque::new(),
            fragment_open: false,
            failed: None,
        }
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
        track.read_moof(body, start, &mut self.pending)?;
        self.fragment_open = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
