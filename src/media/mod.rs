//! What a source *is* and what a client can *want*: the vocabulary of the other layers. Pure.

mod hdr;
pub mod index;
mod keyframes;
mod locator;
mod probe;
pub mod query;
mod request;
mod scene;

pub use hdr::{HdrMetadata, LightLevel, MasteringDisplay};
pub use keyframes::KeyframeIndex;
pub use locator::{LocalFile, SourceKind, SourceLocator};
pub use probe::{
    AudioStream, ColorInfo, FieldOrder, ParseProbeError, SourceProbe, SubtitleStream, Transfer,
    VideoStream,
};
pub use request::{
    AudioChoice, HwAccel, MaxResolution, Mode, OutputFormat, OutputRequest, StreamRequest,
    SubtitleRequest, UnknownName, VideoChoice,
};
pub use scene::{Metric, OnComplete, QualityGoal, SceneEncoder};
