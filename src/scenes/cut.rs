//! Cutting scenes out of a source, each into a segment that any worker can decode.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::artifact::{ArtifactError, ArtifactName};
use crate::base::FrameRate;
use crate::ffmpeg::{count_frames, encoder_command};
use crate::package::matroska::{count_packets, retime, set_tick};
use crate::plan::Invocation;
use crate::plan::scenes::{
    CutGroup, FramePick, FrameScore, SceneSpan, copy_group, cut_group, cut_groups, may_be_copied,
    surrounded, surroundings, ticks_per_frame,
};

use super::error::StepError;
use super::files::{own_input, store_file};
use super::grain::part_grain;
use super::project::{Project, SceneCut, Stage, scene_name};
use super::service::Scenes;
use super::split::{Source, around_name, open, queue, segment_name, times};
use super::table::Step;

/// Groups of scenes that are cut at one time, for one project.
const CUTTING: usize = 2;
/// Longest time that decoding a copied scene may take.
const DECODE_WITHIN: Duration = Duration::from_secs(600);

/// Cuts out what is not cut out yet. What is cut out is queued at once: the first scenes are encoded while
/// the last are still cut.
pub(super) async fn cut(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    let _permit = scenes
        .preparing
        .acquire()
        .await
        .map_err(|_| StepError::Cancelled)?;
    let project = scenes.project(id).ok_or(StepError::Cancelled)?;
    let source = open(scenes, &project).await?;
    let times = times(scenes, &project).await?;
    let mut frames: Vec<FrameScore> = times
        .into_iter()
        .map(|pts_us| FrameScore {
            pts_us,
            score: 0.0,
            is_key: false,
        })
        .collect();
    source.mark_keys(&mut frames);
    // What our own engines encode is copied scene by scene, with what lies around it.
    let may_copy = project.is_for_workers() && may_be_copied(&source.video);
    let groups = cut_groups(&project.scenes, &frames, may_copy);
    scenes.set_step(id, Step::Cutting(0));
    part_grain(scenes, &project).await?;
    let (project, source) = (Arc::new(project), Arc::new(source));
    let frames = Arc::new(frames);
    let cutting = groups.into_iter().map(|group| {
        let job = Cut {
            scenes: scenes.clone(),
            id: id.to_owned(),
            project: project.clone(),
            source: source.clone(),
            frames: frames.clone(),
            group,
        };
        job.cut()
    });
    stream::iter(cutting)
        .buffer_unordered(CUTTING)
        .try_collect::<()>()
        .await?;
    scenes.update(id, |p| p.stage = Stage::Ready).await?;
    scenes.set_step(id, Step::None);
    scenes.reconcile(id).await?;
    Ok(())
}

/// What copied segments hold.
#[derive(Clone, Copy)]
enum Kind {
    /// One scene each. Workers elsewhere take them as they are, so each is decoded once to see that it can be.
    Alone,
    /// A scene and what lies around it. Our own engines count what they make of it; where it is not the
    /// scene, it is cut out without loss ([`Scenes::cut_anew`]).
    Around,
}

struct Cut {
    scenes: Arc<Scenes>,
    id: String,
    project: Arc<Project>,
    source: Arc<Source>,
    frames: Arc<Vec<FrameScore>>,
    group: CutGroup,
}

impl Cut {
    async fn cut(self) -> Result<(), StepError> {
        let mut missing = self.missing().await?;
        if !missing.is_empty() {
            let copied = self.copy(&self.group, Kind::Alone).await?;
            missing.retain(|place| !copied.contains(place));
        }
        let (missing, mut cuts) = self.copy_around(missing).await?;
        for group in self.group.decoded(&missing, &self.frames) {
            self.decode(&group).await?;
            let numbers = group.first..group.first + group.spans.len();
            cuts.extend(numbers.map(|nth| (nth, SceneCut::Lossless)));
        }
        if !cuts.is_empty() {
            let note = |p: &mut Project| p.cuts.extend(cuts);
            self.scenes.update(&self.id, note).await?;
        }
        self.scenes.more_cut(&self.id, self.group.spans.len());
        self.offer().await
    }

