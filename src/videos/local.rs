//! Jobs that no runner takes, done by this gateway (`peertube.local_fallback_seconds`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::base::WorkerId;
use crate::dispatch::DispatchError;
use crate::ffmpeg::{Process, picture_command};
use crate::job::runner::{RunnerWork, StudioTask};
use crate::job::{Failure, Job, JobKind, JobSpec, Proof};
use crate::media::SourceLocator;
use crate::plan::Invocation;
use crate::plan::runner::{
    Joined, Kinds, audio_merge, cut, hls_rendition, join, storyboard, watermark, web_video,
};
use crate::session::SessionError;
use crate::source::{GateGuard, InputOptions};
use crate::store::Wanted;

use super::error::VideoError;
use super::files::remove;
use super::model::{Video, VideoFacts};
use super::service::Videos;
use super::token::JobToken;
use super::work::{InputFile, PREVIEW, Working};

/// How often this gateway looks for work that has waited long enough.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after trouble with the store.
const TROUBLE: Duration = Duration::from_secs(5);
/// Jobs that are looked at for one that has waited long enough.
const LOOK_AT: u32 = 50;
/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// Number of this gateway among runners: none of them has it.
const NO_RUNNER: i64 = 0;

/// What this gateway cannot do is left to runners.
fn able() -> Vec<JobKind> {
    let all = JobKind::RUNNER.iter().copied();
    all.filter(|k| *k != JobKind::VideoTranscription).collect()
}

fn trouble(error: &VideoError) -> SessionError {
    SessionError::Encoder(error.to_string())
}

impl Videos {
    /// Works until the gateway stops.
    pub(super) async fn work_locally(self: Arc<Self>, after: Duration) {
        let worker = WorkerId::new(self.settings.worker_name.as_str());
        let cancel = self.cancel.clone();
        loop {
            let pause = match self.take_one(&worker, after).await {
                Ok(Some(job)) => {
                    self.do_job(job).await;
                    Duration::ZERO
                }
                Ok(None) => LOOK_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for jobs that no runner takes");
                    TROUBLE
                }
            };
            let rest = tokio::time::sleep(pause);
            if cancel.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }

    async fn take_one(
        &self,
        worker: &WorkerId,
        after: Duration,
    ) -> Result<Option<Job>, DispatchError> {
        let wanted = Wanted {
            kinds: able(),
            codecs: None,
        };
        let now = self.now();
        for job in self.dispatcher.offers(worker, &wanted, LOOK_AT).await? {
            if now.since(job.updated_at) < after {
                continue;
            }
            match self.dispatcher.accept(&job.id, worker).await {
                Ok(job) => return Ok(Some(job)),
                // A runner was faster.
                Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn do_job(self: &Arc<Self>, job: Job) {
        let (JobSpec::Runner(spec), Some(lease)) = (&job.spec, &job.lease) else {
            return;
        };
        tracing::info!(job.id = %job.id, "no runner takes a job: it is done here");
        let held = Working {
            video: spec.video.clone(),
            work: spec.work.clone(),
            token: JobToken(lease.token),
            runner: NO_RUNNER,
            job: job.clone(),
        };
        let stop = self.cancel.child_token();
        let (percent, told) = tokio::sync::watch::channel(0.0);
        let made = {
            let making = self.make_locally(&held, &percent, &stop);
            tokio::pin!(making);
            tokio::select! {
                made = &mut making => made,
                () = self.keep_lease(&held, told) => {
                    stop.cancel();
                    // The encoder ends first.
                    let _ = making.await;
                    return;
                }
            }
        };
        let proof = Proof::Token(held.token.0);
        let reported = match made {
            Ok(()) => return,
            Err(SessionError::Cancelled) if self.cancel.is_cancelled() && !held.work.is_live() => {
                self.dispatcher.release(&job.id, proof).await
            }
            Err(error) => {
                tracing::info!(job.id = %job.id, %error, "an attempt of our own failed");
                let reason = error.to_string().into();
                let failure = match held.work.is_live() {
                    true => Failure::Permanent { reason },
                    false => Failure::Transient { reason },
                };
                self.dispatcher.fail(&job.id, proof, failure).await
            }
        };
        if let Err(error) = reported {
            tracing::debug!(job.id = %job.id, %error, "a job was lost meanwhile");
        }
    }

    /// Renews the lease until it is lost.
    async fn keep_lease(&self, held: &Working, told: tokio::sync::watch::Receiver<f64>) {
        let third = (self.dispatcher.settings().lease / 3).max(Duration::from_millis(100));
        loop {
            tokio::time::sleep(third).await;
            let percent = *told.borrow();
            let progress = crate::job::Progress {
                percent,
                message: String::new(),
            };
            let proof = Proof::Token(held.token.0);
            let renewed = self.dispatcher.renew(&held.job.id, proof, Some(progress));
            match renewed.await {
                Ok(_) => {}
                Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => return,
                Err(error) => tracing::warn!(%error, "cannot renew a lease"),
            }
        }
    }

    async fn make_locally(
        self: &Arc<Self>,
        held: &Working,
        percent: &tokio::sync::watch::Sender<f64>,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        let video = self.load(&held.video).await.map_err(|e| trouble(&e))?.value;
        let source = self.place(&held.video, &video.source, &held.work, &InputFile::Video);
        let source = source.await.map_err(|e| match e {
            VideoError::Source { cause, .. } => cause,
            error => trouble(&error),
        })?;
        let mut delivered = self.delivery(held);
        let folder = self.folders.received(delivered.name());
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|e| trouble(&VideoError::disk(e)))?;
        let bench = Bench {
            videos: self,
            video: &video,
            uploads: self.folders.uploads(&held.video),
            folder,
            percent,
            stop,
        };
        match &held.work {
            RunnerWork::Live { renditions, .. } => {
                bench.live(held, &source, renditions).await?;
                return self.live_done(held).await.map_err(|e| trouble(&e));
            }
            work => bench.make(work, &source).await?,
        }
        delivered.has_all(&held.work);
        self.deliver(held, delivered).await.map_err(|e| trouble(&e))
    }
}

/// Where a job is done.
pub(super) struct Bench<'a> {
    pub(super) videos: &'a Arc<Videos>,
    pub(super) video: &'a Video,
    pub(super) uploads: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) percent: &'a tokio::sync::watch::Sender<f64>,
    pub(super) stop: &'a CancellationToken,
}

