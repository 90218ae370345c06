//! The only module that starts processes: finding ffmpeg, running it, probing with ffprobe.

mod accelerators;
mod benchmark;
mod command;
mod launcher;
mod log;
mod os;
mod probe;
mod process;
mod text;
mod toolchain;

pub use accelerators::Accelerators;
pub use benchmark::{BenchmarkError, benchmark};
pub use command::{encoder_command, picture_command};
pub use launcher::{Launcher, Purpose, SpawnError};
pub use log::LogTail;
pub use probe::{ProbeError, describe_source, probe_source, scan_duration};
pub use process::{ExitReport, Process, ProgressReport};
pub use text::{TextError, read_text};
pub use toolchain::{ToolSettings, Toolchain, ToolchainError};
