#![doc = include_str!("ARCHITECTURE.md")]

pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod ffmpeg;
pub mod hardware;
pub mod hls;
pub mod http;
pub mod job;
pub mod media;
pub mod package;
pub mod plan;
pub mod session;
pub mod source;
pub mod telemetry;
pub mod web_ui;
