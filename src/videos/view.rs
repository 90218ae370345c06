//! A video as it is seen from outside.

use crate::base::QueueId;
use crate::base::Resolution;
use crate::hls::{MasterEntry, master_playlist};
use crate::job::runner::RunnerWork;
use crate::job::{Job, JobKind, JobSpec, JobState};

use super::error::VideoError;
use super::model::{Callback, Made, VIDEOS, Video};
use super::service::Videos;

/// Where a video stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoState {
    Pending,
    Processing,
    Done,
    Failed,
}

impl VideoState {
    pub fn name(self) -> &'static str {
        match self {
            VideoState::Pending => "pending",
            VideoState::Processing => "processing",
            VideoState::Done => "done",
            VideoState::Failed => "failed",
        }
    }
}

/// States of jobs by the contract's numbers (section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerJobState {
    Pending = 1,
    Processing = 2,
    Completed = 3,
    Errored = 4,
    WaitingForParent = 5,
    Cancelled = 6,
    Completing = 9,
}

impl RunnerJobState {
    pub const ALL: [RunnerJobState; 7] = [
        RunnerJobState::Pending,
        RunnerJobState::Processing,
        RunnerJobState::Completed,
        RunnerJobState::Errored,
        RunnerJobState::WaitingForParent,
        RunnerJobState::Cancelled,
        RunnerJobState::Completing,
    ];

    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn label(self) -> &'static str {
        match self {
            RunnerJobState::Pending => "Pending",
            RunnerJobState::Processing => "Processing",
            RunnerJobState::Completed => "Completed",
            RunnerJobState::Errored => "Errored",
            RunnerJobState::WaitingForParent => "Waiting for parent job to finish",
            RunnerJobState::Cancelled => "Cancelled",
            RunnerJobState::Completing => "Completing",
        }
    }

    /// Of `job`, whose video is `video`.
    pub fn of(job: &Job, video: Option<&Video>) -> RunnerJobState {
        let received = video.is_some_and(|v| v.received.contains_key(&job.id));
        let made = video.is_some_and(|v| v.results.contains_key(&job.id));
        match job.state {
            // Its result is there before it is done; who read the video before has not seen it.
            JobState::Done if video.is_some() && !made => RunnerJobState::Completing,
            JobState::Done => RunnerJobState::Completed,
            JobState::Failed => RunnerJobState::Errored,
            JobState::Cancelled => RunnerJobState::Cancelled,
            _ if made => RunnerJobState::Completed,
            _ if received => RunnerJobState::Completing,
            JobState::Leased => RunnerJobState::Processing,
            JobState::Ready => RunnerJobState::Pending,
            JobState::Waiting => RunnerJobState::WaitingForParent,
        }
    }
}

/// One job of a video.
pub struct JobView {
    pub job: Job,
    pub work: RunnerWork,
    pub state: RunnerJobState,
    /// Why it failed, or why it waits.
    pub error: Option<String>,
    pub made: Option<Made>,
}

/// A video with its jobs.
pub struct VideoView {
    pub id: String,
    pub video: Video,
    pub created_at: crate::base::UnixMillis,
    pub updated_at: crate::base::UnixMillis,
    pub jobs: Vec<JobView>,
    /// Whether there is a playlist to be played.
    pub has_master: bool,
}

impl VideoView {
    pub fn state(&self) -> VideoState {
        use RunnerJobState as S;
        let any = |states: &[S]| self.jobs.iter().any(|j| states.contains(&j.state));
        if self.video.jobs.is_empty() || any(&[S::Errored, S::Cancelled]) {
            VideoState::Failed
        } else if self.has_all_jobs()
            && !any(&[
                S::Pending,
                S::Processing,
                S::Completing,
                S::WaitingForParent,
            ])
        {
            VideoState::Done
        } else if any(&[S::Processing, S::Completing, S::Completed]) {
            VideoState::Processing
        } else {
            VideoState::Pending
        }
    }

    /// Whether its jobs are all in the queue: they are put there after it is.
    fn has_all_jobs(&self) -> bool {
        let queued = |id: &QueueId| self.jobs.iter().any(|j| j.job.id == *id);
        self.video.jobs.iter().all(|planned| queued(&planned.id))
    }

    /// Whether nothing will come of it any more.
    pub fn has_ended(&self) -> bool {
        use RunnerJobState::{Cancelled, Completed, Errored};
        let mut jobs = self.jobs.iter();
        self.has_all_jobs() && jobs.all(|j| matches!(j.state, Completed | Errored | Cancelled))
    }

