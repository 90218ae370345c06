//! Finding the scenes of a source and cutting each into a segment.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::artifact::{ArtifactError, ArtifactName};
use crate::base::FrameRate;
use crate::ffmpeg::encoder_command;
use crate::job::{JobSpec, NewJob, RetryPolicy, SceneSpec};
use crate::media::{SourceLocator, VideoStream};
use crate::package::matroska::{count_packets, set_tick};
use crate::plan::scenes::{
    CutGroup, FrameScore, ScoreReader, cut_group, cut_groups, detection, scene_spans, segment_rate,
    ticks_per_frame,
};
use crate::session::Facts;

use super::error::StepError;
use super::files::{fetch_bytes, store_file};
use super::project::{Project, Stage, scene_name};
use super::service::Scenes;
use super::table::Step;

/// Groups of scenes that are cut at one time, for one project.
const CUTTING: usize = 2;
/// Name of the artifact with the times of all pictures: microseconds, little-endian.
const TIMES: &str = "times.bin";
/// In it: a picture without a time.
const NO_TIME: i64 = i64::MIN;

/// A source, opened.
pub(super) struct Source {
    pub(super) locator: SourceLocator,
    pub(super) facts: Arc<Facts>,
    pub(super) video: VideoStream,
}

pub(super) async fn open(scenes: &Scenes, project: &Project) -> Result<Source, StepError> {
    let told = |e: &dyn std::fmt::Display| StepError::Failed(format!("{}: {e}", project.input));
    let locator = scenes.opener.resolve(&project.input).await;
    let locator = locator.map_err(|e| told(&e))?;
    let facts = scenes.opener.facts_without_index(&locator).await;
    let facts = facts.map_err(|e| told(&e))?;
    let video = facts.probe.main_video().cloned();
    let video = video.ok_or_else(|| told(&"the source holds no video"))?;
    Ok(Source {
        locator,
        facts,
        video,
    })
}

/// Looks at every picture once: where scenes begin, when pictures are shown.
pub(super) async fn look(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    let _permit = scenes
        .preparing
        .acquire()
        .await
        .map_err(|_| StepError::Cancelled)?;
    scenes.set_step(id, Step::Looking(0));
    let project = scenes.project(id).ok_or(StepError::Cancelled)?;
    let source = open(scenes, &project).await?;
    let (input, gate) = scenes
        .opener
        .input(&source.locator)
        .map_err(|e| StepError::Failed(e.to_string()))?;
    let command = encoder_command(&scenes.opener.tools, &input, &detection(source.video.index));
    let mut reader = ScoreReader::default();
    let mut read = |bytes: &[u8]| {
        reader.push(bytes);
        scenes.set_step(id, Step::Looking(reader.frames() as u64));
    };
    let url = input.url.to_string_lossy();
    let secrets = [url.as_ref(), url.trim_start_matches("file:")];
    let mut frames = |_| {};
    scenes
        .ffmpeg(command, gate.as_ref(), &secrets, &mut read, &mut frames)
        .await?;
    let frames = reader.finish();
    if frames.is_empty() {
        return Err(StepError::Failed(
            "no picture of the source can be decoded".into(),
        ));
    }
    let rate = segment_rate(&source.video, &frames);
    if !project.encoder.keeps_order() && !is_constant(&frames, rate) {
        let name = project.encoder.name();
        let told =
            format!("{name} needs a source with a constant frame rate; take another encoder");
        return Err(StepError::Failed(told));
    }
    let times = frames
        .iter()
        .map(|f| f.pts_us.unwrap_or(NO_TIME).to_le_bytes());
    let times: Vec<u8> = times.flatten().collect();
    let mut upload = scenes.artifacts.upload(&times_name(&project)?).await?;
    upload.write(times.into()).await?;
    upload.finish().await?;
    let spans = scene_spans(&frames, project.rules);
    tracing::info!(
        project = id,
        frames = frames.len(),
        scenes = spans.len(),
        "scenes are found"
    );
    scenes
        .update(id, |p| {
            p.rate = Some(rate);
            p.scenes = spans;
            p.stage = Stage::Splitting;
        })
        .await?;
    Ok(())
}

