//! MPEG-TS segments of H.264 and AAC (ISO/IEC 13818-1), each made alone and yet continuous.
//!
//! A segment starts with PAT and PMT, whose continuity counter is the segment's number, and every
//! elementary stream has a multiple of 16 payload packets in it, so that each segment starts counting
//! at 0 and segments from different runs follow each other without a break.

mod packet;
mod pes;
mod psi;
mod segment;
mod time;

pub use segment::{TsError, TsLayout, TsSegment};
pub use time::TS_ORIGIN;