    /// Queues the scenes of the group.
    async fn offer(&self) -> Result<(), StepError> {
        let (scenes, id) = (&self.scenes, &self.id);
        let has_begun = scenes.project(id).is_some_and(|p| p.encode_began.is_some());
        if !has_begun {
            let now = scenes.dispatcher.now();
            let begin = |p: &mut Project| p.encode_began = p.encode_began.or(Some(now));
            scenes.update(id, begin).await?;
        }
        let which = self.group.first..self.group.first + self.group.spans.len();
        queue(scenes, id, which).await
    }

    /// Copies those of `missing` that only our own engines encode, with what lies around them: they need no
    /// segment of their own. The rest, and how the others were cut out.
    async fn copy_around(
        &self,
        missing: Vec<usize>,
    ) -> Result<(Vec<usize>, BTreeMap<usize, SceneCut>), StepError> {
        let mut cuts = BTreeMap::new();
        if self.project.is_for_workers() || !may_be_copied(&self.source.video) {
            return Ok((missing, cuts));
        }
        let mut rest = Vec::new();
        for place in missing {
            let nth = self.group.first + place;
            let was_tried = self.project.cuts.get(&nth) == Some(&SceneCut::Lossless);
            let around = surroundings(self.group.spans[place], &self.frames);
            let Some(around) = around.filter(|_| !was_tried) else {
                rest.push(place);
                continue;
            };
            let group = surrounded(nth, around, &self.frames);
            if self.copy(&group, Kind::Around).await?.is_empty() {
                rest.push(place);
                continue;
            }
            let cut = SceneCut::Around {
                lead: around.lead,
                pictures: around.whole.frames,
            };
            cuts.insert(nth, cut);
        }
        Ok((rest, cuts))
    }

    async fn decode(&self, group: &CutGroup) -> Result<(), StepError> {
        let counted = group.counted();
        match self.run(group).await {
            // The source cannot be searched as it says: it is read from its beginning.
            Err(StepError::Failed(reason)) if group.pick != counted.pick => {
                tracing::info!(project = self.id, reason, "a group of scenes is cut anew");
                self.run(&counted).await
            }
            ended => ended,
        }
    }

    fn name(&self, nth: usize) -> Result<ArtifactName, StepError> {
        segment_name(&self.project, nth).ok_or(StepError::Cancelled)
    }

