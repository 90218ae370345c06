//! GhostStream.
pub mod base;
pub mod package;
