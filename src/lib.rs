//! GhostStream.
pub mod base;
