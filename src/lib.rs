//! GhostStream.
pub mod base;
pub mod cli;
pub mod config;
pub mod hls;
pub mod media;
pub mod telemetry;