    /// Places in the group of the scenes that no earlier process has cut out.
    async fn missing(&self) -> Result<Vec<usize>, StepError> {
        let mut missing = Vec::new();
        for place in 0..self.group.spans.len() {
            let name = self.name(self.group.first + place)?;
            match self.scenes.artifacts.facts(&name).await {
                Ok(_) => {}
                Err(ArtifactError::NotFound) => missing.push(place),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(missing)
    }

    fn rate(&self) -> FrameRate {
        self.project.rate.unwrap_or(FrameRate::PAL)
    }

    /// Runs ffmpeg over the source.
    async fn ffmpeg(&self, run: &Invocation, folder: &str) -> Result<(), StepError> {
        let (scenes, source) = (&self.scenes, &self.source);
        let (input, gate) = scenes
            .opener
            .input(&source.locator)
            .map_err(|e| StepError::Failed(e.to_string()))?;
        let command = encoder_command(&scenes.opener.tools, &input, run);
        let url = input.url.to_string_lossy();
        let secrets = [url.as_ref(), url.trim_start_matches("file:"), folder];
        let (mut output, mut frames) = (|_: &[u8]| {}, |_| {});
        scenes
            .ffmpeg(command, gate.as_ref(), &secrets, &mut output, &mut frames)
            .await
    }

    /// Copies the scenes of `group` out of the source, if they are to be and as far as they can be decoded
    /// alone; their places.
    async fn copy(&self, group: &CutGroup, kind: Kind) -> Result<Vec<usize>, StepError> {
        let FramePick::Copied { behind_us } = group.pick else {
            return Ok(Vec::new());
        };
        let folder = self.scenes.temp_folder().await?;
        let start = self.source.facts.probe.start_time;
        let begin = |span: &SceneSpan| self.times_of(*span).first().copied();
        let begins: Vec<i64> = group.spans.iter().filter_map(begin).collect();
        let video = &self.source.video;
        let run = copy_group(group, &begins, behind_us, video, start, &folder.text());
        match self.ffmpeg(&run, &folder.text()).await {
            Ok(()) => {}
            Err(StepError::Failed(reason)) => {
                tracing::info!(project = self.id, reason, "scenes cannot be copied");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        }
        let mut copied = Vec::new();
        for file in 0.. {
            let name = format!("{file:05}.mkv");
            let path = folder.path().join(&name);
            if !tokio::fs::try_exists(&path).await? {
                break;
            }
            let Some(place) = self.place_of_copy(group, path.clone()).await? else {
                continue;
            };
            let nth = group.first + place;
            let name = match kind {
                Kind::Alone => {
                    let frames = group.spans[place].frames;
                    if !self.decodes_alone(folder.path(), &name, frames).await? {
                        continue;
                    }
                    self.name(nth)?
                }
                Kind::Around => around_name(&self.project, nth).ok_or(StepError::Cancelled)?,
            };
            store_file(&self.scenes.artifacts, &name, &path).await?;
            copied.push(place);
        }
        if copied.len() != group.spans.len() {
            let count = group.spans.len() - copied.len();
            tracing::debug!(project = self.id, count, "scenes are not copied");
        }
        Ok(copied)
    }

    /// Times of the pictures of a scene, microseconds.
    fn times_of(&self, span: SceneSpan) -> Vec<i64> {
        let range = span.start as usize..span.end() as usize;
        let frames = self.frames.get(range).unwrap_or_default();
        frames.iter().filter_map(|f| f.pts_us).collect()
    }

    /// Puts a copy on its constant grid; the scene of the group whose pictures it holds, all and no others.
    async fn place_of_copy(
        &self,
        group: &CutGroup,
        path: PathBuf,
    ) -> Result<Option<usize>, StepError> {
        let rate = self.rate();
        let work = move || {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let ticks = i64::from(ticks_per_frame(rate));
            let times = retime(&mut file, |n| n as i64 * ticks)?;
            set_tick(&mut file, ticks_per_frame(rate), rate)?;
            Ok::<_, std::io::Error>(times)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let times_ms = match done.map_err(|_| StepError::Cancelled)? {
            Ok(times) => times,
            Err(error) => {
                tracing::debug!(%error, "a copy is of no use");
                return Ok(None);
            }
        };
        // Containers and the copy round to milliseconds, each in its own way.
        let same = |us: &i64, ms: &i64| (us - ms * 1000).abs() <= 2_000;
        let is_it = |span: &&SceneSpan| {
            let wanted = self.times_of(**span);
            wanted.len() == times_ms.len() && wanted.iter().zip(&times_ms).all(|(w, t)| same(w, t))
        };
        let mut spans = group.spans.iter();
        Ok(spans.position(|span| is_it(&span)))
    }

    /// Whether all pictures of a copy can be decoded without what lies before it in the source.
    async fn decodes_alone(
        &self,
        folder: &Path,
        file: &str,
        frames: u32,
    ) -> Result<bool, StepError> {
        let input = own_input(folder, file).ok_or(StepError::Cancelled)?;
        let (tools, launcher) = (&self.scenes.opener.tools, &self.scenes.opener.launcher);
        let decoded = count_frames(tools, launcher, &input, DECODE_WITHIN).await;
        Ok(decoded.is_ok_and(|d| d.frames == u64::from(frames) && d.fault.is_none()))
    }

    async fn run(&self, group: &CutGroup) -> Result<(), StepError> {
        let folder = self.scenes.temp_folder().await?;
        let rate = self.rate();
        let source = &self.source;
        let start = source.facts.probe.start_time;
        let run = cut_group(group, &source.video, rate, start, &folder.text());
        self.ffmpeg(&run, &folder.text()).await?;
        for (nth, span) in group.spans.iter().enumerate() {
            let path = folder.path().join(format!("{nth:05}.mkv"));
            let found = finish_segment(path.clone(), rate).await?;
            let nth = group.first + nth;
            if found != u64::from(span.frames) {
                let (name, wanted) = (scene_name(nth), span.frames);
                let told = format!("scene {name}: {found} of {wanted} pictures could be cut out");
                return Err(StepError::Failed(told));
            }
            store_file(&self.scenes.artifacts, &self.name(nth)?, &path).await?;
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
