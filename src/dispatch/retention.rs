//! What becomes of jobs that ended long ago, and of what clients sent for them.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::artifact::{ArtifactError, ArtifactStore, Listed};
use crate::job::{JobKind, JobSpec, JobState};
use crate::source::UPLOADED;
use crate::store::JobFilter;

use super::dispatcher::Dispatcher;
use super::error::DispatchError;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(600);
/// Jobs that are looked at in one go.
const BATCH: u32 = 200;
/// How long a file that a client sent is kept when no job that is still to be done names it.
const KEEP_UPLOADS: Duration = Duration::from_secs(48 * 3600);

/// What is looked after.
pub struct House {
    pub artifacts: ArtifactStore,
    pub uploads: ArtifactStore,
    /// How long transcodes are kept after their end; `None`: for ever.
    pub keep: Option<Duration>,
}

/// Forgets transcodes that ended long ago, with their results, and what clients sent and nobody needs any
/// more, until `cancel`. The other kinds of jobs belong to something that looks after them.
pub async fn keep_house(dispatcher: Arc<Dispatcher>, house: House, cancel: CancellationToken) {
    let weak: Weak<Dispatcher> = Arc::downgrade(&dispatcher);
    drop(dispatcher);
    while let Some(dispatcher) = weak.upgrade() {
        let tidying = async {
            let jobs = match house.keep {
                Some(keep) => dispatcher.forget_ended(&house.artifacts, keep).await?,
                None => 0,
            };
            let files = dispatcher.forget_uploads(&house.uploads, KEEP_UPLOADS);
            Ok::<_, DispatchError>((jobs, files.await?))
        };
        match cancel.run_until_cancelled(tidying).await {
            None => return,
            Some(Ok((0, 0))) => {}
            Some(Ok((jobs, files))) => {
                tracing::info!(
                    jobs,
                    files,
                    "old jobs, their results and uploads are deleted"
                );
            }
            Some(Err(error)) => tracing::warn!(%error, "old jobs cannot be deleted"),
        }
        drop(dispatcher);
        let rest = cancel.run_until_cancelled(tokio::time::sleep(EVERY));
        if rest.await.is_none() {
            return;
        }
    }
}

impl Dispatcher {
    /// Forgets the transcodes that ended longer than `keep` ago: their number. A job whose results
    /// cannot be deleted stays, so that they are not forgotten. Cancel-safe.
    pub async fn forget_ended(
        &self,
        artifacts: &ArtifactStore,
        keep: Duration,
    ) -> Result<usize, DispatchError> {
        let mut forgotten = 0;
        loop {
            let before = self.now() - keep;
            let ended = self
                .store()
                .ended(JobKind::Transcode, before, BATCH)
                .await?;
            let mut deleted = 0;
            for job in &ended {
                match artifacts.delete_all(&job.id).await {
                    Ok(()) => deleted += usize::from(self.forget(&job.id).await?),
                    Err(error) => tracing::warn!(job.id = %job.id, %error, "results stay"),
                }
            }
            forgotten += deleted;
            if deleted < BATCH as usize {
                return Ok(forgotten);
            }
        }
    }

    /// Deletes what clients sent longer than `keep` ago, unless a job that is still to be done names it:
    /// the number of files. Cancel-safe.
    pub async fn forget_uploads(
        &self,
        uploads: &ArtifactStore,
        keep: Duration,
    ) -> Result<usize, DispatchError> {
        let before = self.now() - keep;
        let told = |error: ArtifactError| tracing::warn!(%error, "uploads stay");
        let old = match uploads.list().await {
            Ok(all) => all.into_iter().filter(|l| l.changed < before),
            Err(error) => {
                told(error);
                return Ok(0);
            }
        };
        let old: Vec<Listed> = old.collect();
        if old.is_empty() {
            return Ok(0);
        }
        let open = JobFilter {
            kinds: vec![JobKind::Transcode, JobKind::Batch],
            states: vec![JobState::Waiting, JobState::Ready, JobState::Leased],
            ..JobFilter::default()
        };
        let open = self.store().list(&open).await?;
        let needed: HashSet<&str> = open.iter().filter_map(|j| upload_of(&j.spec)).collect();
        let mut deleted = 0;
        for upload in old {
            if needed.contains(upload.name.to_string().as_str()) {
                continue;
            }
            match uploads.delete(&upload.name).await {
                Ok(()) => deleted += 1,
                Err(error) => told(error),
            }
        }
        Ok(deleted)
    }
}

/// Name of the upload that a job reads, if it reads one.
fn upload_of(spec: &JobSpec) -> Option<&str> {
    let source = match spec {
        JobSpec::Transcode(spec) => &spec.source_url,
        JobSpec::Batch(spec) => &spec.source,
        JobSpec::Runner(_) | JobSpec::Scene(_) => return None,
    };
    source.strip_prefix(UPLOADED)
}