    /// Why it failed.
    pub fn error(&self) -> Option<String> {
        if self.video.jobs.is_empty() {
            return Some("all its jobs were deleted".to_owned());
        }
        let failed =
            |j: &&JobView| matches!(j.state, RunnerJobState::Errored | RunnerJobState::Cancelled);
        let job = self.jobs.iter().find(failed)?;
        let kind = job.work.kind().runner_type().unwrap_or_default();
        let why = job.error.as_deref().unwrap_or("it was cancelled");
        Some(format!("{kind}: {why}"))
    }

    /// The playlist over all renditions that are there; `None` when there is none.
    pub fn master(&self) -> Option<String> {
        let mut hls: Vec<&Made> = self.jobs.iter().filter_map(|j| j.made.as_ref()).collect();
        hls.retain(|made| matches!(made, Made::Hls { .. }));
        hls.sort_by_key(|made| match made {
            Made::Hls { bandwidth, .. } => *bandwidth,
            _ => 0,
        });
        let alone = |made: &&&Made| {
            matches!(
                made,
                Made::Hls {
                    video_codec: None,
                    ..
                }
            )
        };
        let pictures = hls.iter().any(|made| !alone(&made));
        // A rendition of sound alone is the sound of those that have none.
        let sound = hls.iter().find(alone).copied().filter(|_| pictures);
        let mut entries = Vec::new();
        if let Some(Made::Hls {
            playlist, channels, ..
        }) = sound
        {
            entries.push(MasterEntry::Audio {
                group: GROUP.into(),
                name: "audio".into(),
                language: None,
                default: true,
                channels: channels.unwrap_or(2),
                uri: playlist.clone(),
            });
        }
        for made in &hls {
            if !(pictures && alone(&made)) {
                entries.extend(variant(made, sound));
            }
        }
        (!entries.is_empty()).then(|| master_playlist(&entries))
    }
}

const GROUP: &str = "audio";

fn variant(made: &Made, sound: Option<&Made>) -> Option<MasterEntry> {
    let Made::Hls {
        playlist,
        bandwidth,
        average_bandwidth,
        video_codec,
        audio_codec,
        width,
        height,
        frame_rate,
        ..
    } = made
    else {
        return None;
    };
    let beside = sound.filter(|_| audio_codec.is_none());
    let (mut peak, mut average, mut own) = (*bandwidth, *average_bandwidth, audio_codec.clone());
    if let Some(Made::Hls {
        bandwidth,
        average_bandwidth,
        audio_codec,
        ..
    }) = beside
    {
        peak += bandwidth;
        average += average_bandwidth;
        own.clone_from(audio_codec);
    }
    let codecs: Vec<String> = video_codec.iter().cloned().chain(own).collect();
    let resolution = Resolution {
        width: *width,
        height: *height,
    };
    Some(MasterEntry::Variant {
        bandwidth: peak,
        average_bandwidth: average,
        codecs: codecs.join(","),
        resolution: video_codec.is_some().then_some(resolution),
        frame_rate: frame_rate.filter(|_| video_codec.is_some()),
        audio_group: beside.map(|_| GROUP.to_owned()),
        subtitle_group: None,
        uri: playlist.clone(),
    })
}

impl Videos {
    /// # Errors
    /// `NoSuchVideo`.
    pub async fn view(&self, id: &str) -> Result<VideoView, VideoError> {
        let found = self.load(id).await?;
        self.viewed(found).await
    }

    /// All videos, oldest first.
    pub async fn list(&self) -> Result<Vec<VideoView>, VideoError> {
        let mut views = Vec::new();
        for found in self.store().documents::<Video>(VIDEOS).await? {
            if !found.value.deleted {
                views.push(self.viewed(found).await?);
            }
        }
        Ok(views)
    }

    async fn viewed(&self, found: crate::store::Document<Video>) -> Result<VideoView, VideoError> {
        let (id, video) = (found.id, found.value);
        let jobs = self.store().owned_by(&id).await?;
        let place = |job: &QueueId| video.jobs.iter().position(|p| p.id == *job);
        let mut jobs: Vec<JobView> = jobs
            .into_iter()
            .filter_map(|job| self.job_view(job, &video))
            .collect();
        jobs.sort_by_key(|j| place(&j.job.id));
        let mut view = VideoView {
            created_at: found.created_at,
            updated_at: found.updated_at,
            has_master: false,
            id,
            video,
            jobs,
        };
        let is_live = view.jobs.iter().any(|j| j.work.is_live());
        view.has_master = match is_live {
            true => self.live_playlist(&view.id, "master.m3u8").await?.is_some(),
            false => view.master().is_some(),
        };
        Ok(view)
    }

