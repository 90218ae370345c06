//! Taking a video: what it is, what is to be made of it, its picture, its jobs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use url::Url;
use uuid::Uuid;

use crate::artifact::ArtifactName;
use crate::base::QueueId;
use crate::job::runner::{Rendition, RunnerWork, Storyboard, StudioTask, fps_for, renditions};
use crate::media::query::{Fit, PictureFormat, Position, ThumbQuery};
use crate::media::{SourceLocator, SourceProbe};
use crate::queries::Query;
use crate::source::{InputOptions, picture_input_options};

use super::error::VideoError;
use super::files::{Incoming, StoredFile};
use super::model::{Callback, Planned, VIDEOS, Video, VideoFacts, VideoSource};
use super::service::Videos;
use super::work::{PREVIEW, SOURCE};

/// What is to be made, as the client wrote it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    pub name: Option<String>,
    /// Comma list; empty = HLS.
    pub jobs: Option<String>,
    /// Comma list of pixels.
    pub resolutions: Option<String>,
    /// Most pictures a second.
    pub fps: Option<String>,
    /// JSON: the steps of an edit.
    pub tasks: Option<String>,
    pub destination: Option<String>,
    pub callback_url: Option<String>,
}

/// Where the source is.
#[derive(Debug, Clone)]
pub enum Given {
    /// The file that came as this part.
    Part(String),
    /// A path or URL, as the client named it.
    Place(String),
    Live(String),
}

/// A video that is being taken; dropped before it is, its files are deleted.
pub struct Submission {
    id: String,
    folder: std::path::PathBuf,
    limit: u64,
    /// By the name of the part.
    files: BTreeMap<String, StoredFile>,
    taken: bool,
}

