//! What admins see of runners' jobs, and do to them.

use crate::base::QueueId;
use crate::dispatch::DispatchError;
use crate::job::{Job, JobKind, JobSpec};
use crate::store::{JobFilter, JobOrder};

use super::error::VideoError;
use super::model::{VIDEOS, Video};
use super::service::Videos;
use super::view::RunnerJobState;

/// By what jobs are sorted; equals stay in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSort {
    CreatedAt,
    UpdatedAt,
    /// As PeerTube counts: smaller is sooner.
    Priority,
    /// By the contract's numbers.
    State,
    Progress,
}

/// Which jobs an admin wants to see.
#[derive(Debug, Clone)]
pub struct JobQuery {
    /// Empty: all.
    pub kinds: Vec<JobKind>,
    /// Empty: all.
    pub states: Vec<RunnerJobState>,
    /// What id, video or type must hold.
    pub search: String,
    pub sort: JobSort,
    pub descending: bool,
    pub start: usize,
    pub count: usize,
}

/// A part of the list of jobs.
pub struct JobPage {
    /// All that fit.
    pub total: usize,
    pub jobs: Vec<(Job, RunnerJobState)>,
}

impl Videos {
    pub async fn runner_jobs(&self, query: &JobQuery) -> Result<JobPage, VideoError> {
        let kinds = match query.kinds.is_empty() {
            true => JobKind::RUNNER,
            false => &query.kinds,
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
            let found = texts.iter().any(|t| t.contains(&query.search));
            if found && (query.states.is_empty() || query.states.contains(&state)) {
                jobs.push((job, state));
            }
        }
        // Oldest first, and stable.
        jobs.reverse();
        let progress = |job: &Job| job.progress.as_ref().map_or(-1.0, |p| p.percent);
        match query.sort {
            JobSort::CreatedAt => {}
            JobSort::UpdatedAt => jobs.sort_by_key(|(job, _)| job.updated_at),
            JobSort::Priority => jobs.sort_by_key(|(job, _)| std::cmp::Reverse(job.priority)),
            JobSort::State => jobs.sort_by_key(|(_, state)| state.id()),
            JobSort::Progress => {
                jobs.sort_by(|(a, _), (b, _)| progress(a).total_cmp(&progress(b)));
            }
        }
        if query.descending {
            jobs.reverse();
        }
        let total = jobs.len();
        let jobs = jobs.into_iter().skip(query.start).take(query.count);
        let jobs = jobs.collect();
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
