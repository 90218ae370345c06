//! This gateway's own workers: they take batch jobs from the queue and make their files.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::base::WorkerId;
use crate::dispatch::DispatchError;
use crate::job::{BatchSpec, Failure, Job as Queued, JobKind, JobOutput, JobSpec, JobState};
use crate::job::{Progress, Proof, Refused};
use crate::plan::batch_file;
use crate::session::{FileOrder, FileProgress, FileStage, Job, MadeFile, SessionError};
use crate::store::{StoreError, Wanted};

use super::service::Batches;

/// How long one look for work lasts.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after trouble with the store.
const TROUBLE: Duration = Duration::from_secs(5);

/// Works until the gateway stops.
pub(super) async fn run(batches: Arc<Batches>, nth: usize) {
    let worker = WorkerId::new(format!("{}-{nth}", batches.settings.worker_name));
    let wanted = Wanted {
        kinds: vec![JobKind::Batch],
        codecs: None,
    };
    let cancel = batches.cancel.clone();
    loop {
        let claim = batches.dispatcher.claim(&worker, &wanted, LOOK);
        let claimed = match cancel.run_until_cancelled(claim).await {
            None => return,
            Some(claimed) => claimed,
        };
        match claimed {
            Ok(Some(queued)) => work(&batches, &queued).await,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot look for batch jobs");
                let pause = tokio::time::sleep(TROUBLE);
                cancel.run_until_cancelled(pause).await;
            }
        }
    }
}

/// Makes the file of one job and reports how it went.
async fn work(batches: &Arc<Batches>, queued: &Queued) {
    let (Some(lease), JobSpec::Batch(spec)) = (&queued.lease, &queued.spec) else {
        return;
    };
    let proof = Proof::Token(lease.token);
    let Some(job) = batches.shown(&queued.id).await else {
        // Deleted between the claim and now; or of another gateway on the same database, whose files
        // lie elsewhere.
        let given_back = batches.dispatcher.release(&queued.id, proof).await;
        tracing::debug!(job.id = %queued.id, ?given_back, "a job that is not ours");
        tokio::time::sleep(TROUBLE).await;
        return;
    };
    let attempt = Attempt {
        batches,
        queued,
        spec,
        job: &job,
        proof,
    };
    match attempt.make().await {
        Ok(made) => attempt.complete(made).await,
        // The gateway stops: the next process goes on with it.
        Err(SessionError::Cancelled) if batches.cancel.is_cancelled() => attempt.give_back().await,
        Err(SessionError::Cancelled) => {}
        Err(error) => attempt.fail(error).await,
    }
}

struct Attempt<'a> {
    batches: &'a Arc<Batches>,
    queued: &'a Queued,
    spec: &'a BatchSpec,
    job: &'a Arc<Job>,
    proof: Proof,
}