/// Whether pictures lie where a constant rate has them, to half a picture.
fn is_constant(frames: &[FrameScore], rate: FrameRate) -> bool {
    let first = frames.iter().find_map(|f| f.pts_us).unwrap_or(0);
    let half = 0.5e6 / rate.as_f64();
    frames.iter().enumerate().all(|(nth, frame)| {
        let wanted = rate.time_of(nth as i64).as_micros();
        frame
            .pts_us
            .is_none_or(|t| ((t - first - wanted) as f64).abs() < half)
    })
}

fn times_name(project: &Project) -> Result<ArtifactName, StepError> {
    let id = project.own_id().ok_or(StepError::Cancelled)?;
    ArtifactName::new(id, TIMES).map_err(|_| StepError::Cancelled)
}

/// When each picture is shown, microseconds of the source's clock; `None` for those that do not say.
pub(super) async fn times(
    scenes: &Scenes,
    project: &Project,
) -> Result<Vec<Option<i64>>, StepError> {
    let bytes = fetch_bytes(&scenes.artifacts, &times_name(project)?).await?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let times = numbers.iter().map(|n| i64::from_le_bytes(*n));
    Ok(times.map(|t| Some(t).filter(|t| *t != NO_TIME)).collect())
}

/// The artifact with the pictures of a scene.
pub(super) fn segment_name(project: &Project, nth: usize) -> Option<ArtifactName> {
    let file = format!("{}.mkv", scene_name(nth));
    ArtifactName::new(project.job_id(nth)?, &file).ok()
}

/// Cuts out what is not cut out yet, and queues all scenes.
pub(super) async fn cut(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    let _permit = scenes
        .preparing
        .acquire()
        .await
        .map_err(|_| StepError::Cancelled)?;
    let project = scenes.project(id).ok_or(StepError::Cancelled)?;
    let source = open(scenes, &project).await?;
    let times = times(scenes, &project).await?;
    let frames: Vec<FrameScore> = times
        .into_iter()
        .map(|pts_us| FrameScore { pts_us, score: 0.0 })
        .collect();
    let groups = cut_groups(&project.scenes, &frames);
    scenes.set_step(id, Step::Cutting(0));
    let (project, source) = (Arc::new(project), Arc::new(source));
    let cutting = groups.into_iter().map(|group| {
        let job = Cut {
            scenes: scenes.clone(),
            id: id.to_owned(),
            project: project.clone(),
            source: source.clone(),
            group,
        };
        job.cut()
    });
    stream::iter(cutting)
        .buffer_unordered(CUTTING)
        .try_collect::<()>()
        .await?;
    queue(scenes, id, &project).await?;
    let now = scenes.dispatcher.now();
    scenes
        .update(id, |p| {
            p.stage = Stage::Ready;
            p.encode_began = Some(now);
        })
        .await?;
    scenes.set_step(id, Step::None);
    scenes.reconcile(id).await?;
    Ok(())
}

struct Cut {
    scenes: Arc<Scenes>,
    id: String,
    project: Arc<Project>,
    source: Arc<Source>,
    group: CutGroup,
}

