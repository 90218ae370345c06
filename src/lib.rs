//! GhostStream.
pub mod base;
pub mod hls;
pub mod media;
pub mod telemetry;