impl Drop for Submission {
    fn drop(&mut self) {
        if !self.taken {
            // Missing is what is wanted.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Longest name, characters; and most files of one submission.
const MAX_NAME: usize = 255;
const MAX_FILES: usize = 32;
/// What a video of a sound and a picture has, as PeerTube's.
const MERGED_SIDE: u32 = 480;
/// Sides and rates that may be asked for.
const SIDES: std::ops::RangeInclusive<u32> = 16..=8192;
const RATES: std::ops::RangeInclusive<u32> = 1..=240;
/// Width of the picture of a video, as PeerTube's.
const THUMBNAIL: Fit = Fit {
    width: Some(850),
    height: Some(480),
    upscale: false,
};
/// How a JPEG begins.
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
/// Bytes of a picture that tell its format, and the largest one that is taken.
const MAGIC_BYTES: u64 = 16;
const MAX_PICTURE_BYTES: u64 = 16 << 20;
const THUMBNAIL_FILE: &str = "thumbnail.jpg";

fn bad(text: impl Into<String>) -> VideoError {
    VideoError::Bad(text.into())
}

impl Submission {
    /// Where the part `part` is written to.
    pub async fn file(&self, part: &str) -> Result<Incoming, VideoError> {
        if self.files.len() >= MAX_FILES {
            return Err(bad(format!("{part}: more than {MAX_FILES} files")));
        }
        let path = self.folder.join(format!("part-{}", self.files.len()));
        Incoming::create(path, self.limit).await
    }

    pub fn keep(&mut self, part: &str, file: StoredFile) {
        self.files.insert(part.to_owned(), file);
    }

    pub fn has(&self, part: &str) -> bool {
        self.files.contains_key(part)
    }

    /// A file that is already there, as a part. It stays where it is until the video is taken, where the
    /// file system allows that.
    pub async fn adopt(&mut self, part: &str, from: &Path) -> Result<(), VideoError> {
        let made = tokio::fs::create_dir_all(&self.folder).await;
        made.map_err(VideoError::disk)?;
        let path = self.folder.join(format!("part-{}", self.files.len()));
        if tokio::fs::hard_link(from, &path).await.is_err() {
            let moved = tokio::fs::rename(from, &path).await;
            moved.map_err(VideoError::disk)?;
        }
        let size_bytes = tokio::fs::metadata(&path).await;
        let size_bytes = size_bytes.map_err(VideoError::disk)?.len();
        self.keep(part, StoredFile { path, size_bytes });
        Ok(())
    }

    async fn rename(&self, part: &str, to: &str) -> Result<(), VideoError> {
        let missing = || bad(format!("{part}: is missing"));
        let file = self.files.get(part).ok_or_else(missing)?;
        if file.size_bytes == 0 {
            return Err(bad(format!("{part}: is empty")));
        }
        let renamed = tokio::fs::rename(&file.path, self.folder.join(to)).await;
        renamed.map_err(VideoError::disk)
    }
}

impl Videos {
    /// Begins to take a video.
    pub fn submission(&self) -> Submission {
        self.submission_as(Uuid::new_v4())
    }

    /// Begins to take the video that is to have this id.
    pub(super) fn submission_as(&self, id: Uuid) -> Submission {
        let id = id.to_string();
        Submission {
            folder: self.folders.uploads(&id),
            id,
            limit: self.settings.max_upload_bytes,
            files: BTreeMap::new(),
            taken: false,
        }
    }

    /// Takes a video; when this returns its id, the video survives the process.
    ///
    /// # Errors
    /// What is missing, unreadable or not known, by its field.
    pub async fn submit(
        self: &Arc<Self>,
        mut submission: Submission,
        given: Given,
        order: &Order,
        base: &str,
    ) -> Result<String, VideoError> {
        let id = submission.id.clone();
        let wanted = Wanted::read(order, self)?;
        let callback = callback(order.callback_url.as_deref(), base)?;
        let destination = order.destination.clone().filter(|d| !d.is_empty());
        if destination.as_deref().is_some_and(|d| !is_destination(d)) {
            return Err(bad("destination: must be a relative path without '..'"));
        }
        let (source, field) = match &given {
            Given::Part(part) => {
                submission.rename(part, SOURCE).await?;
                (VideoSource::Upload, "videoFile")
            }
            Given::Place(text) => (VideoSource::Place { text: text.clone() }, "path"),
            Given::Live(text) => (VideoSource::Live { text: text.clone() }, "source"),
        };
        let tasks = self.tasks(&submission, order, &wanted).await?;
        if wanted.jobs.contains(&Job::AudioMerge) {
            submission.rename("previewFile", PREVIEW).await?;
            self.check_picture(&submission).await?;
        }
        let locator = match &source {
            VideoSource::Upload => {
                let path = submission.folder.join(SOURCE);
                self.folders.locator(path).ok_or(VideoError::NoSuchFile)?
            }
            VideoSource::Place { text } | VideoSource::Live { text } => {
                let resolved = self.opener.resolve(text).await;
                resolved.map_err(VideoError::source(field))?
            }
        };
        let mut video = Video {
            name: name(order.name.as_deref(), &given),
            facts: VideoFacts::default(),
            jobs: Vec::new(),
            thumbnail: None,
            destination,
            callback,
            received: BTreeMap::new(),
            results: BTreeMap::new(),
            spent: BTreeMap::new(),
            deleted: false,
            source,
        };
        let works = match &video.source {
            VideoSource::Live { text } => {
                if matches!(locator, SourceLocator::File(_)) {
                    return Err(bad(
                        "source: a live source is a URL (rtmp, rtsp, srt, http)",
                    ));
                }
                vec![RunnerWork::Live {
                    source: text.clone(),
                    renditions: wanted.live(),
                }]
            }
            _ => {
                let facts = self.opener.facts_without_index(&locator).await;
                let facts = facts.map_err(VideoError::source(field))?;
                video.facts = facts_of(&facts.probe);
                let works = wanted.works(&video.facts, tasks)?;
                video.thumbnail = self.thumbnail(&submission, &video.facts, locator).await?;
                works
            }
        };
        video.jobs = works
            .into_iter()
            .map(|work| Planned {
                id: crate::base::JobId::random().into(),
                work,
            })
            .collect();
        let now = self.now();
        if video.callback.is_some() {
            self.memory().untold.insert(id.clone());
        }
        self.store()
            .insert_document(VIDEOS, &id, &video, now)
            .await?;
        submission.taken = true;
        self.submit_jobs(&id, &video).await?;
        tracing::info!(video = id, jobs = video.jobs.len(), "a video is taken");
        Ok(id)
    }

    /// Whether what was sent along is a picture.
    async fn check_picture(&self, submission: &Submission) -> Result<(), VideoError> {
        let path = submission.folder.join(PREVIEW);
        let size = tokio::fs::metadata(&path)
            .await
            .map_err(VideoError::disk)?
            .len();
        if size > MAX_PICTURE_BYTES {
            return Err(bad(format!(
                "previewFile: is larger than {MAX_PICTURE_BYTES} bytes"
            )));
        }
        match self.picture(path).await? {
            Some(_) => Ok(()),
            None => Err(bad("previewFile: is no picture (JPEG, PNG, WebP)")),
        }
    }

    /// How ffmpeg reads the picture at `path`; `None`: it is none.
    pub(super) async fn picture(
        &self,
        path: std::path::PathBuf,
    ) -> Result<Option<InputOptions>, VideoError> {
        let mut start = Vec::new();
        let file = tokio::fs::File::open(&path)
            .await
            .map_err(VideoError::disk)?;
        let read = file.take(MAGIC_BYTES).read_to_end(&mut start).await;
        read.map_err(VideoError::disk)?;
        let locator = self.folders.locator(path).ok_or(VideoError::NoSuchFile)?;
        let SourceLocator::File(file) = locator else {
            return Ok(None);
        };
        Ok(picture_input_options(&file, &start))
    }

    /// The steps of an edit, their files in place.
    async fn tasks(
        &self,
        submission: &Submission,
        order: &Order,
        wanted: &Wanted,
    ) -> Result<Vec<StudioTask>, VideoError> {
        if !wanted.jobs.contains(&Job::Studio) {
            return Ok(Vec::new());
        }
        let text = order
            .tasks
            .as_deref()
            .ok_or_else(|| bad("tasks: is missing"))?;
        let raw: Vec<Value> =
            serde_json::from_str(text).map_err(|_| bad("tasks: must be a JSON list"))?;
        let mut tasks = Vec::new();
        for (nth, task) in raw.into_iter().enumerate() {
            let told = |e: serde_json::Error| bad(format!("tasks: number {}: {e}", nth + 1));
            let task: StudioTask = serde_json::from_value(task).map_err(told)?;
            if let StudioTask::Cut { start, end } = &task {
                let (from, to) = (start.unwrap_or(0.0), end.unwrap_or(f64::INFINITY));
                if !(from >= 0.0 && from < to) {
                    let text = "start must be 0 or more and lie before end";
                    return Err(bad(format!("tasks: number {}: {text}", nth + 1)));
                }
            }
            tasks.push(match task.file().map(str::to_owned) {
                None => task,
                Some(part) => {
                    let name = format!("task-{nth}");
                    if !submission.has(&part) {
                        let text = format!("tasks: number {}: there is no part '{part}'", nth + 1);
                        return Err(bad(text));
                    }
                    submission.rename(&part, &name).await?;
                    task.with_file(&name)
                }
            });
        }
        match tasks.is_empty() {
            true => Err(bad("tasks: is empty")),
            false => Ok(tasks),
        }
    }

    /// Makes the picture of a video, of the source or of what was sent along; the name of its file.
    async fn thumbnail(
        &self,
        submission: &Submission,
        facts: &VideoFacts,
        source: SourceLocator,
    ) -> Result<Option<String>, VideoError> {
        if !facts.has_pictures() {
            return self.thumbnail_of_preview(submission).await;
        }
        let query = Query::Thumb(ThumbQuery {
            position: Position::Auto,
            fit: THUMBNAIL,
            format: PictureFormat::Jpeg,
            quality: 80,
            watermark: None,
        });
        let prepared = self.queries.prepare_known(source, query).await;
        let answer = match prepared {
            Ok(prepared) => prepared.answer().await,
            Err(error) => Err(error),
        };
        let picture = match answer {
            Ok(picture) => picture,
            Err(error) => {
                // The video can be transcoded all the same.
                tracing::warn!(video = submission.id, %error, "a video has no picture");
                return Ok(None);
            }
        };
        self.put_artifact(&submission.id, THUMBNAIL_FILE, picture)
            .await?;
        Ok(Some(THUMBNAIL_FILE.to_owned()))
    }

    /// A JPEG that was sent along is the picture of a sound.
    async fn thumbnail_of_preview(
        &self,
        submission: &Submission,
    ) -> Result<Option<String>, VideoError> {
        let picture = match tokio::fs::read(submission.folder.join(PREVIEW)).await {
            Ok(picture) if picture.starts_with(JPEG) => picture,
            _ => return Ok(None),
        };
        self.put_artifact(&submission.id, THUMBNAIL_FILE, picture.into())
            .await?;
        Ok(Some(THUMBNAIL_FILE.to_owned()))
    }

    /// Keeps a small file of the video `id`.
    pub(super) async fn put_artifact(
        &self,
        id: &str,
        file: &str,
        bytes: Bytes,
    ) -> Result<(), VideoError> {
        let name = self.artifact_name(id, file)?;
        let mut upload = self.artifacts.upload(&name).await?;
        upload.write(bytes).await?;
        upload.finish().await?;
        Ok(())
    }

    /// # Errors
    /// `NoSuchFile`: nothing can be called that.
    pub fn artifact_name(&self, id: &str, file: &str) -> Result<ArtifactName, VideoError> {
        let owner: Result<QueueId, _> = id.parse();
        let name = owner.and_then(|owner| ArtifactName::new(owner, file));
        name.map_err(|_| VideoError::NoSuchFile)
    }
}

/// The names of jobs, as clients write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Hls,
    WebVideo,
    AudioMerge,
    Studio,
    Transcription,
    Storyboard,
}

const JOBS: [(&str, Job); 6] = [
    ("hls", Job::Hls),
    ("web-video", Job::WebVideo),
    ("audio-merge", Job::AudioMerge),
    ("studio", Job::Studio),
    ("transcription", Job::Transcription),
    ("storyboard", Job::Storyboard),
];

/// An order that was understood.
struct Wanted {
    jobs: Vec<Job>,
    resolutions: Vec<u32>,
    keeps_original: bool,
    fps: Option<u32>,
}

impl Wanted {
    fn read(order: &Order, videos: &Videos) -> Result<Wanted, VideoError> {
        let mut jobs = Vec::new();
        for name in list(order.jobs.as_deref()) {
            let known = JOBS.iter().find(|(known, _)| *known == name);
            let names: Vec<&str> = JOBS.iter().map(|(name, _)| *name).collect();
            let unknown = || {
                bad(format!(
                    "jobs: '{name}' is not known; there are {}",
                    names.join(", ")
                ))
            };
            let job = known.ok_or_else(unknown)?.1;
            if !jobs.contains(&job) {
                jobs.push(job);
            }
        }
        if jobs.is_empty() {
            jobs.push(Job::Hls);
        }
        let mut resolutions = Vec::new();
        for side in list(order.resolutions.as_deref()) {
            let side: Option<u32> = side.parse().ok();
            let side = side.filter(|s| SIDES.contains(s));
            let told = "resolutions: must be a comma list of numbers from 16 to 8192";
            resolutions.push(side.ok_or_else(|| bad(told))?);
        }
        let fps = order
            .fps
            .as_deref()
            .map(str::trim)
            .filter(|f| !f.is_empty());
        let fps = fps.map(|f| f.parse().ok().filter(|f| RATES.contains(f)));
        if fps == Some(None) {
            return Err(bad("fps: must be a whole number from 1 to 240"));
        }
        let settings = &videos.settings;
        // Who says which sizes are wanted wants those.
        let keeps_original = resolutions.is_empty() && settings.keeps_original;
        if resolutions.is_empty() {
            resolutions.clone_from(&settings.resolutions);
        }
        Ok(Wanted {
            jobs,
            resolutions,
            keeps_original,
            fps: fps.flatten(),
        })
    }

    fn live(&self) -> Vec<Rendition> {
        let mut sides = self.resolutions.clone();
        sides.sort_unstable();
        sides.dedup();
        // Runners count variants with one digit, and sound is one of them.
        sides.truncate(9);
        let rendition = |resolution| Rendition {
            resolution,
            fps: fps_for(resolution, Some(f64::from(LIVE_FPS)), self.fps),
        };
        sides.into_iter().map(rendition).collect()
    }

    fn works(
        &self,
        facts: &VideoFacts,
        tasks: Vec<StudioTask>,
    ) -> Result<Vec<RunnerWork>, VideoError> {
        let all = || {
            let sides = &self.resolutions;
            renditions(
                facts.side(),
                facts.fps,
                sides,
                self.keeps_original,
                self.fps,
            )
        };
        let needs = |name: &str, what: &str, has: bool| match has {
            true => Ok(()),
            false => Err(bad(format!(
                "jobs: {name} needs {what}, and the source has none"
            ))),
        };
        let mut works = Vec::new();
        for job in &self.jobs {
            match job {
                Job::Hls => works.extend(
                    all()
                        .into_iter()
                        .map(|rendition| RunnerWork::Hls { rendition }),
                ),
                Job::WebVideo => {
                    needs("web-video", "pictures", facts.has_pictures())?;
                    let all = all().into_iter();
                    works.extend(all.map(|rendition| RunnerWork::WebVideo { rendition }));
                }
                Job::AudioMerge => {
                    needs("audio-merge", "sound", facts.has_audio)?;
                    works.push(RunnerWork::AudioMerge {
                        rendition: Rendition {
                            resolution: MERGED_SIDE,
                            fps: fps_for(MERGED_SIDE, None, self.fps),
                        },
                    });
                }
                Job::Studio => {
                    needs("studio", "pictures", facts.has_pictures())?;
                    works.push(RunnerWork::Studio {
                        tasks: tasks.clone(),
                    });
                }
                Job::Transcription => {
                    needs("transcription", "sound", facts.has_audio)?;
                    works.push(RunnerWork::Transcription);
                }
                Job::Storyboard => {
                    needs("storyboard", "pictures", facts.has_pictures())?;
                    let length = facts.duration_seconds.unwrap_or(1.0);
                    works.push(RunnerWork::Storyboard {
                        sheet: Storyboard::of(length, facts.width, facts.height),
                    });
                }
            }
        }
        Ok(works)
    }
}

/// What a live stream has most often; its source is not looked at before a runner does.
const LIVE_FPS: u32 = 30;

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    let parts = text.unwrap_or_default().split(',');
    parts.map(str::trim).filter(|part| !part.is_empty())
}

pub(super) fn facts_of(probe: &SourceProbe) -> VideoFacts {
    let video = probe.main_video();
    let size = video.map(|v| v.display_size());
    VideoFacts {
        width: size.map_or(0, |s| s.width),
        height: size.map_or(0, |s| s.height),
        fps: video
            .and_then(|v| v.average_rate.or(v.base_rate))
            .map(|r| r.as_f64()),
        duration_seconds: probe.duration.map(|d| d.as_secs_f64()),
        has_audio: probe.main_audio().is_some(),
    }
}

fn name(given: Option<&str>, source: &Given) -> String {
    let last = |text: &str| {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let own = match source {
        Given::Part(_) => String::new(),
        Given::Place(text) | Given::Live(text) => last(text),
    };
    let name = given.map(str::trim).filter(|n| !n.is_empty());
    let name = name.map_or(own, str::to_owned);
    let plain = name.chars().filter(|c| !c.is_control());
    plain.take(MAX_NAME).collect()
}

/// A folder for results, as openfun's server takes it.
fn is_destination(text: &str) -> bool {
    let parts = text.split('/');
    text.len() <= 1000 && !text.starts_with('/') && parts.clone().all(|p| p != "..")
}

fn callback(url: Option<&str>, base: &str) -> Result<Option<Callback>, VideoError> {
    let Some(text) = url.map(str::trim).filter(|u| !u.is_empty()) else {
        return Ok(None);
    };
    let url = Url::parse(text).ok();
    let url = url.filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    let url = url.ok_or_else(|| bad("callback_url: must be an http or https URL"))?;
    Ok(Some(Callback {
        url,
        base: base.to_owned(),
        told: false,
    }))
}
