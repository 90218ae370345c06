//! Remote and local sources: which may be read, how ffmpeg is kept to them, and reading them
//! ourselves.
//!
//! A client's text becomes a `SourceLocator` only through [`SourcePolicy::resolve`]. ffmpeg reads
//! it with the options of [`ffmpeg_input_options`], and all its http(s) goes through a [`Gate`],
//! which holds every redirect and every URL of a playlist against the same policy, on the very
//! address that is connected to.
//!
//! Live sources (rtmp, rtsp, srt) are connected to by ffmpeg itself: their host is checked when
//! the source is resolved, not again when ffmpeg looks the name up.

mod authorization;
mod client;
mod dial;
mod download;
mod error;
mod files;
mod gate;
mod hosts;
mod input_options;
mod keyframes;
mod policy;
mod post;
mod reader;
mod whole;

pub use authorization::Authorization;
pub use client::{SourceClient, Validators};
pub use download::Download;
pub use error::{SourceError, SourceErrorKind};
pub use files::{DirEntry, UPLOADED};
pub use gate::{Beginning, Gate, GateGuard, GateOptions, GateReport};
pub use hosts::{DEFAULT_DENY_HOSTS, HostRuleError};
pub use input_options::{InputOptions, USER_AGENT, ffmpeg_input_options, picture_input_options};
pub use keyframes::read_keyframe_index;
pub use policy::{SourcePolicy, SourceSettings, SourceSettingsError};
pub use post::Poster;
pub use reader::RangeReader;
pub use whole::WholeSource;

#[cfg(test)]
mod ffmpeg_tests;
