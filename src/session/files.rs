//! Batch jobs among the others: what the registry knows of them. Who makes their files is not its
//! business.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use crate::base::JobId;
use crate::media::{SourceLocator, StreamRequest};
use crate::plan::check_batch;

use super::error::SessionError;
use super::job::{FileStage, Job, JobOrigin, JobPhase};
use super::registry::Registry;

impl Registry {
    /// Checks what a batch job asks for, as far as that can be done without its source.
    pub async fn check_file(
        &self,
        source: &str,
        request: &StreamRequest,
    ) -> Result<SourceLocator, SessionError> {
        let opener = self.opener();
        let hardware = opener.hardware(request.output.hw_accel).await;
        check_batch(request, &hardware, &opener.plan)?;
        opener.resolve(source).await
    }

    /// Takes a batch job in, new or from before a restart. `source` is as its client may see it.
    ///
    /// # Errors
    /// `Busy` when there are too many jobs.
    pub fn adopt(
        &self,
        id: JobId,
        source: String,
        request: StreamRequest,
        origin: JobOrigin,
        created_at: Timestamp,
    ) -> Result<Arc<Job>, SessionError> {
        let now = self.now_ms();
        let job = Job::of_file(id, source, request, origin, created_at, now);
        let job = Arc::new(job);
        self.admit(&job)?;
        self.totals.started.fetch_add(1, Ordering::Relaxed);
        self.announce(&job);
        Ok(job)
    }

    /// How far a batch job is; nothing when it was cancelled meanwhile.
    pub fn set_file(&self, job: &Job, stage: FileStage) {
        self.set_phase(job, JobPhase::File(stage));
    }

    /// A batch job has failed for good.
    pub fn fail_file(&self, job: &Job, error: SessionError) {
        tracing::info!(job.id = %job.id, %error, "job failed");
        self.set_phase(job, JobPhase::Failed(Arc::new(error)));
    }

    fn set_phase(&self, job: &Job, phase: JobPhase) {
        job.phase.send_if_modified(|now| {
            let goes_on = matches!(now, JobPhase::File(_));
            if goes_on {
                *now = phase;
            }
            goes_on
        });
        self.announce(job);
    }
}
