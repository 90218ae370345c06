//! From (probe, request, machine) to an encode plan, and from the plan to ffmpeg's arguments. Pure.

mod audio;
mod color;
mod error;
mod live;
pub mod query;
mod run;
mod stream;
mod video;

pub use audio::{AAC_FRAME_SAMPLES, AudioEncode, AudioPlan};
pub use error::PlanError;
pub use run::{AudioRun, Invocation, PAD_SECONDS, Padding, Preroll, VideoRun, video_timescale};
pub use stream::{COPY_TIMESCALE, Packaging, PlanSettings, StreamPlan, check_request, plan_stream};
pub use video::{VideoCodec, VideoEncode, VideoPlan};
