//! What runners are offered, and taking it.

use std::time::Duration;

use crate::base::{QueueId, UnixMillis};
use crate::dispatch::DispatchError;
use crate::job::runner::{Breaker, offered};
use crate::job::{Job, JobKind, JobSpec, Refused};
use crate::store::Wanted;

use super::error::VideoError;
use super::roster::Runner;
use super::service::Videos;
use super::token::JobToken;

/// Jobs that a list is chosen from.
const LOOK_AT: u32 = 50;
/// A live stream goes on as long as it does: ten years.
const LIVE_AT_MOST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Heads of lists that are remembered, beyond which old ones are dropped.
const MOST_HEADS: usize = 1000;
const OLD: Duration = Duration::from_secs(60);

/// A job that a runner has from now on.
pub struct Accepted {
    pub job: Job,
    pub token: JobToken,
}

impl Videos {
    /// What `runner` may do, first choice first. `asked`: the types that it named; `None`: it named
    /// none.
    pub async fn offers(
        &self,
        runner: &Runner,
        asked: Option<&[JobKind]>,
    ) -> Result<Vec<Job>, VideoError> {
        let now = self.now();
        let mut kinds = asked.unwrap_or(JobKind::RUNNER).to_vec();
        kinds.retain(|kind| !self.keeps_away(runner, *kind, now));
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = Wanted {
            kinds,
            codecs: None,
        };
        let worker = runner.worker();
        let jobs = self.dispatcher.offers(&worker, &wanted, LOOK_AT).await?;
        let mut memory = self.memory();
        let me = worker.as_str();
        let list = offered(jobs, me, asked.is_some(), &memory.heads, now);
        if let Some(head) = list.first() {
            if memory.heads.len() >= MOST_HEADS {
                memory.heads.retain(|_, (_, at)| now.since(*at) < OLD);
            }
            memory.heads.insert(head.id.clone(), (me.to_owned(), now));
        }
        Ok(list)
    }

    fn keeps_away(&self, runner: &Runner, kind: JobKind, now: UnixMillis) -> bool {
        let breaker = Breaker::default();
        let memory = self.memory();
        let Some(streak) = memory.streaks.get(&(runner.number, kind)) else {
            return false;
        };
        let able = |number: &i64| {
            let theirs = memory.streaks.get(&(*number, kind));
            *number != runner.number && theirs.is_none_or(|s| !breaker.keeps_away(s, true, now))
        };
        // Those that are known to hear of the work.
        let others = memory.connected.keys().any(able);
        breaker.keeps_away(streak, others, now)
    }

    /// The runner with this number failed at a job.
    pub(super) fn note_failure(&self, number: i64, kind: JobKind, job: &QueueId) {
        let now = self.now();
        let mut memory = self.memory();
        let streak = memory.streaks.entry((number, kind)).or_default();
        streak.failed(job, now);
    }

    /// The runner with this number can do such work.
    pub(super) fn note_success(&self, number: i64, kind: JobKind) {
        self.memory().streaks.remove(&(number, kind));
    }

    /// Gives `runner` the job `id`.
    ///
    /// # Errors
    /// `UnknownJob`; `NotPending`, whatever the reason is.
    pub async fn accept(&self, runner: &Runner, id: &QueueId) -> Result<Accepted, VideoError> {
        let job = self.runner_job(id).await?;
        let JobSpec::Runner(spec) = &job.spec else {
            return Err(VideoError::UnknownJob);
        };
        let term = self.term(spec.work.kind());
        let at_most = match spec.work.is_live() {
            true => LIVE_AT_MOST,
            false => self.dispatcher.settings().job_timeout,
        };
        let accepted = self
            .dispatcher
            .accept_for(id, &runner.worker(), term, at_most)
            .await;
        let job = match accepted {
            Ok(job) => job,
            Err(DispatchError::Refused(Refused::NotReady(_))) => {
                return Err(VideoError::NotPending);
            }
            Err(DispatchError::NoSuchJob) => return Err(VideoError::UnknownJob),
            Err(error) => return Err(error.into()),
        };
        self.memory().heads.remove(id);
        let lease = job.lease.as_ref().ok_or(VideoError::NotPending)?;
        let token = JobToken(lease.token);
        Ok(Accepted { job, token })
    }

    /// Time without a word after which a job of this kind is offered again.
    pub(super) fn term(&self, kind: JobKind) -> Duration {
        match kind {
            JobKind::LiveRtmpHls => self.settings.live_stalled_after,
            _ => self.settings.stalled_after,
        }
    }

    /// # Errors
    /// `UnknownJob`: also for work that is not for runners.
    pub(super) async fn runner_job(&self, id: &QueueId) -> Result<Job, VideoError> {
        let job = match self.dispatcher.get(id).await {
            Err(DispatchError::NoSuchJob) => return Err(VideoError::UnknownJob),
            job => job?,
        };
        match job.spec {
            JobSpec::Runner(_) => Ok(job),
            _ => Err(VideoError::UnknownJob),
        }
    }
}