    fn job_view(&self, job: Job, video: &Video) -> Option<JobView> {
        let JobSpec::Runner(spec) = &job.spec else {
            return None;
        };
        let state = RunnerJobState::of(&job, Some(video));
        let told = job.error.as_ref();
        let told = told.map(|e| e.as_str().map_or_else(|| e.to_string(), str::to_owned));
        Some(JobView {
            work: spec.work.clone(),
            error: told.or_else(|| self.waits_for(&job, state)),
            made: video.results.get(&job.id).cloned(),
            state,
            job,
        })
    }

    /// Why a job waits although this gateway does what runners leave.
    fn waits_for(&self, job: &Job, state: RunnerJobState) -> Option<String> {
        let fallback = self.settings.local_fallback?;
        let waited = self.now().since(job.updated_at) >= fallback;
        let only_runners = job.spec.kind() == JobKind::VideoTranscription;
        let told = "waits for a runner: this gateway cannot transcribe by itself";
        (waited && only_runners && state == RunnerJobState::Pending).then(|| told.to_owned())
    }

    /// Videos that have ended and whose end somebody is to be told of.
    pub async fn ended_untold(&self) -> Result<Vec<(VideoView, Callback)>, VideoError> {
        let ids: Vec<String> = self.memory().untold.iter().cloned().collect();
        let mut found = Vec::new();
        for id in ids {
            match self.view(&id).await {
                Ok(view) if view.has_ended() => {
                    if let Some(callback) = view.video.callback.clone() {
                        found.push((view, callback));
                    }
                }
                Ok(_) => {}
                Err(VideoError::NoSuchVideo) => {
                    self.memory().untold.remove(&id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The end of the video has been told, or cannot be.
    pub async fn told(&self, id: &str) -> Result<(), VideoError> {
        let noted = self.change(id, |video| match &mut video.callback {
            Some(callback) => {
                callback.told = true;
                true
            }
            None => false,
        });
        noted.await?;
        self.memory().untold.remove(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;
    use crate::job::NewJob;
    use crate::job::runner::RunnerSpec;
    use crate::videos::model::{Planned, VideoFacts, VideoSource};

    fn seen(planned: &[&str], queued: &[(&str, JobState)], made: &[&str]) -> VideoView {
        let id = |id: &str| -> QueueId { id.parse().unwrap() };
        let work = RunnerWork::Transcription;
        let plan = |of: &&str| Planned {
            id: id(of),
            work: work.clone(),
        };
        let video = Video {
            name: String::new(),
            source: VideoSource::Upload,
            facts: VideoFacts::default(),
            jobs: planned.iter().map(plan).collect(),
            thumbnail: None,
            destination: None,
            callback: None,
            received: Default::default(),
            results: made.iter().map(|of| (id(of), Made::Live)).collect(),
            spent: Default::default(),
            deleted: false,
        };
        let view = |(of, state): &(&str, JobState)| {
            let new = NewJob {
                id: id(of),
                priority: 0,
                parents: Vec::new(),
                retry: work.retry_policy(),
                spec: JobSpec::Runner(Box::new(RunnerSpec {
                    video: "v".into(),
                    work: work.clone(),
                })),
            };
            let mut job = Job::new(new, UnixMillis::new(0));
            job.state = *state;
            JobView {
                work: work.clone(),
                state: RunnerJobState::of(&job, Some(&video)),
                error: None,
                made: video.results.get(&job.id).cloned(),
                job,
            }
        };
        VideoView {
            id: "v".into(),
            created_at: UnixMillis::new(0),
            updated_at: UnixMillis::new(0),
            jobs: queued.iter().map(view).collect(),
            has_master: false,
            video,
        }
    }

    #[test]
    fn a_video_is_done_when_all_that_was_planned_is_there() {
        use JobState::{Done, Failed, Ready};
        let stands = |video: VideoView| (video.state(), video.has_ended());
        let pending = (VideoState::Pending, false);
        let processing = (VideoState::Processing, false);
        // It is stored before its jobs are queued.
        assert_eq!(stands(seen(&["a", "b"], &[], &[])), pending);
        assert_eq!(stands(seen(&["a", "b"], &[("a", Ready)], &[])), pending);
        assert_eq!(
            stands(seen(&["a", "b"], &[("a", Done)], &["a"])),
            processing
        );
        // The job was read after its end, and the video before.
        assert_eq!(stands(seen(&["a"], &[("a", Done)], &[])), processing);
        let done = seen(&["a"], &[("a", Done)], &["a"]);
        assert_eq!(stands(done), (VideoState::Done, true));
        let failed = seen(&["a", "b"], &[("a", Done), ("b", Failed)], &["a"]);
        assert_eq!(stands(failed), (VideoState::Failed, true));
        let bare = seen(&[], &[], &[]);
        assert!(bare.error().is_some());
        assert_eq!(stands(bare), (VideoState::Failed, true));
    }
}
