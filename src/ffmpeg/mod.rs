//! The only module that starts processes: finding ffmpeg, running it, probing with ffprobe.

mod accelerators;
mod benchmark;
mod command;
mod launcher;
mod log;
mod os;
mod probe;
mod process;
mod programs;
mod text;
mod to_end;
mod toolchain;

pub use accelerators::Accelerators;
pub use benchmark::{BenchmarkError, benchmark};
pub use command::{encoder_command, picture_command};
pub use launcher::{Launcher, Purpose, SpawnError};
pub use log::LogTail;
pub use probe::{
    DecodedFrames, ProbeError, Probed, count_frames, describe_source, probe_hdr, probe_source,
    scan_duration,
};
pub use process::{ExitReport, Process, ProgressReport};
pub use programs::{EncoderProgram, EncoderPrograms};
pub use text::{TextError, read_text};
pub use to_end::{RunError, Watching, run_piped, run_to_end};
pub use toolchain::{ToolSettings, Toolchain, ToolchainError};
