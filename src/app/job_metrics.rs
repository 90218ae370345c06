//! Counts what becomes of queued work, beside the work itself.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::job::Job;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{JobLabels, QueueLabels};

/// Hears of every change on this gateway until `cancel`. What it misses because it is too slow is
/// missing in the metrics, and nowhere else.
pub(super) async fn run(
    mut changes: Receiver<Arc<Job>>,
    metrics: Metrics,
    cancel: CancellationToken,
) {
    while let Some(heard) = cancel.run_until_cancelled(changes.recv()).await {
        match heard {
            Ok(job) => note(&job, &metrics),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn note(job: &Job, metrics: &Metrics) {
    if job.state.is_final() {
        let labels = JobLabels {
            kind: job.spec.kind().name(),
            state: job.state.name(),
        };
        metrics.jobs_ended.get_or_create(&labels).inc();
    }
    let Some(lease) = &job.lease else { return };
    // Only the first lease: how long a job waited between two is its policy's doing.
    if job.attempts == 1 && job.updated_at == lease.begun_at && job.progress.is_none() {
        let labels = QueueLabels { queue: "job" };
        let waited = lease.begun_at.since(job.created_at.max(job.not_before));
        let waits = metrics.queue_wait.get_or_create_owned(&labels);
        waits.observe(waited.as_secs_f64());
    }
}
