//! GhostStream.
pub mod base;
pub mod hardware;
pub mod hls;
pub mod media;
pub mod package;
pub mod plan;
