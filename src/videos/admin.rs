//! What admins see of runners' jobs, and do to them.

use crate::base::QueueId;
use crate::dispatch::DispatchError;
use crate::job::{Job, JobKind, JobSpec};
use crate::store::{JobFilter, JobOrder};

use super::error::VideoError;
use super::model::{VIDEOS, Video};
use super::service::Videos;
use super::view::RunnerJobState;

/// A part of the list of jobs.
pub struct JobPage {
    /// All that fit.
    pub total: usize,
    pub jobs: Vec<(Job, RunnerJobState)>,
}

impl Videos {
    /// The jobs of `kinds` (empty: all) in `states` (empty: all) whose id, video or type holds
    /// `search`, newest first unless `oldest_first`; `count` from `start` on.
    pub async fn runner_jobs(
        &self,
        kinds: &[JobKind],
        states: &[RunnerJobState],
        search: &str,
        oldest_first: bool,
        start: usize,
        count: usize,
    ) -> Result<JobPage, VideoError> {
        let kinds = match kinds.is_empty() {
            true => JobKind::RUNNER,
            false => kinds,
        };
        let filter = JobFilter {
            kinds: kinds.to_vec(),
            order: JobOrder::NewestFirst,
            ..JobFilter::default()
        };
        let mut jobs = Vec::new();
        let videos = self.store().documents::<Video>(VIDEOS).await?;
        for job in self.dispatcher.list(&filter).await? {
            let JobSpec::Runner(spec) = &job.spec else {
                continue;
            };
            let video = videos.iter().find(|d| d.id == spec.video);
            let state = RunnerJobState::of(&job, video.map(|d| &d.value));
            let kind = job.spec.kind().runner_type().unwrap_or_default();
            let texts = [job.id.as_str(), &spec.video, kind];
            let found = search.is_empty() || texts.iter().any(|t| t.contains(search));
            if found && (states.is_empty() || states.contains(&state)) {
                jobs.push((job, state));
            }
        }
        if oldest_first {
            jobs.reverse();
        }
        let total = jobs.len();
        let jobs = jobs.into_iter().skip(start).take(count).collect();
        Ok(JobPage { total, jobs })
    }

    /// Withdraws a job and forgets it; its video goes on without it.
    pub async fn remove_job(&self, id: &QueueId) -> Result<(), VideoError> {
        let job = self.runner_job(id).await?;
        match self.cancel_job(id).await {
            Ok(()) | Err(VideoError::NotProcessing) => {}
            Err(error) => return Err(error),
        }
        if let JobSpec::Runner(spec) = &job.spec {
            let entered = self.change(&spec.video, |video| {
                let before = video.jobs.len();
                video.jobs.retain(|p| p.id != *id);
                video.jobs.len() != before
            });
            match entered.await {
                Ok(_) | Err(VideoError::NoSuchVideo) => {}
                Err(error) => return Err(error),
            }
        }
        match self.dispatcher.forget(id).await {
            Ok(_) | Err(DispatchError::NoSuchJob) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
