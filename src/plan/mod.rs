//! From (probe, request, machine) to an encode plan, and from the plan to ffmpeg's arguments. Pure.

mod audio;
mod batch;
mod color;
mod encoder;
mod error;
mod joint;
mod ladder;
mod live;
pub mod query;
mod run;
pub mod runner;
pub mod scenes;
mod stream;
mod subtitle;
mod video;

pub use audio::{AudioCodec, AudioEncode, AudioPlan};
pub use batch::{BatchFile, BatchPlace, BatchPlan, batch_file, check_batch, plan_batch};
pub use color::{dolby_vision_test, is_dolby_vision_5};
pub use encoder::{AcceleratorSettings, BENCHMARK_SECONDS, benchmark_encode, test_encode};
pub use error::PlanError;
pub use run::{AudioRun, Invocation, PAD_SECONDS, Padding, Preroll, VideoRun, video_timescale};
pub use stream::{COPY_TIMESCALE, Packaging, PlanSettings, StreamPlan, check_request, plan_stream};
pub use subtitle::{SubtitleOrigin, SubtitlePlan, SubtitleSpan, subtitle_run};
pub use video::{Burn, VideoCodec, VideoEncode, VideoPlan};
