//! Looking at what was delivered, and entering it as a result.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::artifact::{ArtifactError, ArtifactName};
use crate::base::QueueId;
use crate::dispatch::DispatchError;
use crate::hls::SingleFile;
use crate::job::Failure;
use crate::job::runner::RunnerWork;
use crate::media::SourceProbe;
use crate::package::{TrackMedia, header_tracks};

use super::error::VideoError;
use super::model::{Made, Received};
use super::roster::Runner;
use super::service::Videos;

/// Pause before a delivery is looked at again, after trouble of our own.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Largest playlist and header that are read.
const MAX_PLAYLIST_BYTES: u64 = 32 << 20;
const MAX_HEADER_BYTES: u64 = 4 << 20;
/// Bytes of a file that are copied at a time.
const CHUNK: usize = 256 * 1024;

/// A delivery that is not what it should be.
enum Unfit {
    /// It is the runner's fault.
    Runner(String),
    /// It is ours, and may pass.
    Ours(VideoError),
}

impl From<ArtifactError> for Unfit {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::TooLarge(_) | ArtifactError::Empty => Unfit::Runner(error.to_string()),
            error => Unfit::Ours(error.into()),
        }
    }
}

impl Videos {
    /// Looks at a delivery in a task of its own; once, however often it is asked for.
    pub(super) fn finish_later(self: &Arc<Self>, video: &str, job: &QueueId) {
        if !self.memory().finishing.insert(job.clone()) {
            return;
        }
        let (videos, video, job) = (self.clone(), video.to_owned(), job.clone());
        self.tracker.spawn(async move {
            let cancel = videos.cancel.clone();
            let work = async {
                while let Err(error) = videos.finish(&video, &job).await {
                    tracing::warn!(job.id = %job, %error, "a delivery cannot be stored yet");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            };
            cancel.run_until_cancelled(work).await;
            videos.memory().finishing.remove(&job);
        });
    }

    /// # Errors
    /// Trouble of our own: the delivery is still there.
    async fn finish(&self, video: &str, job: &QueueId) -> Result<(), VideoError> {
        let found = match self.load(video).await {
            Err(VideoError::NoSuchVideo) => return Ok(()),
            found => found?.value,
        };
        let (Some(received), Some(planned)) = (found.received.get(job), found.planned(job)) else {
            return Ok(());
        };
        let folder = self.folders.received(&received.folder);
        let (kind, runner) = (planned.work.kind(), self.who_delivered(job).await?);
        let made = self
            .make(video, job, &planned.work, received, &folder)
            .await;
        let entered = match made {
            Err(Unfit::Ours(error)) => return Err(error),
            Ok(made) => {
                if let Some(number) = runner {
                    self.note_success(number, kind);
                }
                self.enter(video, job, &made).await
            }
            Err(Unfit::Runner(reason)) => {
                if let Some(number) = runner {
                    self.note_failure(number, kind, job);
                }
                self.refuse(video, job, &reason).await
            }
        };
        match entered {
            Ok(()) | Err(VideoError::NoSuchVideo) => {}
            Err(error) => return Err(error),
        }
        self.clear_delivery(&folder).await;
        Ok(())
    }

    /// Number of the runner whose delivery is looked at; `None`: it is no runner's.
    async fn who_delivered(&self, job: &QueueId) -> Result<Option<i64>, VideoError> {
        let worker = match self.dispatcher.get(job).await {
            Err(DispatchError::NoSuchJob) => None,
            job => job?.worker,
        };
        Ok(worker.as_ref().and_then(Runner::number_of))
    }

    async fn enter(&self, video: &str, job: &QueueId, made: &Made) -> Result<(), VideoError> {
        let entered = self.change(video, |video| {
            video.received.remove(job);
            video.results.insert(job.clone(), made.clone());
            true
        });
        entered.await?;
        tracing::info!(job.id = %job, video, "a result is there");
        self.settle(job).await
    }

    async fn refuse(&self, video: &str, job: &QueueId, reason: &str) -> Result<(), VideoError> {
        tracing::warn!(job.id = %job, reason, "what a runner delivered is of no use");
        let entered = self.change(video, |video| {
            video.received.remove(job);
            video.spent.remove(job);
            true
        });
        entered.await?;
        let failure = Failure::Transient {
            reason: reason.into(),
        };
        match self
            .dispatcher
            .fail(job, crate::job::Proof::Word, failure)
            .await
        {
            Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn make(
        &self,
        video: &str,
        job: &QueueId,
        work: &RunnerWork,
        received: &Received,
        folder: &Path,
    ) -> Result<Made, Unfit> {
        let stem = format!("{job}-{}", received.attempt);
        let place = Place {
            videos: self,
            video,
            stem: &stem,
            folder,
        };
        match work {
            RunnerWork::Hls { rendition } => place.hls(rendition.resolution).await,
            RunnerWork::WebVideo { .. }
            | RunnerWork::AudioMerge { .. }
            | RunnerWork::Studio { .. } => {
                place.probe("video.mp4").await?;
                let (file, size_bytes) = place.keep("video.mp4", "mp4").await?;
                Ok(Made::File { file, size_bytes })
            }
            RunnerWork::Transcription => {
                let text = place.read("captions.vtt", MAX_PLAYLIST_BYTES).await?;
                if !text.trim_start_matches('\u{feff}').starts_with("WEBVTT") {
                    return Err(Unfit::Runner("the captions are no WebVTT".into()));
                }
                let (file, _) = place.keep("captions.vtt", "vtt").await?;
                let given = received.language.clone().unwrap_or_default();
                let language = match is_language(&given) {
                    true => given,
                    false => "und".to_owned(),
                };
                Ok(Made::Captions { file, language })
            }
            RunnerWork::Storyboard { .. } => {
                let start = place.start("storyboard.jpg", 3).await?;
                if start[..] != [0xff, 0xd8, 0xff] {
                    return Err(Unfit::Runner("the storyboard is no JPEG".into()));
                }
                let (file, _) = place.keep("storyboard.jpg", "jpg").await?;
                Ok(Made::Storyboard { file })
            }
            RunnerWork::Live { .. } => Ok(Made::Live),
        }
    }
}

/// As BCP 47 allows, roughly: what can stand in a playlist and an address.
fn is_language(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (2..=35).contains(&text.len()) && text.chars().all(plain)
}

/// A delivery, and where it goes.
struct Place<'a> {
    videos: &'a Videos,
    video: &'a str,
    /// Names of its artifacts begin like this.
    stem: &'a str,
    folder: &'a Path,
}

impl Place<'_> {
    async fn hls(&self, resolution: u32) -> Result<Made, Unfit> {
        let unfit = |e: &dyn std::fmt::Display| Unfit::Runner(e.to_string());
        let probe = self.probe("video.mp4").await?;
        let size = tokio::fs::metadata(self.folder.join("video.mp4")).await;
        let size = size.map_err(|e| Unfit::Ours(VideoError::disk(e)))?.len();
        let text = self.read("playlist.m3u8", MAX_PLAYLIST_BYTES).await?;
        let list = SingleFile::parse(&text, size).map_err(|e| unfit(&e))?;
        let header_end = list.init.offset.saturating_add(list.init.length);
        if header_end > MAX_HEADER_BYTES {
            return Err(Unfit::Runner("the header of the file is too large".into()));
        }
        let header = self.start("video.mp4", header_end).await?;
        let header = header.get(list.init.offset as usize..).unwrap_or_default();
        let tracks = header_tracks(header)
            .ok_or_else(|| unfit(&"the header of the file is not that of fragmented MP4"))?;
        let codec = |video: bool| {
            let of =
                |(media, _): &&(TrackMedia, _)| matches!(media, TrackMedia::Video { .. }) == video;
            tracks.iter().find(of)
        };
        let (width, height) = match codec(true) {
            Some((TrackMedia::Video { width, height }, _)) => {
                (u32::from(*width), u32::from(*height))
            }
            _ if resolution == 0 => (0, 0),
            _ => return Err(unfit(&"the file has no pictures")),
        };
        let rate = probe
            .main_video()
            .and_then(|v| v.average_rate.or(v.base_rate));
        let (file, _) = self.keep("video.mp4", "mp4").await?;
        let playlist = self.keep_text("m3u8", list.text(&file)).await?;
        let (bandwidth, average_bandwidth) = list.bandwidth();
        Ok(Made::Hls {
            bandwidth,
            average_bandwidth,
            video_codec: codec(true).map(|(_, c)| c.codec_string()),
            audio_codec: codec(false).map(|(_, c)| c.codec_string()),
            width,
            height,
            frame_rate: rate.map(|r| r.as_f64()),
            channels: codec(false).and_then(|(media, _)| match media {
                TrackMedia::Audio { channels, .. } => Some(u32::from(*channels)),
                TrackMedia::Video { .. } => None,
            }),
            file,
            playlist,
        })
    }

    /// What the file is; not media is the runner's fault.
    async fn probe(&self, file: &str) -> Result<SourceProbe, Unfit> {
        let locator = self.videos.folders.locator(self.folder.join(file));
        let locator = locator.ok_or(Unfit::Ours(VideoError::NoSuchFile))?;
        let facts = self.videos.opener.facts_without_index(&locator).await;
        let facts = facts.map_err(VideoError::source("what was delivered"));
        let facts = facts.map_err(|error| match error.may_pass() {
            true => Unfit::Ours(error),
            false => Unfit::Runner(error.to_string()),
        })?;
        match facts.probe.main_video().is_some() || facts.probe.main_audio().is_some() {
            true => Ok(facts.probe.clone()),
            false => Err(Unfit::Runner(
                "what was delivered holds nothing to play".into(),
            )),
        }
    }

    async fn open(&self, file: &str) -> Result<tokio::fs::File, Unfit> {
        match tokio::fs::File::open(self.folder.join(file)).await {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Unfit::Runner("what was delivered is lost".into()))
            }
            Err(error) => Err(Unfit::Ours(VideoError::disk(error))),
        }
    }

    /// The first bytes of a file, at most `limit`.
    async fn start(&self, file: &str, limit: u64) -> Result<Vec<u8>, Unfit> {
        let mut bytes = Vec::new();
        let mut reader = self.open(file).await?.take(limit);
        let read = reader.read_to_end(&mut bytes).await;
        read.map_err(|e| Unfit::Ours(VideoError::disk(e)))?;
        Ok(bytes)
    }

    async fn read(&self, file: &str, limit: u64) -> Result<String, Unfit> {
        let bytes = self.start(file, limit).await?;
        String::from_utf8(bytes)
            .map_err(|_| Unfit::Runner("a text that was delivered is no UTF-8".into()))
    }

    fn name(&self, extension: &str) -> Result<ArtifactName, Unfit> {
        let owner = self.video.parse();
        let name = owner.and_then(|o| ArtifactName::new(o, &format!("{}.{extension}", self.stem)));
        name.map_err(|_| Unfit::Ours(VideoError::NoSuchFile))
    }

    async fn keep(&self, file: &str, extension: &str) -> Result<(String, u64), Unfit> {
        let name = self.name(extension)?;
        let mut from = self.open(file).await?;
        let mut upload = self.videos.artifacts.upload(&name).await?;
        loop {
            let mut buffer = bytes::BytesMut::with_capacity(CHUNK);
            match from.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) => {
                    if let Err(error) = upload.write(buffer.freeze()).await {
                        upload.abort().await?;
                        return Err(error.into());
                    }
                }
                Err(error) => {
                    upload.abort().await?;
                    return Err(Unfit::Ours(VideoError::disk(error)));
                }
            }
        }
        let uploaded = upload.finish().await?;
        Ok((name.file().to_owned(), uploaded.size_bytes))
    }

    async fn keep_text(&self, extension: &str, text: String) -> Result<String, Unfit> {
        let name = self.name(extension)?;
        let mut upload = self.videos.artifacts.upload(&name).await?;
        upload.write(Bytes::from(text)).await?;
        upload.finish().await?;
        Ok(name.file().to_owned())
    }
}
