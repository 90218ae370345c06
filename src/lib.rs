//! GhostStream.
pub mod base;
pub mod cli;
pub mod config;
pub mod ffmpeg;
pub mod hardware;
pub mod hls;
pub mod media;
pub mod package;
pub mod plan;
pub mod source;
pub mod telemetry;
