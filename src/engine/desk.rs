//! Where an engine gets its work, and says what came of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::artifact::{ArtifactError, ArtifactName, ArtifactStore, Uploaded};
use crate::base::{LeaseToken, QueueId, WorkerId};
use crate::dispatch::{DispatchError, Dispatcher};
use crate::job::{Failure, Job, JobKind, JobOutput, JobSpec, Progress, Proof};
use crate::store::Wanted;

use super::error::DeskError;
use super::remote::RemoteDesk;

/// The two ways to a dispatcher.
pub enum Desk {
    /// In the same process.
    Local(LocalDesk),
    /// On another machine.
    Remote(Box<RemoteDesk>),
}

/// A job that was given to this engine.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) job: QueueId,
    pub(super) attempt: u32,
    pub(super) spec: JobSpec,
    /// Whether the source is a file of a gateway on another machine, which gives it.
    pub(super) has_source: bool,
    pub(super) token: LeaseToken,
    /// Time for which the lease is good after each renewal.
    pub(super) lease: Duration,
}

impl Assignment {
    /// Name of the result in the artifact store. Each attempt has its own: what comes late overwrites
    /// nothing.
    pub(super) fn file_name(&self, name: &str) -> String {
        format!("{}-{name}", self.attempt)
    }
}

/// The kinds of work that an engine does.
pub(super) const KINDS: [JobKind; 2] = [JobKind::Transcode, JobKind::Scene];

/// The desk of the gateway's own engine.
pub struct LocalDesk {
    pub dispatcher: Arc<Dispatcher>,
    pub artifacts: ArtifactStore,
    pub worker: WorkerId,
    /// How long work is left to other engines first.
    pub patience: Duration,
}

/// How often the local engine looks for work that was left to others for long enough.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a result that are read at a time.
pub(super) const CHUNK: usize = 256 * 1024;

impl From<DispatchError> for DeskError {
    fn from(error: DispatchError) -> Self {
        match error {
            DispatchError::Refused(_) | DispatchError::NoSuchJob => DeskError::Lost,
            other => DeskError::Unreachable(other.to_string()),
        }
    }
}

impl From<ArtifactError> for DeskError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::TooLarge(_) | ArtifactError::Empty => {
                DeskError::Refused(error.to_string())
            }
            other => DeskError::Unreachable(other.to_string()),
        }
    }
}

impl Desk {
    /// How often it is told how far work is, if it moved on: others look at it.
    pub(super) fn tell_every(&self) -> Duration {
        match self {
            Desk::Local(_) => Duration::from_secs(1),
            Desk::Remote(_) => Duration::from_secs(5),
        }
    }

    /// Waits for work, `wait` at most.
    pub(super) async fn claim(&self, wait: Duration) -> Result<Option<Assignment>, DeskError> {
        match self {
            Desk::Local(desk) => desk.claim(wait).await,
            Desk::Remote(desk) => desk.claim(wait).await,
        }
    }

    pub(super) async fn renew(
        &self,
        work: &Assignment,
        progress: Progress,
    ) -> Result<(), DeskError> {
        match self {
            Desk::Local(desk) => {
                let proof = Proof::Token(work.token);
                let dispatcher = &desk.dispatcher;
                dispatcher.renew(&work.job, proof, Some(progress)).await?;
                Ok(())
            }
            Desk::Remote(desk) => desk.renew(work, progress).await,
        }
    }

    /// Fetches the artifact `name` into the file `path`.
    pub(super) async fn fetch(&self, name: &ArtifactName, path: &Path) -> Result<(), DeskError> {
        match self {
            Desk::Local(desk) => {
                let bytes = desk.artifacts.read(name, None).await?.bytes;
                let bytes = bytes.map_err(DeskError::from);
                write_all(path, 0, std::pin::pin!(bytes)).await
            }
            Desk::Remote(desk) => desk.fetch(name, path).await,
        }
    }

    /// Fetches the source of a job that is a file of the gateway's into the file `path`; what is there
    /// already is not fetched again.
    pub(super) async fn fetch_source(
        &self,
        work: &Assignment,
        path: &Path,
    ) -> Result<(), DeskError> {
        match self {
            Desk::Local(_) => Err(DeskError::Refused("the source is on this machine".into())),
            Desk::Remote(desk) => desk.fetch_source(work, path).await,
        }
    }

    /// Puts the file `path` where clients can fetch it, under `name`.
    pub(super) async fn deliver(
        &self,
        work: &Assignment,
        path: &Path,
        name: &str,
    ) -> Result<JobOutput, DeskError> {
        let file = work.file_name(name);
        let (artifact, uploaded) = match self {
            Desk::Local(desk) => desk.deliver(work, path, &file).await?,
            Desk::Remote(desk) => desk.deliver(work, path, &file).await?,
        };
        Ok(JobOutput {
            artifact: Some(artifact),
            size_bytes: Some(uploaded.size_bytes),
            sha256: Some(uploaded.sha256),
            ..JobOutput::default()
        })
    }

