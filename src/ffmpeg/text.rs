//! Reading the text of a subtitle stream.

use std::time::Duration;

use crate::plan::Invocation;
use crate::source::InputOptions;

use super::command::encoder_command;
use super::launcher::{Launcher, Purpose, SpawnError};
use super::probe::read_limited;
use super::process::Process;
use super::toolchain::Toolchain;

/// Subtitles could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("it was not read within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("it is longer than any honest one")]
    TooLong,
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

const GRACE: Duration = Duration::from_millis(200);

/// Runs `invocation` on `input` and gives what it writes, as text. Cancel-safe: dropping it ends
/// ffmpeg.
pub async fn read_text(
    tools: &Toolchain,
    launcher: &Launcher,
    input: &InputOptions,
    invocation: &Invocation,
    limit: Duration,
) -> Result<String, TextError> {
    let command = encoder_command(tools, input, invocation);
    let work = async {
        let mut process =
            Process::spawn(&launcher.doing(Purpose::Subtitles), command, GRACE).await?;
        let text = read_limited(&mut process.stdout).await;
        let text = text.ok_or(TextError::TooLong)?;
        let exit = process.wait().await;
        if !exit.success() {
            let url = input.url.to_string_lossy();
            let reason = exit.log.reason(&[&url, url.trim_start_matches("file:")]);
            let reason = reason.unwrap_or_else(|| "ffmpeg does not understand it".into());
            return Err(TextError::Unreadable(reason));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| TextError::Timeout(limit))?
}
