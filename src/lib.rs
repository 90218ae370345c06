//! GhostStream.
pub mod base;
pub mod media;
pub mod source;
