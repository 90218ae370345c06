//! The loop: fetch, do, deliver; and what keeps a lease alive meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::job::{Failure, Progress};
use crate::session::{FileProgress, Opener};

use super::desk::{Assignment, Desk};
use super::error::DeskError;
use super::transcode::{Made, Shop};

/// What an engine works with.
pub struct EngineParts {
    pub desk: Desk,
    pub opener: Opener,
    /// Its own: emptied at the start.
    pub folder: PathBuf,
    /// Jobs at the same time.
    pub concurrency: usize,
    /// Time without progress after which an encoder counts as hung.
    pub stall_timeout: Duration,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// Longest wait for work in one call.
const WAIT: Duration = Duration::from_secs(20);
/// Wait after the desk did not answer, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often a result is reported to a desk that does not answer.
const REPORTS: u32 = 20;
/// How soon a renewal that was not answered is tried again, at most.
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// How long work goes on for a desk that does not answer. It may outlast the lease: the desk gives all who
/// had work the time to say so when it is back, and whoever took it over meanwhile is safe from us.
const UNHEARD: Duration = Duration::from_secs(15 * 60);

/// Works until `cancel`, then gives back what it has. The work runs on `tracker`.
pub async fn run(parts: EngineParts) {
    let EngineParts {
        desk,
        opener,
        folder,
        concurrency,
        stall_timeout,
        tracker,
        cancel,
    } = parts;
    // What an engine that was killed left behind.
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "cannot empty the engine's folder");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let engine = Arc::new(Engine {
        desk,
        shop: Shop {
            opener,
            folder,
            stall_timeout,
            threads: (cores / concurrency.max(1)).max(1),
        },
        cancel,
    });
    for _ in 0..concurrency {
        let engine = engine.clone();
        // On the heap: it holds everything that a job is made with.
        tracker.spawn(async move { Box::pin(engine.work()).await });
    }
}

struct Engine {
    desk: Desk,
    shop: Shop,
    cancel: CancellationToken,
}

impl Engine {
    async fn work(&self) {
        let mut pause = FIRST_PAUSE;
        while !self.cancel.is_cancelled() {
            let claim = self.cancel.run_until_cancelled(self.desk.claim(WAIT));
            match claim.await {
                None => return,
                Some(Ok(None)) => pause = FIRST_PAUSE,
                Some(Ok(Some(work))) => {
                    pause = FIRST_PAUSE;
                    self.serve(&work).await;
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "no work can be had");
                    let rest = tokio::time::sleep(pause);
                    self.cancel.run_until_cancelled(rest).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Does one job, as long as it is ours.
    async fn serve(&self, work: &Assignment) {
        tracing::info!(job.id = %work.job, lease.attempt = work.attempt, "work begins");
        let (progress, watched) = watch::channel(FileProgress::default());
        let doing = async {
            let made = match self.shop.make(&self.desk, work, &progress).await {
                Ok(made) => made,
                Err(failure) => return self.report_failure(work, failure).await,
            };
            let reported = self.deliver(work, &made).await;
            made.discard().await;
            reported
        };
        let outcome = tokio::select! {
            outcome = doing => outcome,
            () = self.keep(work, watched) => Err(DeskError::Lost),
            () = self.cancel.cancelled() => {
                // When it cannot be given back, it comes back when its lease is over.
                let _ = self.desk.release(work).await;
                tracing::info!(job.id = %work.job, "work is given back");
                self.shop.clear(work).await;
                return;
            }
        };
        match outcome {
            Ok(()) => tracing::info!(job.id = %work.job, "work ends"),
            Err(DeskError::Lost) => {
                tracing::info!(job.id = %work.job, "work is stopped: the job is no longer ours");
            }
            Err(error) => tracing::warn!(job.id = %work.job, %error, "work is lost"),
        }
        self.shop.clear(work).await;
    }

    async fn deliver(&self, work: &Assignment, made: &Made) -> Result<(), DeskError> {
        let delivering = || self.desk.deliver(work, &made.path, made.name);
        let mut output = match insist(delivering).await {
            Ok(output) => output,
            Err(DeskError::Refused(reason)) => {
                let failure = Failure::Permanent {
                    reason: reason.into(),
                };
                return self.report_failure(work, failure).await;
            }
            Err(error) => return Err(error),
        };
        output.notes.clone_from(&made.notes);
        output.measured.clone_from(&made.measured);
        output.duration = made.file.and_then(|f| f.duration);
        output.encoded_by = made.file.and_then(|f| f.accelerator);
        insist(|| self.desk.complete(work, output.clone())).await
    }

    async fn report_failure(&self, work: &Assignment, failure: Failure) -> Result<(), DeskError> {
        tracing::info!(job.id = %work.job, ?failure, "work fails");
        insist(|| self.desk.fail(work, failure.clone())).await
    }

    /// Renews the lease until it is lost.
    async fn keep(&self, work: &Assignment, progress: watch::Receiver<FileProgress>) {
        let mut heard = Instant::now();
        let usual = (work.lease / 3).min(self.desk.tell_every());
        let mut pause = usual;
        let mut told = None;
        loop {
            tokio::time::sleep(pause).await;
            let (percent, message) = (progress.borrow().percent, String::new());
            let asked = Instant::now();
            if told == Some(percent) && heard.elapsed() + usual < work.lease / 3 {
                continue;
            }
            match self.desk.renew(work, Progress { percent, message }).await {
                Ok(()) => (heard, pause, told) = (asked, usual, Some(percent)),
                Err(DeskError::Lost) => return,
                Err(error) => {
                    tracing::warn!(job.id = %work.job, %error, "the lease is not renewed");
                    pause = RENEW_AGAIN.min(work.lease / 3);
                    if heard.elapsed() >= UNHEARD {
                        return;
                    }
                }
            }
        }
    }
}

/// Tries again while the desk does not answer: what was made is worth more than a few calls.
pub(super) async fn insist<T, F>(call: impl Fn() -> F) -> Result<T, DeskError>
where
    F: Future<Output = Result<T, DeskError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..REPORTS {
        match call().await {
            Err(DeskError::Unreachable(why)) => {
                tracing::warn!(why, "the desk does not answer");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => return answer,
        }
    }
    call().await
}