impl Attempt<'_> {
    async fn make(&self) -> Result<MadeFile, SessionError> {
        let batches = self.batches;
        let progress = watch::Sender::new(FileProgress::default());
        let working = FileStage::Working(progress.subscribe());
        batches.registry.set_file(self.job, working);
        let locator = batches.opener.resolve(&self.spec.source).await?;
        let folder = batches.folders.begin(self.job.id).await;
        let folder = folder.map_err(|error| {
            SessionError::Encoder(format!("storage.directory cannot be written to: {error}"))
        })?;
        let order = FileOrder {
            locator,
            request: self.spec.request.clone(),
            base_url: format!("{}/", self.job.id),
            stall_timeout: batches.settings.stall_timeout,
        };
        let stop = batches.cancel.child_token();
        let making = batches.opener.make_file(&order, &folder, &progress, &stop);
        tokio::pin!(making);
        tokio::select! {
            made = &mut making => return made,
            () = self.job.cancelled() => {}
            () = self.keep_lease(&progress) => {}
        }
        stop.cancel();
        making.await
    }

    /// Renews the lease until it is lost.
    async fn keep_lease(&self, progress: &watch::Sender<FileProgress>) {
        let dispatcher = &self.batches.dispatcher;
        let third = (dispatcher.settings().lease / 3).max(Duration::from_millis(100));
        loop {
            tokio::time::sleep(third).await;
            let percent = progress.borrow().percent;
            let said = Progress {
                percent,
                message: String::new(),
            };
            let renewed = dispatcher.renew(&self.queued.id, self.proof, Some(said));
            match renewed.await {
                Ok(_) => {}
                Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => return,
                // The store may be there again before the lease is over.
                Err(error) => tracing::warn!(%error, "cannot renew a lease"),
            }
        }
    }

    async fn complete(&self, made: MadeFile) {
        let folder = self.batches.folders.of(self.job.id);
        let size = tokio::fs::metadata(folder.join(made.file.name)).await;
        let output = JobOutput {
            size_bytes: size.ok().map(|m| m.len()),
            duration: made.duration,
            encoded_by: made.accelerator,
            ..JobOutput::default()
        };
        let (id, dispatcher) = (&self.queued.id, &self.batches.dispatcher);
        let report = || dispatcher.complete(id, self.proof, output.clone());
        match self.insist(report).await {
            Ok(_) => self
                .batches
                .registry
                .set_file(self.job, FileStage::Made(made)),
            Err(error) => self.lost(error),
        }
    }

    async fn fail(&self, error: SessionError) {
        let reason = Value::String(error.to_string());
        let failure = match error.may_pass() {
            true => Failure::Transient { reason },
            false => Failure::Permanent { reason },
        };
        tracing::info!(job.id = %self.job.id, %error, attempt = self.queued.attempts, "an attempt failed");
        let (id, dispatcher) = (&self.queued.id, &self.batches.dispatcher);
        let report = || dispatcher.fail(id, self.proof, failure.clone());
        match self.insist(report).await {
            Ok(after) if after.state == JobState::Failed => {
                self.batches.registry.fail_file(self.job, error);
                self.batches.remove_left(self.job).await;
            }
            Ok(_) => self.batches.registry.set_file(self.job, FileStage::Queued),
            Err(error) => self.lost(error),
        }
    }

    /// Says how it went until the store hears it: a file may be the work of hours. Gives up when the gateway
    /// stops; the job then comes back when its lease is over.
    async fn insist<F>(&self, report: impl Fn() -> F) -> Result<Queued, DispatchError>
    where
        F: Future<Output = Result<Queued, DispatchError>>,
    {
        let cancel = &self.batches.cancel;
        loop {
            match report().await {
                Err(
                    error @ (DispatchError::Store(StoreError::Unavailable(_))
                    | DispatchError::Contended),
                ) => {
                    tracing::warn!(job.id = %self.job.id, %error, "how a job went is not written yet");
                    let pause = tokio::time::sleep(TROUBLE);
                    if cancel.run_until_cancelled(pause).await.is_none() {
                        return Err(error);
                    }
                }
                // It was written, and the word of it was lost.
                Err(DispatchError::Refused(Refused::Final(JobState::Done))) => {
                    return self.batches.dispatcher.get(&self.queued.id).await;
                }
                answer => return answer,
            }
        }
    }

    async fn give_back(&self) {
        if let Err(error) = self
            .batches
            .dispatcher
            .release(&self.queued.id, self.proof)
            .await
        {
            tracing::debug!(%error, "a batch job could not be given back");
        }
    }

    fn lost(&self, error: DispatchError) {
        tracing::warn!(job.id = %self.job.id, %error, "the result of a batch job is not wanted any more");
    }
}

/// What an earlier process made.
pub(super) fn made_of(queued: &Queued) -> Option<MadeFile> {
    let JobSpec::Batch(spec) = &queued.spec else {
        return None;
    };
    let output = queued.output.as_ref()?;
    Some(MadeFile {
        file: batch_file(spec.request.output.format),
        duration: output.duration,
        accelerator: output.encoded_by,
    })
}

impl Batches {
    async fn remove_left(&self, job: &Job) {
        if let Err(error) = self.folders.remove(job.id).await {
            tracing::warn!(job.id = %job.id, %error, "cannot delete the files of a failed job");
        }
    }
}
