//! Runs that are waited for: what they write is handed on, their end is a success or a sentence.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::Instant;

use super::launcher::{Launcher, SpawnError};
use super::log::LogTail;
use super::os;
use super::process::Process;
use super::programs::EncoderProgram;

/// A run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("no progress for {} s", .0.as_secs())]
    Stalled(Duration),
    /// What the program said, without paths.
    #[error("{0}")]
    Failed(String),
}

/// What a run tells while it lasts.
pub struct Watching<'a> {
    /// Bytes on standard output.
    pub output: &'a mut (dyn FnMut(&[u8]) + Send),
    /// Pictures so far.
    pub frames: &'a mut (dyn FnMut(u64) + Send),
    /// Time without either after which the run counts as hung.
    pub stall: Duration,
    /// Paths that nobody is told.
    pub secrets: &'a [&'a str],
}

const GRACE: Duration = Duration::from_secs(1);

/// Runs `command` (as [`super::encoder_command`] makes it) to its end. Cancel-safe: dropping it ends the
/// process.
pub async fn run_to_end(
    launcher: &Launcher,
    command: Command,
    watching: Watching<'_>,
) -> Result<(), RunError> {
    let process = Process::spawn(launcher, command, GRACE).await?;
    watch(process, watching).await
}

/// Runs `command`, whose file descriptor 3 is the standard input of `program` with `args`. Cancel-safe as
/// [`run_to_end`]. The encoder's complaint is told before ffmpeg's, which then only lost its reader.
pub async fn run_piped(
    launcher: &Launcher,
    mut command: Command,
    program: &EncoderProgram,
    args: &[String],
    watching: Watching<'_>,
) -> Result<(), RunError> {
    let name = || "a pipe".to_owned();
    let io = |source| SpawnError::Io {
        program: name(),
        source,
    };
    let read = os::further_output(&mut command, 3).map_err(io)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where processes start"
    )]
    let mut encoder = Command::new(&program.path);
    encoder.args(args.iter().map(OsString::from));
    encoder
        .stdin(Stdio::from(read))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut encoder = Process::spawn(launcher, encoder, GRACE).await?;
    let secrets = watching.secrets;
    let feeder = Process::spawn(launcher, command, GRACE).await?;
    let feeding = watch(feeder, watching);
    let encoding = async {
        // It writes nothing there; the pipe is read so that it cannot stop for it.
        let mut silent = [0; 256];
        while encoder.stdout.read(&mut silent).await.is_ok_and(|n| n > 0) {}
        encoder.wait().await
    };
    let (fed, exit) = tokio::join!(feeding, encoding);
    if !exit.success() {
        let reason = complaint(&exit.log, secrets);
        return Err(RunError::Failed(reason));
    }
    fed
}

async fn watch(mut process: Process, watching: Watching<'_>) -> Result<(), RunError> {
    let mut reports = process.progress.clone();
    let mut heard = Instant::now();
    let mut frames = 0;
    let mut buffer = vec![0; 64 * 1024];
    let (mut is_open, mut tells) = (true, true);
    while is_open {
        tokio::select! {
            read = process.stdout.read(&mut buffer) => match read {
                Ok(0) | Err(_) => is_open = false,
                Ok(n) => {
                    heard = Instant::now();
                    (watching.output)(&buffer[..n]);
                }
            },
            changed = reports.changed(), if tells => {
                tells = changed.is_ok();
                let now = reports.borrow_and_update().frame;
                if now != frames {
                    frames = now;
                    heard = Instant::now();
                    (watching.frames)(now);
                }
            }
            () = tokio::time::sleep_until(heard + watching.stall) => {
                return Err(RunError::Stalled(watching.stall));
            }
        }
    }
    let exit = process.wait().await;
    match exit.success() {
        true => Ok(()),
        false => {
            let reason = exit.log.reason(watching.secrets);
            let reason = reason.unwrap_or_else(|| "ffmpeg ended with an error".into());
            Err(RunError::Failed(reason))
        }
    }
}

/// The words of `aomenc` or `vpxenc`: a line with an error, else its last.
fn complaint(log: &LogTail, secrets: &[&str]) -> String {
    let usage = |l: &&str| !l.starts_with("Usage") && !l.starts_with("Use --help");
    let lines: Vec<&str> = log.lines().filter(usage).collect();
    let marked = lines
        .iter()
        .find(|l| l.contains("rror") || l.contains("ailed") || l.contains("nvalid"));
    let line = marked.or(lines.last()).copied();
    let mut text = line.unwrap_or("the encoder ended with an error").to_owned();
    for secret in secrets.iter().filter(|s| !s.is_empty()) {
        text = text.replace(secret, "the scene");
    }
    let words = text
        .split(' ')
        .map(|w| if w.contains('/') { "..." } else { w });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_no_path() {
        let mut log = LogTail::default();
        log.push("Error: Unrecognized option --nosuch");
        log.push("Usage: /usr/bin/aomenc <options> -o dst_filename src_filename");
        assert_eq!(complaint(&log, &[]), "Error: Unrecognized option --nosuch");
        let mut log = LogTail::default();
        log.push("Failed to open /srv/x/scene.ivf");
        assert_eq!(complaint(&log, &[]), "Failed to open ...");
        assert_eq!(
            complaint(&LogTail::default(), &[]),
            "the encoder ended with an error"
        );
    }
}
