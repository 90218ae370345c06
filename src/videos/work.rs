//! What runners say of the jobs that they have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::base::QueueId;
use crate::dispatch::DispatchError;
use crate::job::runner::{RunnerWork, StudioTask};
use crate::job::{Failure, Job, JobSpec, JobState, Progress, Proof, Refused};
use crate::media::SourceLocator;
use crate::source::WholeSource;

use super::error::VideoError;
use super::files::{Incoming, remove};
use super::model::{Made, Received, VideoSource};
use super::roster::Runner;
use super::service::Videos;
use super::token::{JobToken, digest};

/// Longest reason that is kept, characters: PeerTube's own limit.
const MAX_REASON: usize = 5000;
/// How long what was delivered may be looked at.
const FINISH_WITHIN: std::time::Duration = std::time::Duration::from_secs(3600);

/// By what right a runner speaks of a job.
#[derive(Debug)]
pub enum Right {
    /// It is at work.
    Working(Box<Working>),
    /// What it delivered is being looked at.
    Completing,
    /// Its attempt has ended: `true` = with a result.
    Ended { done: bool, live: bool },
}

/// A job that a runner has.
#[derive(Debug, Clone)]
pub struct Working {
    pub job: Job,
    pub video: String,
    pub work: RunnerWork,
    pub token: JobToken,
    pub(super) runner: i64,
}

/// What a runner may deliver, by the name of the part.
const PARTS: [(&str, &str); 4] = [
    ("payload[videoFile]", "video.mp4"),
    ("payload[resolutionPlaylistFile]", "playlist.m3u8"),
    ("payload[vttFile]", "captions.vtt"),
    ("payload[storyboardFile]", "storyboard.jpg"),
];

/// Files of a delivery that is under way; dropped before it is taken, they are deleted.
#[derive(Debug)]
pub struct Delivered {
    folder: PathBuf,
    name: String,
    files: BTreeSet<&'static str>,
    pub language: Option<String>,
    taken: bool,
}

