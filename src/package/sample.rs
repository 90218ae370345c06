//! The unit of work: one coded frame with its times, and what a decoder must know beforehand.

use bytes::Bytes;

use super::codec::SampleCodec;

/// One access unit (a video picture or an audio frame) as MP4 stores it: length-prefixed NAL units
/// for H.264 and HEVC, raw frames otherwise. Times are in ticks of the track's timescale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Decode time. Negative at the very start of a timeline when pictures are reordered.
    pub dts: i64,
    /// Presentation time. Negative only for packets that are never presented (audio priming).
    pub pts: i64,
    /// Length in ticks; 0 when the muxer did not know it.
    pub duration: u32,
    /// A decoder may start here.
    pub sync: bool,
    pub data: Bytes,
}

/// What a player must know of a track before its first sample.
///
/// Two runs of one encoder with the same settings compare equal, whatever bitrates they announce, so
/// a run whose segments do not fit the stored init segment is found by comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackConfig {
    /// Ticks per second, at least 1.
    pub timescale: u32,
    pub media: TrackMedia,
    /// The sample entry box of `stsd` (ISO/IEC 14496-12 section 8.5.2), header included, as the muxer
    /// wrote it less what varies between runs without mattering to a decoder: `btrt`, the bitrates in
    /// `esds`, and the encoder's settings text among the parameter sets of `hvcC`.
    pub sample_entry: Bytes,
    pub codec: SampleCodec,
}

impl TrackConfig {
    /// The RFC 6381 name of the codec, as in the CODECS attribute of a playlist.
    pub fn codec_string(&self) -> String {
        self.codec.codec_string()
    }

    pub fn is_video(&self) -> bool {
        matches!(self.media, TrackMedia::Video { .. })
    }
}

/// The kind of a track and its basic measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackMedia {
    /// Coded size in pixels, before any pixel aspect ratio.
    Video { width: u16, height: u16 },
    /// Output rate in Hz and speakers, from the codec's own header where that has them (the fields of
    /// the sample entry say 2 channels for most codecs).
    Audio { sample_rate: u32, channels: u16 },
}
