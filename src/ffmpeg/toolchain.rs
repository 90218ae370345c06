//! Which ffmpeg and ffprobe are used, and what they can do.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::programs::EncoderPrograms;
use crate::hardware::{Hardware, parse_codec_list, parse_filter_list, parse_version};

/// Where to look; `None` = on the search path.
#[derive(Debug, Clone, Default)]
pub struct ToolSettings {
    pub ffmpeg: Option<PathBuf>,
    pub ffprobe: Option<PathBuf>,
}

/// The tools in use.
#[derive(Debug, Clone)]
pub struct Toolchain {
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    pub hardware: Hardware,
    /// What `ffmpeg -version` prints.
    pub version_text: String,
    /// The encoders' own programs.
    pub programs: EncoderPrograms,
}

/// A tool is missing or does not work.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    #[error("{tool} was not found; install ffmpeg or set {key} to its path")]
    Missing {
        tool: &'static str,
        key: &'static str,
    },
    #[error("{path} does not work as {tool}: {reason}; check {key}")]
    Broken {
        tool: &'static str,
        key: &'static str,
        path: String,
        reason: String,
    },
}

const FFMPEG_KEY: &str = "transcoding.ffmpeg_path";
const FFPROBE_KEY: &str = "transcoding.ffprobe_path";
/// Time for a tool to list what it can do.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

impl Toolchain {
    /// Finds the tools and asks them what they can do.
    pub async fn find(settings: &ToolSettings) -> Result<Toolchain, ToolchainError> {
        let ffmpeg = locate(settings.ffmpeg.as_deref(), "ffmpeg", FFMPEG_KEY)?;
        let beside = ffmpeg.with_file_name("ffprobe");
        let ffprobe = match &settings.ffprobe {
            None if settings.ffmpeg.is_some() && beside.is_file() => beside,
            chosen => locate(chosen.as_deref(), "ffprobe", FFPROBE_KEY)?,
        };
        let ask = |arg: &'static str| output(&ffmpeg, "ffmpeg", FFMPEG_KEY, arg);
        let (version, encoders, decoders, filters) = tokio::try_join!(
            ask("-version"),
            ask("-encoders"),
            ask("-decoders"),
            ask("-filters")
        )?;
        output(&ffprobe, "ffprobe", FFPROBE_KEY, "-version").await?;
        let hardware = Hardware {
            ffmpeg_version: parse_version(&version),
            encoders: parse_codec_list(&encoders),
            decoders: parse_codec_list(&decoders),
            filters: parse_filter_list(&filters),
            maps_dolby_vision: false,
            accelerators: Vec::new(),
        };
        if hardware.ffmpeg_version.is_empty() {
            return Err(ToolchainError::Broken {
                tool: "ffmpeg",
                key: FFMPEG_KEY,
                path: ffmpeg.display().to_string(),
                reason: "it does not name its version".into(),
            });
        }
        Ok(Toolchain {
            ffmpeg,
            ffprobe,
            hardware,
            version_text: version,
            programs: EncoderPrograms::find().await,
        })
    }
}

fn locate(
    chosen: Option<&Path>,
    tool: &'static str,
    key: &'static str,
) -> Result<PathBuf, ToolchainError> {
    if let Some(path) = chosen {
        return Ok(path.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(tool));
    candidates
        .find(|p| p.is_file())
        .ok_or(ToolchainError::Missing { tool, key })
}

async fn output(
    path: &Path,
    tool: &'static str,
    key: &'static str,
    arg: &str,
) -> Result<String, ToolchainError> {
    let broken = |reason: String| ToolchainError::Broken {
        tool,
        key,
        path: path.display().to_string(),
        reason,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where processes start"
    )]
    let mut command = Command::new(path);
    command
        .args(["-hide_banner", arg])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER_WITHIN, command.output())
        .await
        .map_err(|_| broken("it does not answer".into()))?
        .map_err(|e| broken(e.to_string()))?;
    if !output.status.success() {
        return Err(broken(output.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