impl Delivered {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All that the job wants lies in the folder.
    pub(super) fn has_all(&mut self, work: &RunnerWork) {
        self.files.extend(wanted(work));
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        if !self.taken {
            // Missing is what is wanted.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A file that a runner asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputFile {
    /// The source, whole.
    Video,
    Preview,
    Task(String),
}

impl Videos {
    /// Checks job, runner and token together.
    ///
    /// # Errors
    /// `UnknownJob` whatever does not fit.
    pub async fn right(
        &self,
        runner: &Runner,
        id: &QueueId,
        token: &str,
    ) -> Result<Right, VideoError> {
        let job = self.runner_job(id).await?;
        let JobSpec::Runner(spec) = &job.spec else {
            return Err(VideoError::UnknownJob);
        };
        let given: JobToken = token.parse().map_err(|_| VideoError::UnknownJob)?;
        let video = match self.load(&spec.video).await {
            Err(VideoError::NoSuchVideo) => return Err(VideoError::UnknownJob),
            video => video?.value,
        };
        if let Some(received) = video.received.get(id)
            && received.token == given.0
        {
            return Ok(Right::Completing);
        }
        let spent = video.spent.get(id);
        if spent.is_some_and(|spent| *spent == spent_by(runner, given)) {
            return Ok(Right::Ended {
                done: job.state == JobState::Done || video.results.contains_key(id),
                live: spec.work.is_live(),
            });
        }
        let lease = job.lease.as_ref().filter(|l| l.token == given.0);
        let own = lease.is_some_and(|l| l.worker == runner.worker());
        match own {
            true => Ok(Right::Working(Box::new(Working {
                video: spec.video.clone(),
                work: spec.work.clone(),
                token: given,
                runner: runner.number,
                job,
            }))),
            false => Err(VideoError::UnknownJob),
        }
    }

    /// The runner is at work.
    pub async fn update(&self, held: &Working, percent: Option<f64>) -> Result<(), VideoError> {
        let progress = percent.map(|percent| Progress {
            percent,
            message: String::new(),
        });
        let term = self.term(held.work.kind());
        let proof = Proof::Token(held.token.0);
        let renewed = self
            .dispatcher
            .renew_for(&held.job.id, proof, term, progress)
            .await;
        renewed.map(|_| ()).map_err(lost)
    }

    /// The attempt came to nothing.
    pub async fn failed(&self, held: &Working, message: &str) -> Result<(), VideoError> {
        let reason = match message.trim() {
            "" => "the runner gave no reason".to_owned(),
            text => text.chars().take(MAX_REASON).collect(),
        };
        let reason = reason.into();
        let failure = match held.work.is_live() {
            true => Failure::Permanent { reason },
            false => Failure::Transient { reason },
        };
        let proof = Proof::Token(held.token.0);
        let failed = self.dispatcher.fail(&held.job.id, proof, failure).await;
        failed.map_err(lost)?;
        self.note_failure(held.runner, held.work.kind(), &held.job.id);
        Ok(())
    }

    /// The runner gives the job back; a live stream ends with it.
    pub async fn aborted(&self, held: &Working, reason: &str) -> Result<(), VideoError> {
        if held.work.is_live() {
            let text = match reason.trim() {
                "" => "the runner stopped",
                text => text,
            };
            let reason: String = text.chars().take(MAX_REASON).collect();
            let failure = Failure::Permanent {
                reason: reason.into(),
            };
            let proof = Proof::Token(held.token.0);
            let ended = self.dispatcher.fail(&held.job.id, proof, failure).await;
            return ended.map(|_| ()).map_err(lost);
        }
        let proof = Proof::Token(held.token.0);
        let released = self.dispatcher.release(&held.job.id, proof).await;
        released.map(|_| ()).map_err(lost)
    }

    /// Begins to take what a runner delivers.
    pub fn delivery(&self, held: &Working) -> Delivered {
        let name = format!("{}-{}-{}", held.job.id, held.job.attempts, Uuid::new_v4());
        Delivered {
            folder: self.folders.received(&name),
            name,
            files: BTreeSet::new(),
            language: None,
            taken: false,
        }
    }

    /// Where the part `part` of a delivery goes; `None`: nobody wants it.
    pub async fn delivered_file(
        &self,
        delivered: &mut Delivered,
        part: &str,
    ) -> Result<Option<Incoming>, VideoError> {
        let Some((_, file)) = PARTS.iter().find(|(name, _)| *name == part) else {
            return Ok(None);
        };
        delivered.files.insert(file);
        let (path, limit) = (delivered.folder.join(file), self.artifacts.max_bytes());
        Incoming::create(path, limit).await.map(Some)
    }

    /// Takes a delivery that is complete. When this returns it survives the process, and is looked at
    /// later.
    pub async fn deliver(
        self: &std::sync::Arc<Self>,
        held: &Working,
        mut delivered: Delivered,
    ) -> Result<(), VideoError> {
        let id = &held.job.id;
        for file in wanted(&held.work) {
            if !delivered.files.contains(file) {
                let part = PARTS.iter().find(|(_, f)| f == file).map_or("", |(p, _)| p);
                return Err(VideoError::Bad(format!("{part}: is missing")));
            }
        }
        // Keeps what is delivered from being done twice, and tells whether the lease is still held.
        let proof = Proof::Token(held.token.0);
        let renewed = self
            .dispatcher
            .renew_for(id, proof, FINISH_WITHIN, None)
            .await;
        renewed.map_err(lost)?;
        let received = Received {
            token: held.token.0,
            attempt: held.job.attempts,
            folder: delivered.name.clone(),
            language: delivered.language.clone(),
        };
        let entered = self.change(&held.video, |video| {
            video.received.insert(id.clone(), received.clone());
            video.spent.insert(id.clone(), spent_of(held));
            true
        });
        entered.await?;
        delivered.taken = true;
        self.finish_later(&held.video, id);
        Ok(())
    }

    /// A live stream has ended as it should.
    pub(super) async fn live_ended(&self, held: &Working) -> Result<(), VideoError> {
        let id = &held.job.id;
        let entered = self.change(&held.video, |video| {
            video.results.insert(id.clone(), Made::Live);
            video.spent.insert(id.clone(), spent_of(held));
            true
        });
        entered.await?;
        self.settle(id).await
    }

    /// An admin withdraws a job. Who works on a live stream is told to stop at its next word.
    pub async fn cancel_job(&self, id: &QueueId) -> Result<(), VideoError> {
        let job = self.runner_job(id).await?;
        if let (JobSpec::Runner(spec), Some(lease)) = (&job.spec, &job.lease)
            && spec.work.is_live()
            && let Some(number) = Runner::number_of(&lease.worker)
        {
            let spent = spent_by_number(number, JobToken(lease.token));
            let entered = self.change(&spec.video, |video| {
                video.spent.insert(id.clone(), spent.clone());
                true
            });
            entered.await?;
        }
        match self.dispatcher.cancel(id).await {
            Ok(_) => Ok(()),
            Err(DispatchError::Refused(_)) => Err(VideoError::NotProcessing),
            Err(DispatchError::NoSuchJob) => Err(VideoError::UnknownJob),
            Err(error) => Err(error.into()),
        }
    }

    /// A runner did not get the whole of a file: it may never notice, so the job is given to another,
    /// unless it has begun to fetch the file again.
    pub async fn cut_off(&self, held: &Working) {
        let proof = Proof::Token(held.token.0);
        match self.dispatcher.release(&held.job.id, proof).await {
            Ok(_) => tracing::info!(job.id = %held.job.id, "a runner did not get its file"),
            Err(error) => tracing::debug!(%error, "a download was cut off after its job"),
        }
    }

    /// Where a file of a job's input lies.
    ///
    /// # Errors
    /// `NoSuchFile` when `video` is not the job's or the file is not one of its.
    pub async fn input(
        &self,
        held: &Working,
        video: &str,
        file: &InputFile,
    ) -> Result<SourceLocator, VideoError> {
        if held.video != video {
            return Err(VideoError::NoSuchFile);
        }
        let found = self.load(video).await?.value;
        self.place(video, &found.source, &held.work, file).await
    }

    pub(super) async fn place(
        &self,
        video: &str,
        source: &VideoSource,
        work: &RunnerWork,
        file: &InputFile,
    ) -> Result<SourceLocator, VideoError> {
        let folder = self.folders.uploads(video);
        let own = |path: PathBuf| self.folders.locator(path).ok_or(VideoError::NoSuchFile);
        match (file, source) {
            (InputFile::Video, VideoSource::Upload) => own(folder.join(SOURCE)),
            (InputFile::Video, VideoSource::Place { text } | VideoSource::Live { text }) => {
                let resolved = self.opener.resolve(text).await;
                resolved.map_err(VideoError::source("path"))
            }
            (InputFile::Preview, _) => own(folder.join(PREVIEW)),
            (InputFile::Task(name), _) => match work {
                RunnerWork::Studio { tasks } if names(tasks, name) => own(folder.join(name)),
                _ => Err(VideoError::NoSuchFile),
            },
        }
    }

    /// Deletes a delivery that was looked at.
    pub(super) async fn clear_delivery(&self, folder: &Path) {
        remove(folder).await;
    }
}

/// Names of uploaded files.
pub(super) const SOURCE: &str = "source";
pub(super) const PREVIEW: &str = "preview";

fn names(tasks: &[StudioTask], name: &str) -> bool {
    tasks.iter().any(|t| t.file() == Some(name))
}

/// The files that a delivery must have.
fn wanted(work: &RunnerWork) -> &'static [&'static str] {
    match work {
        RunnerWork::Hls { .. } => &["video.mp4", "playlist.m3u8"],
        RunnerWork::WebVideo { .. } | RunnerWork::AudioMerge { .. } | RunnerWork::Studio { .. } => {
            &["video.mp4"]
        }
        RunnerWork::Transcription => &["captions.vtt"],
        RunnerWork::Storyboard { .. } => &["storyboard.jpg"],
        RunnerWork::Live { .. } => &[],
    }
}

fn spent_by_number(runner: i64, token: JobToken) -> String {
    digest(&format!("{runner} {token}"))
}

fn spent_by(runner: &Runner, token: JobToken) -> String {
    spent_by_number(runner.number, token)
}

fn spent_of(held: &Working) -> String {
    spent_by_number(held.runner, held.token)
}

/// The lease was lost between the check and the change: as if it had been before.
pub(super) fn lost(error: DispatchError) -> VideoError {
    match error {
        DispatchError::Refused(Refused::NotYours | Refused::Final(_) | Refused::NotReady(_))
        | DispatchError::NoSuchJob => VideoError::UnknownJob,
        error => error.into(),
    }
}

impl Videos {
    /// Begins to read a file of a job's input.
    ///
    /// # Errors
    /// As [`Videos::input`], and why it cannot be read any more.
    pub async fn open_input(
        &self,
        held: &Working,
        video: &str,
        file: &InputFile,
    ) -> Result<WholeSource, VideoError> {
        let locator = self.input(held, video, file).await?;
        let whole = self.opener.client.whole(&locator).await;
        whole.map_err(|e| VideoError::source("input")(e.into()))
    }

    /// Notes that a runner begins to fetch a file, and says the how-manieth time it is.
    pub fn begins_to_fetch(&self, held: &Working) -> u64 {
        let mut memory = self.memory();
        let count = memory.fetches.entry(held.token.0).or_default();
        *count += 1;
        *count
    }

    /// How often the holder of a job has begun to fetch a file.
    pub fn last_fetch(&self, held: &Working) -> u64 {
        let memory = self.memory();
        memory.fetches.get(&held.token.0).copied().unwrap_or(0)
    }
}
