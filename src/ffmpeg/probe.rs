//! Asking ffprobe what a source is.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::base::MediaTime;
use crate::media::{HdrMetadata, ParseProbeError, SourceProbe};
use crate::source::InputOptions;

use super::command::apply_environment;
use super::launcher::{Launcher, Purpose, SpawnError};
use super::log::LogTail;
use super::process::{ExitReport, Process};
use super::toolchain::Toolchain;

/// A source could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("the source did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the source is not media that can be read: {0}")]
    NotMedia(String),
    #[error("the source describes itself at absurd length")]
    TooLong,
    #[error(transparent)]
    Unreadable(#[from] ParseProbeError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Longest description that is read: thousands of streams with tags.
const MAX_JSON_BYTES: u64 = 8 << 20;
const GRACE: Duration = Duration::from_millis(200);

/// What ffprobe found out of a source.
#[derive(Debug)]
pub struct Probed {
    pub probe: SourceProbe,
    /// The source does not say how long it is: ffprobe took its size over the bit rate of its
    /// beginning, which with a variable rate may be anything.
    pub guessed_length: bool,
}

/// How ffprobe says that it guessed a length.
const GUESSED: &str = "Estimating duration from bitrate";

/// Runs ffprobe on `input`; gives up after `limit`. Cancel-safe: dropping it ends ffprobe.
pub async fn probe_source(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    limit: Duration,
) -> Result<Probed, ProbeError> {
    let (json, log) = described(tools, launcher, input, limit).await?;
    Ok(Probed {
        probe: SourceProbe::from_ffprobe(&json)?,
        guessed_length: log.lines().any(|line| line.contains(GUESSED)),
    })
}

/// What ffprobe writes about the format and the streams of `input`, as JSON. It names the source as
/// `input` does. Gives up after `limit`; cancel-safe as [`probe_source`].
pub async fn describe_source(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    limit: Duration,
) -> Result<String, ProbeError> {
    let (json, _) = described(tools, launcher, input, limit).await?;
    Ok(json)
}

/// The same with what ffprobe said meanwhile.
async fn described(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    limit: Duration,
) -> Result<(String, LogTail), ProbeError> {
    let args = [
        "-loglevel",
        "level+warning",
        "-show_format",
        "-show_streams",
        "-of",
        "json",
    ];
    let (json, exit) = run(tools, launcher, input, &args, limit).await?;
    if !exit.success() {
        let url = input.url.to_string_lossy();
        let secrets = [url.as_ref(), url.trim_start_matches("file:")];
        let reason = exit.log.reason(&secrets);
        let reason = reason.unwrap_or_else(|| "ffprobe does not understand it".into());
        return Err(ProbeError::NotMedia(reason));
    }
    Ok((String::from_utf8_lossy(&json).into_owned(), exit.log))
}

/// Finds the end of a source whose header does not say its length, by reading its packets to the
/// end; `None` when that takes longer than `limit`.
pub async fn scan_duration(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    limit: Duration,
) -> Option<MediaTime> {
    let args = [
        "-show_entries",
        "packet=pts_time,duration_time",
        "-of",
        "csv=p=0",
    ];
    let (csv, exit) = run(tools, launcher, input, &args, limit).await.ok()?;
    if !exit.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&csv);
    let ends = text.lines().filter_map(|line| {
        let mut fields = line.split(',').map(|f| f.trim().parse::<f64>());
        let pts = fields.next()?.ok()?;
        Some(pts + fields.next().and_then(Result::ok).unwrap_or(0.0))
    });
    ends.reduce(f64::max).map(MediaTime::from_secs_f64)
}

/// What `input` says of its light: the container, or the first picture of stream `stream`. `None`: nothing,
/// or it cannot be found out within `limit`. Cancel-safe as [`probe_source`].
pub async fn probe_hdr(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    stream: u32,
    limit: Duration,
) -> Option<HdrMetadata> {
    let stream = stream.to_string();
    let args = [
        "-select_streams",
        &stream,
        "-read_intervals",
        "%+#1",
        "-show_frames",
        "-show_streams",
        "-show_entries",
        "stream=index:stream_side_data_list:frame=pts:frame_side_data_list",
        "-of",
        "json",
    ];
    let (json, _) = run(tools, launcher, input, &args, limit).await.ok()?;
    HdrMetadata::from_ffprobe_json(&json)
}

/// What came of decoding a file from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedFrames {
    /// ffmpeg's name of the codec; empty when there is no video.
    pub codec: String,
    pub frames: u64,
    /// The decoder's first complaint, if it had one.
    pub fault: Option<String>,
}

/// Decodes the first video stream of `input` and counts its pictures; gives up after `limit`. Cancel-safe
/// as [`probe_source`].
pub async fn count_frames(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    limit: Duration,
) -> Result<DecodedFrames, ProbeError> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Answer {
        streams: Vec<Stream>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Stream {
        codec_name: String,
        nb_read_frames: Option<String>,
    }
    let entries = "stream=codec_name,nb_read_frames";
    let args = [
        "-threads",
        "2",
        "-count_frames",
        "-select_streams",
        "v:0",
        "-show_entries",
        entries,
        "-of",
        "json",
    ];
    let (json, exit) = run(tools, launcher, input, &args, limit).await?;
    let url = input.url.to_string_lossy();
    let reason = exit.log.reason(&[&url, url.trim_start_matches("file:")]);
    let answer: Answer = serde_json::from_slice(&json).unwrap_or_default();
    let stream = answer.streams.into_iter().next().unwrap_or_default();
    let frames = stream.nb_read_frames.and_then(|n| n.parse().ok());
    let failed = || "it cannot be decoded".to_owned();
    Ok(DecodedFrames {
        codec: stream.codec_name,
        frames: frames.unwrap_or(0),
        fault: match exit.success() {
            true => reason,
            false => Some(reason.unwrap_or_else(failed)),
        },
    })
}

async fn run(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    args: &[&str],
    limit: Duration,
) -> Result<(Vec<u8>, ExitReport), ProbeError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where processes start"
    )]
    let mut command = Command::new(&tools.ffprobe);
    command.args(["-hide_banner", "-loglevel", "level+error"]);
    command
        .args(&input.args)
        .args(args)
        .arg("-i")
        .arg(&input.url);
    apply_environment(&mut command, input);
    let work = async {
        let mut process = Process::spawn(&launcher.doing(Purpose::Probe), command, GRACE).await?;
        let text = read_limited(&mut process.stdout)
            .await
            .ok_or(ProbeError::TooLong)?;
        let exit = process.wait().await;
        Ok((text, exit))
    };
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| ProbeError::Timeout(limit))?
}

/// All of `from`, or `None` when it is longer than any honest description.
pub(super) async fn read_limited(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    from.take(MAX_JSON_BYTES + 1)
        .read_to_end(&mut out)
        .await
        .ok()?;
    (out.len() as u64 <= MAX_JSON_BYTES).then_some(out)
}
