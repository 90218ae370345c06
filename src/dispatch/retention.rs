//! What becomes of jobs that ended long ago.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::artifact::ArtifactStore;
use crate::job::JobKind;

use super::dispatcher::Dispatcher;
use super::error::DispatchError;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(600);
/// Jobs that are looked at in one go.
const BATCH: u32 = 200;

/// Forgets transcodes that ended longer than `keep` ago, with their results, until `cancel`. The other
/// kinds belong to something that looks after them.
pub async fn keep_house(
    dispatcher: Arc<Dispatcher>,
    artifacts: ArtifactStore,
    keep: Duration,
    cancel: CancellationToken,
) {
    let weak: Weak<Dispatcher> = Arc::downgrade(&dispatcher);
    drop(dispatcher);
    while let Some(dispatcher) = weak.upgrade() {
        let tidying = dispatcher.forget_ended(&artifacts, keep);
        match cancel.run_until_cancelled(tidying).await {
            None => return,
            Some(Ok(0)) => {}
            Some(Ok(jobs)) => tracing::info!(jobs, "old jobs and their results are deleted"),
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
}
