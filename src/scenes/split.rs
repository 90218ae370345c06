//! Finding the scenes of a source, and queueing them once they are cut out.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::artifact::ArtifactName;
use crate::ffmpeg::encoder_command;
use crate::job::{JobSpec, NewJob, RetryPolicy, SceneSpec};
use crate::media::{SourceLocator, VideoStream};
use crate::plan::scenes::{
    FrameScore, SceneSize, ScoreReader, detection, longest_first, mark_keys, scene_spans,
    segment_rate,
};
use crate::session::Facts;

use super::error::StepError;
use super::files::fetch_bytes;
use super::grain::grain_of;
use super::project::{Project, SceneCut, Stage, scene_name};
use super::service::Scenes;
use super::table::{SceneState, Step};

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
    let facts = scenes.opener.facts(&locator).await;
    let facts = facts.map_err(|e| told(&e))?;
    let video = facts.probe.main_video().cloned();
    let video = video.ok_or_else(|| told(&"the source holds no video"))?;
    Ok(Source {
        locator,
        facts,
        video,
    })
}

impl Source {
    /// Marks the pictures before which it can be cut as it is.
    pub(super) fn mark_keys(&self, frames: &mut [FrameScore]) {
        if let Some(index) = &self.facts.keyframes {
            let keys: Vec<i64> = index.pts().iter().map(|t| t.as_micros()).collect();
            mark_keys(frames, &keys);
        }
    }
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
    let mut frames = reader.finish();
    source.mark_keys(&mut frames);
    if frames.is_empty() {
        return Err(StepError::Failed(
            "no picture of the source can be decoded".into(),
        ));
    }
    let rate = segment_rate(&source.video, &frames);
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
    if project.has_surroundings(nth) {
        return around_name(project, nth);
    }
    let file = format!("{}.mkv", scene_name(nth));
    ArtifactName::new(project.job_id(nth)?, &file).ok()
}

/// The artifact with the pictures of a scene and what lies around them. It has a name of its own: what an
/// earlier process left is never taken for a segment that was cut in another way.
pub(super) fn around_name(project: &Project, nth: usize) -> Option<ArtifactName> {
    let file = format!("{}.around.mkv", scene_name(nth));
    ArtifactName::new(project.job_id(nth)?, &file).ok()
}

/// Queues those of `which` that are not queued yet, the longest first: our own engines take them in this
/// order.
pub(super) async fn queue(scenes: &Scenes, id: &str, which: Range<usize>) -> Result<(), StepError> {
    let project = &scenes.project(id).ok_or(StepError::Cancelled)?;
    let queued = scenes.dispatcher.store().owned_by(id).await?;
    let queued: BTreeSet<&str> = queued.iter().map(|j| j.id.as_str()).collect();
    let mut sizes = Vec::new();
    for nth in which.clone() {
        sizes.push(size(scenes, project, nth).await?);
    }
    let order = longest_first(&sizes).into_iter();
    let new = order.filter_map(|place| scenes.new_job(id, project, which.start + place));
    let new: Vec<NewJob> = new.filter(|j| !queued.contains(j.id.as_str())).collect();
    scenes.dispatcher.submit_all(new).await?;
    scenes.opened(id, which);
    Ok(())
}

async fn size(scenes: &Scenes, project: &Project, nth: usize) -> Result<SceneSize, StepError> {
    let name = segment_name(project, nth).ok_or(StepError::Cancelled)?;
    let stored = scenes.artifacts.facts(&name).await?.size_bytes as f64;
    let frames = project.scenes[nth].frames;
    let pictures = project.surroundings(nth).map_or(frames, |(_, all)| all);
    let share = f64::from(frames) / f64::from(pictures);
    Ok(SceneSize {
        frames,
        bytes: stored * share,
        is_lossless: matches!(project.cuts.get(&nth), Some(SceneCut::Lossless)),
    })
}

impl Scenes {
    pub(super) fn new_job(&self, id: &str, project: &Project, nth: usize) -> Option<NewJob> {
        let spec = SceneSpec {
            project: id.to_owned(),
            scene: scene_name(nth),
            segment: segment_name(project, nth)?.to_string(),
            lead: project.surroundings(nth).map_or(0, |(lead, _)| lead),
            frames: project.scenes.get(nth)?.frames,
            rate: project.rate?,
            encoder: project.encoder,
            encoder_params: project.params_of(nth).to_owned(),
            ffmpeg_params: project.ffmpeg_params.clone(),
            quality: project.quality,
            grain: grain_of(project, nth),
        };
        Some(NewJob {
            id: project.job_id(nth)?,
            spec: JobSpec::Scene(Box::new(spec)),
            priority: project.queue_priority(),
            parents: Vec::new(),
            retry: RetryPolicy::at_once(self.settings.max_attempts),
        })
    }

    /// Scenes are in the queue, if nothing later is known of them.
    pub(super) fn opened(&self, id: &str, which: Range<usize>) {
        let mut table = self.table();
        let entry = table.entries.get_mut(id);
        let opened = entry.and_then(|e| e.scenes.get_mut(which));
        for scene in opened.into_iter().flatten() {
            if scene.state == SceneState::Uncut {
                scene.state = SceneState::Open;
            }
        }
    }

    pub(super) fn set_step(&self, id: &str, step: Step) {
        if let Some(entry) = self.table().entries.get_mut(id) {
            entry.activity = step;
        }
    }

    pub(super) fn more_cut(&self, id: &str, more: usize) {
        if let Some(entry) = self.table().entries.get_mut(id)
            && let Step::Cutting(done) = &mut entry.activity
        {
            *done += more;
        }
    }
}