impl Cut {
    async fn cut(self) -> Result<(), StepError> {
        if !self.is_there().await? {
            let counted = self.group.counted();
            match self.run(&self.group).await {
                Ok(()) => {}
                // The source cannot be searched as it says: it is read from its beginning.
                Err(StepError::Failed(reason)) if self.group.pick != counted.pick => {
                    tracing::info!(project = self.id, reason, "a group of scenes is cut anew");
                    self.run(&counted).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.scenes.more_cut(&self.id, self.group.spans.len());
        Ok(())
    }

    fn name(&self, nth: usize) -> Result<ArtifactName, StepError> {
        segment_name(&self.project, self.group.first + nth).ok_or(StepError::Cancelled)
    }

    /// An earlier process may have cut it.
    async fn is_there(&self) -> Result<bool, StepError> {
        for nth in 0..self.group.spans.len() {
            match self.scenes.artifacts.facts(&self.name(nth)?).await {
                Ok(_) => {}
                Err(ArtifactError::NotFound) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    async fn run(&self, group: &CutGroup) -> Result<(), StepError> {
        let (scenes, source) = (&self.scenes, &self.source);
        let folder = scenes.temp_folder().await?;
        let rate = self.project.rate.unwrap_or(FrameRate::PAL);
        let (input, gate) = scenes
            .opener
            .input(&source.locator)
            .map_err(|e| StepError::Failed(e.to_string()))?;
        let start = source.facts.probe.start_time;
        let run = cut_group(group, &source.video, rate, start, &folder.text());
        let command = encoder_command(&scenes.opener.tools, &input, &run);
        let url = input.url.to_string_lossy();
        let text = folder.text();
        let secrets = [url.as_ref(), url.trim_start_matches("file:"), &text];
        let (mut output, mut frames) = (|_: &[u8]| {}, |_| {});
        scenes
            .ffmpeg(command, gate.as_ref(), &secrets, &mut output, &mut frames)
            .await?;
        for (nth, span) in group.spans.iter().enumerate() {
            let path = folder.path().join(format!("{nth:05}.mkv"));
            let found = finish_segment(path.clone(), rate).await?;
            if found != u64::from(span.frames) {
                let name = scene_name(group.first + nth);
                let wanted = span.frames;
                let told = format!("scene {name}: {found} of {wanted} pictures could be cut out");
                return Err(StepError::Failed(told));
            }
            store_file(&scenes.artifacts, &self.name(nth)?, &path).await?;
        }
        Ok(())
    }
}

/// Gives a segment its constant rate; the number of its pictures.
async fn finish_segment(path: PathBuf, rate: FrameRate) -> Result<u64, StepError> {
    let work = move || {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let packets = count_packets(&mut file)?;
        set_tick(&mut file, ticks_per_frame(rate), rate)?;
        Ok::<_, std::io::Error>(packets)
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(|_| StepError::Cancelled)? {
        Ok(packets) => Ok(packets),
        // What is missing or broken off counts as empty.
        Err(error) => {
            tracing::info!(%error, "a segment cannot be read");
            Ok(0)
        }
    }
}

/// Queues the scenes that are not queued yet, the largest first: our own engines take them in this order.
async fn queue(scenes: &Scenes, id: &str, project: &Project) -> Result<(), StepError> {
    let queued = scenes.dispatcher.store().owned_by(id).await?;
    let queued: BTreeSet<&str> = queued.iter().map(|j| j.id.as_str()).collect();
    let mut numbers: Vec<usize> = (0..project.scenes.len()).collect();
    numbers.sort_by_key(|n| std::cmp::Reverse(project.scenes[*n].frames));
    let new = numbers
        .into_iter()
        .filter_map(|nth| scenes.new_job(id, project, nth));
    let new: Vec<NewJob> = new.filter(|j| !queued.contains(j.id.as_str())).collect();
    scenes.dispatcher.submit_all(new).await?;
    Ok(())
}

impl Scenes {
    pub(super) fn new_job(&self, id: &str, project: &Project, nth: usize) -> Option<NewJob> {
        let spec = SceneSpec {
            project: id.to_owned(),
            scene: scene_name(nth),
            segment: segment_name(project, nth)?.to_string(),
            frames: project.scenes.get(nth)?.frames,
            rate: project.rate?,
            encoder: project.encoder,
            encoder_params: project.params_of(nth).to_owned(),
            ffmpeg_params: project.ffmpeg_params.clone(),
            quality: project.quality,
        };
        Some(NewJob {
            id: project.job_id(nth)?,
            spec: JobSpec::Scene(Box::new(spec)),
            priority: project.queue_priority(),
            parents: Vec::new(),
            retry: RetryPolicy::at_once(self.settings.max_attempts),
        })
    }

    pub(super) fn set_step(&self, id: &str, step: Step) {
        if let Some(entry) = self.table().entries.get_mut(id) {
            entry.activity = step;
        }
    }

    fn more_cut(&self, id: &str, more: usize) {
        if let Some(entry) = self.table().entries.get_mut(id)
            && let Step::Cutting(done) = &mut entry.activity
        {
            *done += more;
        }
    }
}
