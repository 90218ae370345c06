//! Encodes of pictures that ffmpeg makes itself: whether an encoder works, and how fast.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::Instant;

use super::launcher::{Launcher, Purpose, SpawnError};
use super::process::Process;
use super::toolchain::Toolchain;

/// The benchmark told nothing.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    #[error("the encode did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("{0}")]
    Encoder(String),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// A machine that needs longer will hardly help anybody.
const WITHIN: Duration = Duration::from_secs(180);
const GRACE: Duration = Duration::from_millis(200);

/// Runs ffmpeg with `args`, which read and write nothing: the time it took. Cancel-safe: dropping it
/// ends ffmpeg.
pub async fn benchmark(
    tools: &Toolchain,
    launcher: &Launcher,
    args: &[String],
) -> Result<Duration, BenchmarkError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where processes start"
    )]
    let mut command = Command::new(&tools.ffmpeg);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "level+error"]);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let encoding = async {
        let began = Instant::now();
        let mut process = Process::spawn(&launcher.doing(Purpose::Test), command, GRACE).await?;
        let mut nothing = Vec::new();
        // The end of its output is its end.
        let _ = (&mut process.stdout)
            .take(1024)
            .read_to_end(&mut nothing)
            .await;
        let exit = process.wait().await;
        if exit.success() {
            return Ok(began.elapsed());
        }
        let reason = exit.log.reason(&[]);
        let reason = reason.unwrap_or_else(|| "the test encode failed".into());
        Err(BenchmarkError::Encoder(reason))
    };
    let ended = tokio::time::timeout(WITHIN, encoding).await;
    ended.map_err(|_| BenchmarkError::Timeout(WITHIN))?
}
