//! One process of a query, and what it holds until it is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::ffmpeg::{ExitReport, Process, encoder_command, picture_command};
use crate::media::SourceLocator;
use crate::plan::Invocation;
use crate::plan::query::Output;
use crate::session::{Opener, source_trouble};
use crate::source::{GateGuard, InputOptions};

use super::error::QueryError;

/// Between the request to end and the end. A client that has left must not keep a process for a
/// second, even one that ignores the request.
const GRACE: Duration = Duration::from_millis(300);

/// Most bytes of a picture or an animation.
const MAX_RESULT_BYTES: u64 = 256 << 20;

/// How much is read from a pipe at once.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// A place among the queries that run; shared by all processes of one query.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// A running process. Dropping it ends the process; its place is free when it has ended.
pub(super) struct Run {
    pub(super) process: Option<Process>,
    gate: Option<GateGuard>,
    permit: Option<Permit>,
    tracker: TaskTracker,
    secrets: [String; 2],
}

impl Run {
    pub(super) async fn start(
        opener: &Opener,
        permit: &Permit,
        source: &SourceLocator,
        overlay: Option<&InputOptions>,
        invocation: &Invocation,
    ) -> Result<Run, QueryError> {
        let (input, gate) = opener.input(source).map_err(QueryError::source)?;
        let command = picture_command(&opener.tools, &input, overlay, invocation);
        let process = Process::spawn(&opener.launcher, command, GRACE).await?;
        let url = input.url.to_string_lossy().into_owned();
        let path = url.trim_start_matches("file:").to_owned();
        Ok(Run {
            process: Some(process),
            gate,
            permit: Some(permit.clone()),
            tracker: opener.tracker.clone(),
            secrets: [url, path],
        })
    }

    /// Why there was no output: what the gate saw, else what ffmpeg said.
    pub(super) fn failure(&self, exit: &ExitReport) -> QueryError {
        let seen = self.gate.as_ref().and_then(|g| source_trouble(g.report()));
        match seen {
            Some(cause) => QueryError::source(cause),
            None => QueryError::Undecodable(self.reason(exit)),
        }
    }

    pub(super) fn reason(&self, exit: &ExitReport) -> String {
        let reason = exit.log.reason(&[&self.secrets[0], &self.secrets[1]]);
        reason.unwrap_or_else(|| "it holds no picture there".to_owned())
    }

    /// Copies all output to `to`, at most `limit` bytes, and waits for the end.
    async fn copy(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        limit: u64,
    ) -> Result<(u64, ExitReport), QueryError> {
        let process = self.process.as_mut().ok_or(QueryError::Stopping)?;
        let mut from = (&mut process.stdout).take(limit);
        let copied = tokio::io::copy(&mut from, to).await;
        let copied = copied.map_err(|e| QueryError::disk(&e))?;
        to.flush().await.map_err(|e| QueryError::disk(&e))?;
        if copied == limit {
            process.stop();
        }
        let exit = process.wait().await;
        self.process = None;
        Ok((copied, exit))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let (Some(process), Some(permit)) = (self.process.take(), self.permit.take()) else {
            return;
        };
        process.stop();
        let gate = self.gate.take();
        // Without a runtime there is nobody left to wait for the place.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.tracker.spawn(async move {
                process.wait().await;
                drop((permit, gate));
            });
        }
    }
}

/// Runs `invocation` on `source` and copies what it writes to `to`: bytes copied. None at all is an
/// error. Cancel-safe: the process ends.
pub(super) async fn copy_output(
    opener: &Opener,
    permit: &Permit,
    source: &SourceLocator,
    overlay: Option<&InputOptions>,
    invocation: &Invocation,
    to: &mut (impl AsyncWrite + Unpin),
    limit: u64,
) -> Result<u64, QueryError> {
    let mut whole = invocation.clone();
    whole.output.push("pipe:1".into());
    let mut run = Run::start(opener, permit, source, overlay, &whole).await?;
    let (copied, exit) = run.copy(to, limit).await?;
    match copied {
        0 => Err(run.failure(&exit)),
        copied => Ok(copied),
    }
}

/// As [`copy_output`]: the whole result, which goes by a file in `folder` where its format needs one.
pub(super) async fn result_of(
    opener: &Opener,
    permit: &Permit,
    source: &SourceLocator,
    overlay: Option<&InputOptions>,
    invocation: &Invocation,
    output: Output,
    folder: &Path,
) -> Result<Vec<u8>, QueryError> {
    if output == Output::Pipe {
        let mut out = Vec::new();
        let limit = MAX_RESULT_BYTES;
        copy_output(opener, permit, source, overlay, invocation, &mut out, limit).await?;
        return Ok(out);
    }
    let file = TemporaryFile::new(folder);
    let mut whole = invocation.clone();
    whole.output.extend(file.as_output()?);
    let mut run = Run::start(opener, permit, source, overlay, &whole).await?;
    let (_, exit) = run.copy(&mut tokio::io::sink(), MAX_RESULT_BYTES).await?;
    match tokio::fs::read(&file.path).await {
        Ok(data) if exit.success() && !data.is_empty() => Ok(data),
        _ => Err(run.failure(&exit)),
    }
}

/// Encodes the raw pictures in `raw`, a file of ours.
pub(super) async fn encode_raw(
    opener: &Opener,
    permit: &Permit,
    raw: &TemporaryFile,
    invocation: &Invocation,
    output: Output,
    folder: &Path,
) -> Result<Vec<u8>, QueryError> {
    let mut url = std::ffi::OsString::from("file:");
    url.push(&raw.path);
    let input = InputOptions {
        args: ["-protocol_whitelist", "file"].map(Into::into).to_vec(),
        url,
        env: vec![],
        env_remove: &[],
    };
    let file = TemporaryFile::new(folder);
    let mut whole = invocation.clone();
    match output {
        Output::Pipe => whole.output.push("pipe:1".into()),
        Output::File => whole.output.extend(file.as_output()?),
    }
    let command = encoder_command(&opener.tools, &input, &whole);
    let process = Process::spawn(&opener.launcher, command, GRACE).await?;
    let mut run = Run {
        process: Some(process),
        gate: None,
        permit: Some(permit.clone()),
        tracker: opener.tracker.clone(),
        secrets: [
            raw.path.display().to_string(),
            file.path.display().to_string(),
        ],
    };
    let mut piped = Vec::new();
    let (_, exit) = run.copy(&mut piped, MAX_RESULT_BYTES).await?;
    let data = match output {
        Output::Pipe => piped,
        Output::File => tokio::fs::read(&file.path).await.unwrap_or_default(),
    };
    match exit.success() && !data.is_empty() {
        true => Ok(data),
        false => Err(run.failure(&exit)),
    }
}

/// A file of ours; deleted when dropped.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    pub(super) path: PathBuf,
}

impl TemporaryFile {
    /// Only names it.
    pub(super) fn new(folder: &Path) -> Self {
        TemporaryFile {
            path: folder.join(format!("work-{}", uuid::Uuid::new_v4())),
        }
    }

    /// It, as ffmpeg's output.
    fn as_output(&self) -> Result<[String; 2], QueryError> {
        let kind = std::io::ErrorKind::InvalidFilename;
        let path = self.path.to_str().ok_or(QueryError::Disk(kind))?;
        Ok(["-y".into(), format!("file:{path}")])
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // ffmpeg may not have made it.
        let _ = std::fs::remove_file(&self.path);
    }
}