impl Bench<'_> {
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    pub(super) fn preset(&self) -> &str {
        &self.videos.opener.plan.video_preset
    }

    fn kinds(&self) -> Kinds {
        let facts = &self.video.facts;
        Kinds {
            pictures: facts.has_pictures(),
            sound: facts.has_audio,
            portrait: facts.width < facts.height,
        }
    }

    async fn make(&self, work: &RunnerWork, source: &SourceLocator) -> Result<(), SessionError> {
        let (preset, kinds) = (self.preset(), self.kinds());
        let video = self.file("video.mp4");
        let length = self.video.facts.duration_seconds.unwrap_or(0.0);
        match work {
            RunnerWork::Hls { rendition } => {
                let list = self.file("playlist.m3u8");
                let run = hls_rendition(*rendition, kinds, preset, &video, &list);
                self.run(source, None, &run, length).await
            }
            RunnerWork::WebVideo { rendition } => {
                let run = web_video(*rendition, kinds, preset, &video);
                self.run(source, None, &run, length).await
            }
            RunnerWork::AudioMerge { rendition } => {
                let picture = self.picture(self.uploads.join(PREVIEW)).await?;
                let run = audio_merge(*rendition, preset, length, &video);
                self.run(source, Some(picture), &run, length).await
            }
            RunnerWork::Studio { tasks } => self.edit(source, tasks).await,
            RunnerWork::Storyboard { sheet } => {
                let run = storyboard(*sheet, &self.file("storyboard.jpg"));
                self.run(source, None, &run, length).await
            }
            RunnerWork::Live { .. } | RunnerWork::Transcription => {
                let text = "this gateway cannot do that by itself";
                Err(SessionError::Encoder(text.to_owned()))
            }
        }
    }

    async fn picture(&self, path: PathBuf) -> Result<InputOptions, SessionError> {
        let picture = self.videos.picture(path).await.map_err(|e| trouble(&e))?;
        picture.ok_or_else(|| SessionError::Encoder("a picture cannot be read".into()))
    }

    /// One step after the other, each on what the one before made.
    async fn edit(&self, source: &SourceLocator, tasks: &[StudioTask]) -> Result<(), SessionError> {
        let mut current = source.clone();
        let preset = self.preset();
        for (nth, task) in tasks.iter().enumerate() {
            let made = self.folder.join(format!("step-{nth}.mp4"));
            let name = made.to_string_lossy().into_owned();
            let facts = self.facts(&current).await?;
            let length = facts.duration_seconds.unwrap_or(0.0);
            match task {
                StudioTask::Cut { start, end } => {
                    let run = cut(*start, *end, preset, &name);
                    self.run(&current, None, &run, length).await?;
                }
                StudioTask::AddIntro { file } | StudioTask::AddOutro { file } => {
                    let other = self.own(self.uploads.join(file))?;
                    let more = self.facts(&other).await?;
                    let film = Joined {
                        width: facts.width,
                        height: facts.height,
                        fps: facts.fps.unwrap_or(25.0),
                        seconds: [length, more.duration_seconds.unwrap_or(0.0)],
                        sound: [facts.has_audio, more.has_audio],
                    };
                    let intro = matches!(task, StudioTask::AddIntro { .. });
                    let run = join(film, intro, preset, &name);
                    let (second, _gate) = self.videos.opener.input(&other)?;
                    let all = length + film.seconds[1];
                    self.run(&current, Some(second), &run, all).await?;
                }
                StudioTask::AddWatermark {
                    file,
                    watermark_size_ratio,
                    horizontal_margin_ratio,
                    vertical_margin_ratio,
                } => {
                    let picture = self.picture(self.uploads.join(file)).await?;
                    let run = watermark(
                        watermark_size_ratio.clamp(0.01, 1.0),
                        horizontal_margin_ratio.clamp(0.0, 1.0),
                        vertical_margin_ratio.clamp(0.0, 1.0),
                        preset,
                        &name,
                    );
                    self.run(&current, Some(picture), &run, length).await?;
                }
            }
            current = self.own(made)?;
        }
        let last = self
            .folder
            .join(format!("step-{}.mp4", tasks.len().saturating_sub(1)));
        let renamed = tokio::fs::rename(last, self.folder.join("video.mp4")).await;
        renamed.map_err(|e| trouble(&VideoError::disk(e)))
    }

    fn own(&self, path: PathBuf) -> Result<SourceLocator, SessionError> {
        let locator = self.videos.folders.locator(path);
        locator.ok_or_else(|| SessionError::Encoder("a file is not where it should be".into()))
    }

    async fn facts(&self, locator: &SourceLocator) -> Result<VideoFacts, SessionError> {
        let facts = self.videos.opener.facts_without_index(locator).await?;
        Ok(super::intake::facts_of(&facts.probe))
    }

    /// Runs ffmpeg to its end; `seconds` of media are made.
    async fn run(
        &self,
        source: &SourceLocator,
        second: Option<InputOptions>,
        invocation: &Invocation,
        seconds: f64,
    ) -> Result<(), SessionError> {
        let (input, gate) = self.videos.opener.input(source)?;
        let process = self.start(&input, second.as_ref(), invocation).await?;
        let stall = self.videos.settings.encoder_stall;
        let mut reports = process.progress.clone();
        let (mut heard, mut before) = (Instant::now(), 0);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    process.stop();
                    process.wait().await;
                    return Err(SessionError::Cancelled);
                }
                () = tokio::time::sleep_until(heard + stall) => {
                    process.stop();
                    process.wait().await;
                    let text = format!("no progress for {} s", stall.as_secs());
                    return Err(SessionError::Encoder(text));
                }
                changed = reports.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let at = reports.borrow_and_update().time_us;
                    if at != before {
                        (heard, before) = (Instant::now(), at);
                    }
                    if seconds > 0.0 {
                        let share = at as f64 / 1e6 / seconds * 100.0;
                        self.percent.send_replace(share.clamp(0.0, 99.0));
                    }
                }
            }
        }
        self.ended(process, &input, gate.as_ref()).await
    }

    pub(super) async fn start(
        &self,
        input: &InputOptions,
        second: Option<&InputOptions>,
        invocation: &Invocation,
    ) -> Result<Process, SessionError> {
        let opener = &self.videos.opener;
        let mut command = picture_command(&opener.tools, input, second, invocation);
        command.arg("-y");
        Ok(Process::spawn(&opener.launcher, command, GRACE).await?)
    }

    pub(super) async fn ended(
        &self,
        process: Process,
        input: &InputOptions,
        gate: Option<&GateGuard>,
    ) -> Result<(), SessionError> {
        let exit = process.wait().await;
        if exit.success() {
            return Ok(());
        }
        let seen = gate.and_then(|g| crate::session::source_trouble(g.report()));
        if let Some(seen) = seen {
            return Err(seen);
        }
        let folder = self.folder.to_string_lossy();
        let secrets = [input.url.to_str().unwrap_or_default(), folder.as_ref()];
        let reason = exit.log.reason(&secrets);
        let reason = reason.map(|r| hidden(&r, input, &self.folder));
        Err(SessionError::Encoder(
            reason.unwrap_or_else(|| "ffmpeg gave no reason".to_owned()),
        ))
    }

    pub(super) async fn clear(&self) {
        remove(&self.folder).await;
    }
}

/// No path of this machine in a text for users.
fn hidden(reason: &str, input: &InputOptions, folder: &Path) -> String {
    let file = input.url.to_string_lossy();
    let reason = reason.replace(file.trim_start_matches("file:"), "the source");
    reason.replace(folder.to_string_lossy().as_ref(), "the result")
}