    pub(super) async fn complete(
        &self,
        work: &Assignment,
        output: JobOutput,
    ) -> Result<(), DeskError> {
        match self {
            Desk::Local(desk) => {
                let proof = Proof::Token(work.token);
                desk.dispatcher.complete(&work.job, proof, output).await?;
                Ok(())
            }
            Desk::Remote(desk) => desk.complete(work, output).await,
        }
    }

    pub(super) async fn fail(&self, work: &Assignment, failure: Failure) -> Result<(), DeskError> {
        match self {
            Desk::Local(desk) => {
                let proof = Proof::Token(work.token);
                desk.dispatcher.fail(&work.job, proof, failure).await?;
                Ok(())
            }
            Desk::Remote(desk) => desk.fail(work, failure).await,
        }
    }

    pub(super) async fn release(&self, work: &Assignment) -> Result<(), DeskError> {
        match self {
            Desk::Local(desk) => {
                let proof = Proof::Token(work.token);
                desk.dispatcher.release(&work.job, proof).await?;
                Ok(())
            }
            Desk::Remote(desk) => desk.release(work).await,
        }
    }
}

/// Writes what comes to `path`, after the first `from` bytes that are there.
pub(super) async fn write_all(
    path: &Path,
    from: u64,
    mut bytes: impl Stream<Item = Result<Bytes, DeskError>> + Unpin,
) -> Result<(), DeskError> {
    let unwritable =
        |e: std::io::Error| DeskError::Refused(format!("a file cannot be written: {}", e.kind()));
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let mut file = options.open(path).await.map_err(unwritable)?;
    file.set_len(from).await.map_err(unwritable)?;
    let end = std::io::SeekFrom::Start(from);
    file.seek(end).await.map_err(unwritable)?;
    while let Some(part) = bytes.try_next().await? {
        file.write_all(&part).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)
}

/// Jobs that the local engine looks at for one that was left to others for long enough.
const LOOK_AT: u32 = 16;

impl LocalDesk {
    /// How long a job is left to others: to engines of distconv, or workers of grav1.
    fn patience_for(&self, job: &Job) -> Duration {
        match &job.spec {
            JobSpec::Scene(spec) if !spec.encoder.is_grav1() || spec.quality.is_some() => {
                Duration::ZERO
            }
            // Others had it, and vanished.
            JobSpec::Transcode(_) if job.expiries > 0 => Duration::ZERO,
            _ => self.patience,
        }
    }

    async fn claim(&self, wait: Duration) -> Result<Option<Assignment>, DeskError> {
        let wanted = Wanted {
            kinds: KINDS.to_vec(),
            codecs: None,
        };
        let deadline = Instant::now() + wait;
        let mut work = self.dispatcher.new_work();
        loop {
            // Marked before looking, so that work that comes meanwhile is seen.
            work.mark_unchanged();
            let offers = self.dispatcher.offers(&self.worker, &wanted, LOOK_AT);
            let (offers, now) = (offers.await?, self.dispatcher.now());
            let waited = |j: &&Job| now.since(j.updated_at) >= self.patience_for(j);
            if let Some(job) = offers.iter().find(waited) {
                match self.dispatcher.accept(&job.id, &self.worker).await {
                    Ok(job) => return Ok(self.assignment(job)),
                    // Another engine was faster.
                    Err(DispatchError::Refused(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            // Either way it is time to look.
            let _ = tokio::time::timeout(LOOK_EVERY, work.changed()).await;
        }
    }

    fn assignment(&self, job: Job) -> Option<Assignment> {
        Some(Assignment {
            token: job.lease.as_ref()?.token,
            attempt: job.attempts,
            lease: self.dispatcher.settings().lease,
            job: job.id,
            spec: job.spec,
            has_source: false,
        })
    }

    async fn deliver(
        &self,
        work: &Assignment,
        path: &Path,
        file: &str,
    ) -> Result<(String, Uploaded), DeskError> {
        let unreadable = |e: std::io::Error| DeskError::Refused(format!("the result is gone: {e}"));
        let name = ArtifactName::new(work.job.clone(), file)
            .map_err(|e| DeskError::Refused(e.to_string()))?;
        let mut result = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let mut upload = self.artifacts.upload(&name).await?;
        loop {
            let mut buffer = bytes::BytesMut::with_capacity(CHUNK);
            match result.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) => {
                    if let Err(error) = upload.write(buffer.freeze()).await {
                        upload.abort().await?;
                        return Err(error.into());
                    }
                }
                Err(error) => {
                    upload.abort().await?;
                    return Err(unreadable(error));
                }
            }
        }
        Ok((name.to_string(), upload.finish().await?))
    }
}
