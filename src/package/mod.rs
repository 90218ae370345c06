//! Samples in, segments out: the packager between an encoder's pipe and a player.
//!
//! [`Fmp4Reader`] turns the fragmented MP4 an encoder writes on a pipe into a [`TrackConfig`] and
//! [`Sample`]s. The same samples become CMAF segments ([`init_segment`], [`CmafSegment`]) or MPEG-TS
//! segments ([`TsSegment`]), and [`encode_samples`] is the form in which they wait in a cache.
//!
//! Everything here is pure: bytes in, bytes out, no clock and no IO. Segments are a function of their
//! samples alone, so two runs that deliver the same samples deliver the same bytes, however the
//! samples arrive.

mod adts;
mod av1_metadata;
mod avc;
mod boxes;
mod cmaf;
mod codec;
mod fmp4_reader;
mod header;
mod in_band;
mod ivf;
pub mod matroska;
mod sample;
mod sample_entry;
mod segment_file;
mod split;
mod ts;

#[cfg(test)]
mod testing;

pub use adts::AacConfig;
pub use av1_metadata::hdr_units;
pub use avc::AvcConfig;
pub use boxes::FourCc;
pub use cmaf::{
    CmafError, CmafSegment, SAMPLES_PER_AUDIO_CHUNK, SAMPLES_PER_VIDEO_CHUNK, init_segment,
};
pub use codec::{Av1Config, ConfigError, HevcConfig, SampleCodec, Vp9Config};
pub use fmp4_reader::{DemuxError, Fmp4Event, Fmp4Reader};
pub use header::header_tracks;
pub use ivf::{IvfError, IvfJoiner};
pub use sample::{Sample, TrackConfig, TrackMedia};
pub use segment_file::{SegmentFileError, decode_samples, encode_samples, encoded_len};
pub use split::{SplitError, SplitEvent, Splitter, TrackCuts};
pub use ts::{TS_ORIGIN, TsError, TsLayout, TsSegment};
