//! From encoded scenes to one file.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::artifact::ArtifactName;
use crate::base::{FrameRate, MediaTime};
use crate::ffmpeg::{encoder_command, picture_command, probe_hdr};
use crate::media::{HdrMetadata, OnComplete, Transfer};
use crate::package::matroska::{count_packets, retime};
use crate::package::{IvfJoiner, hdr_units};
use crate::plan::Invocation;
use crate::plan::scenes::{Joining, Merging, join_run, line_up_run, merge_run};
use crate::source::InputOptions;

use super::error::StepError;
use super::files::{TempFolder, fetch_file, own_input, store_file};
use super::project::{Completed, Project, Stage, scene_name};
use super::service::Scenes;
use super::split::{Source, open, times};
use super::table::{Encoded, Step};

/// Longest time that is spent on what a source says of its light.
const HDR_WITHIN: Duration = Duration::from_secs(60);
/// Scenes with reordered pictures, put behind each other.
const GRID: &str = "grid.mkv";

/// Joins all scenes, verifies the result and keeps it.
pub(super) async fn join(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    let _permit = scenes
        .preparing
        .acquire()
        .await
        .map_err(|_| StepError::Cancelled)?;
    scenes.set_step(id, Step::Joining(0));
    let (project, encoded) = {
        let table = scenes.table();
        let entry = table.entries.get(id).ok_or(StepError::Cancelled)?;
        let encoded: Vec<Encoded> = entry
            .scenes
            .iter()
            .filter_map(|s| s.encoded().cloned())
            .collect();
        (entry.project.clone(), encoded)
    };
    if encoded.len() != project.scenes.len() {
        // A scene is being encoded again.
        scenes.update(id, |p| p.stage = Stage::Ready).await?;
        return Ok(());
    }
    let source = open(scenes, &project).await?;
    let job = Join {
        scenes,
        id,
        project: &project,
        source: &source,
        folder: scenes.temp_folder().await?,
        hdr: hdr_of(scenes, &source).await,
    };
    let (file, notes) = job.make(&encoded).await?;
    let own = project.own_id().ok_or(StepError::Cancelled)?;
    let name = ArtifactName::new(own, &file).map_err(|_| StepError::Cancelled)?;
    let kept = store_file(&scenes.artifacts, &name, &job.folder.path().join(&file)).await?;
    // A scene may have been sent back meanwhile.
    if scenes.stage(id) != Some(Stage::Joining) {
        return Ok(());
    }
    scenes
        .update(id, |p| {
            p.stage = Stage::Complete;
            p.completed = Some(Completed {
                artifact: name.to_string(),
                bytes: kept.size_bytes,
                notes,
            });
        })
        .await?;
    scenes.set_step(id, Step::None);
    Ok(())
}

/// What the source says of its light, if it has more than usual.
async fn hdr_of(scenes: &Scenes, source: &Source) -> Option<HdrMetadata> {
    if source.video.color.transfer_kind() == Transfer::Sdr {
        return None;
    }
    let (input, _gate) = scenes.opener.input(&source.locator).ok()?;
    let (tools, launcher) = (&scenes.opener.tools, &scenes.opener.launcher);
    probe_hdr(tools, launcher, &input, source.video.index, HDR_WITHIN).await
}

struct Join<'a> {
    scenes: &'a Arc<Scenes>,
    id: &'a str,
    project: &'a Project,
    source: &'a Source,
    folder: TempFolder,
    hdr: Option<HdrMetadata>,
}

impl Join<'_> {
    /// Makes the file in the folder; its name, and what did not come through.
    async fn make(&self, encoded: &[Encoded]) -> Result<(String, Vec<String>), StepError> {
        let times = self.shown_times().await?;
        let (input, run) = match self.project.encoder.keeps_order() {
            true => self.ivf_input(encoded, &times).await?,
            false => self.list_input(encoded, &times).await?,
        };
        let command = encoder_command(&self.scenes.opener.tools, &input, &run);
        self.run(command).await?;
        let file = self.joining().file();
        let (wanted, found) = (self.project.total_frames(), self.count(file).await?);
        if found != wanted {
            let told = format!("the joined file has {found} pictures, not {wanted}");
            return Err(StepError::Failed(told));
        }
        let (file, mut notes) = match self.project.on_complete {
            OnComplete::Join => (file.to_owned(), Vec::new()),
            action => self.merge(file, action).await?,
        };
        let codec = self.project.encoder.codec();
        if self.hdr.is_some() && codec != "av1" {
            notes.push(format!(
                "the source's HDR10 metadata is left out: it is kept in AV1, not in {codec}"
            ));
        }
        Ok((file, notes))
    }

    fn joining(&self) -> Joining {
        Joining::of(self.project.encoder, &self.source.video)
    }

    async fn run(&self, command: tokio::process::Command) -> Result<(), StepError> {
        let text = self.folder.text();
        let url = self
            .source
            .locator
            .path()
            .map(|p| p.to_string_lossy().into_owned());
        let secrets = [text.as_str(), url.as_deref().unwrap_or_default()];
        let (mut output, mut frames) = (|_: &[u8]| {}, |_| {});
        self.scenes
            .ffmpeg(command, None, &secrets, &mut output, &mut frames)
            .await
    }

    /// When each picture is shown, from the beginning of the source on: as in the source; where that does
    /// not say, at the constant rate.
    async fn shown_times(&self) -> Result<Vec<i64>, StepError> {
        let start = self.start().as_micros();
        let told = times(self.scenes, self.project).await?;
        let own: Option<Vec<i64>> = told.iter().map(|t| Some((*t)? - start)).collect();
        let rising = own.filter(|t| t.windows(2).all(|w| w[0] < w[1]));
        let rate = self.rate();
        let grid = || (0..told.len()).map(|n| rate.time_of(n as i64).as_micros());
        Ok(rising.unwrap_or_else(|| grid().collect()))
    }

    /// What counts as the source's beginning. Sound that begins before the pictures, as that of most
    /// encoders does by a frame, does not move them.
    fn start(&self) -> MediaTime {
        self.source.facts.probe.start_time.max(MediaTime::ZERO)
    }

    fn rate(&self) -> FrameRate {
        self.project.rate.unwrap_or(FrameRate::PAL)
    }

    fn joined(&self, input: InputOptions) -> (InputOptions, Invocation) {
        let to = self.folder.path().join(self.joining().file());
        let run = join_run(&self.joining(), self.rate(), &to.to_string_lossy());
        (input, run)
    }

    /// Scenes in which every packet is a picture: put behind each other, each picture with its time.
    async fn ivf_input(
        &self,
        encoded: &[Encoded],
        times: &[i64],
    ) -> Result<(InputOptions, Invocation), StepError> {
        let joined = self.folder.path().join("joined.ivf");
        let units = self.hdr.as_ref().map(hdr_units).unwrap_or_default();
        let joiner = IvfJoiner::new(BufWriter::new(File::create(&joined)?));
        let mut joiner = joiner.with_units(units);
        for (nth, scene) in encoded.iter().enumerate() {
            let path = self.fetch(scene, nth).await?;
            let path = self.as_ivf(path, nth).await?;
            let span = self.project.scenes[nth];
            let part = times.get(span.start as usize..span.end() as usize);
            let part = part.unwrap_or_default().to_vec();
            let append = move || {
                let file = BufReader::new(File::open(&path)?);
                joiner.append(file, &part)?;
                std::fs::remove_file(path)?;
                Ok::<_, crate::package::IvfError>(joiner)
            };
            let appended = tokio::task::spawn_blocking(append).await;
            let appended = appended.map_err(|_| StepError::Cancelled)?;
            joiner = appended
                .map_err(|e| StepError::Failed(format!("scene {}: {e}", scene_name(nth))))?;
            self.scenes.set_step(self.id, Step::Joining(nth + 1));
        }
        joiner
            .finish()
            .map_err(|e| StepError::Failed(e.to_string()))?;
        let input = own_input(self.folder.path(), "joined.ivf").ok_or(StepError::Cancelled)?;
        Ok(self.joined(input))
    }

    /// Workers of the first generation deliver WebM.
    async fn as_ivf(&self, path: PathBuf, nth: usize) -> Result<PathBuf, StepError> {
        if path.extension().is_some_and(|e| e == "ivf") {
            return Ok(path);
        }
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let input = own_input(self.folder.path(), &file).ok_or(StepError::Cancelled)?;
        let to = self.folder.path().join(format!("{nth:05}-plain.ivf"));
        let place = to.to_string_lossy().into_owned();
        let output = ["-map", "0:v:0", "-c", "copy", "-f", "ivf", &place];
        let run = Invocation {
            input: Vec::new(),
            output: output.map(str::to_owned).to_vec(),
        };
        let command = encoder_command(&self.scenes.opener.tools, &input, &run);
        self.run(command).await?;
        tokio::fs::remove_file(path).await?;
        Ok(to)
    }

    /// Scenes with reordered pictures: put behind each other at the constant rate, in the order in which
    /// they are stored; then each picture gets its time, in the order in which they are shown.
    async fn list_input(
        &self,
        encoded: &[Encoded],
        times: &[i64],
    ) -> Result<(InputOptions, Invocation), StepError> {
        let mut list = String::from("ffconcat version 1.0\n");
        for (nth, scene) in encoded.iter().enumerate() {
            let path = self.fetch(scene, nth).await?;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let length = self
                .rate()
                .time_of(i64::from(self.project.scenes[nth].frames));
            let _ = writeln!(list, "file {name}\nduration {length}");
            self.scenes.set_step(self.id, Step::Joining(nth + 1));
        }
        let path = self.folder.path().join("scenes.ffconcat");
        tokio::fs::write(&path, list).await?;
        let mut url = std::ffi::OsString::from("file:");
        url.push(&path);
        let args = ["-protocol_whitelist", "file", "-f", "concat", "-safe", "1"];
        let input = InputOptions {
            args: args.map(Into::into).to_vec(),
            url,
            env: Vec::new(),
            env_remove: &[],
        };
        let path = self.folder.path().join(GRID);
        let run = line_up_run(&path.to_string_lossy());
        let command = encoder_command(&self.scenes.opener.tools, &input, &run);
        self.run(command).await?;
        let times_ms: Vec<i64> = times.iter().map(|us| (us + 500).div_euclid(1000)).collect();
        let retimed = move || {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let place = |n: usize| times_ms.get(n).copied().unwrap_or(i64::MAX);
            retime(&mut file, place)
        };
        let retimed = tokio::task::spawn_blocking(retimed).await;
        let retimed = retimed.map_err(|_| StepError::Cancelled)?;
        retimed.map_err(|e| StepError::Failed(format!("the scenes cannot be joined: {e}")))?;
        let input = own_input(self.folder.path(), GRID).ok_or(StepError::Cancelled)?;
        Ok(self.joined(input))
    }

    async fn fetch(&self, scene: &Encoded, nth: usize) -> Result<PathBuf, StepError> {
        let name: ArtifactName = scene.artifact.parse().map_err(|_| StepError::Cancelled)?;
        let extension = Path::new(name.file()).extension().and_then(|e| e.to_str());
        let path = format!("{nth:05}.{}", extension.unwrap_or("ivf"));
        let path = self.folder.path().join(path);
        fetch_file(&self.scenes.artifacts, &name, &path).await?;
        Ok(path)
    }

    async fn count(&self, file: &str) -> Result<u64, StepError> {
        let path = self.folder.path().join(file);
        let count = move || count_packets(&mut BufReader::new(File::open(path)?));
        let counted = tokio::task::spawn_blocking(count).await;
        Ok(counted.map_err(|_| StepError::Cancelled)??)
    }

    async fn merge(
        &self,
        pictures: &str,
        action: OnComplete,
    ) -> Result<(String, Vec<String>), StepError> {
        let file = match action {
            OnComplete::Mp4 => "merged.mp4",
            OnComplete::Webm => "merged.webm",
            OnComplete::Matroska | OnComplete::Join => "merged.mkv",
        };
        let (source, gate) = self
            .scenes
            .opener
            .input(&self.source.locator)
            .map_err(|e| StepError::Failed(e.to_string()))?;
        let joined = own_input(self.folder.path(), pictures).ok_or(StepError::Cancelled)?;
        let to = self.folder.path().join(file);
        let probe = &self.source.facts.probe;
        let Merging { run, notes } = merge_run(probe, action, self.start(), &to.to_string_lossy());
        let tools = &self.scenes.opener.tools;
        let command = picture_command(tools, &source, Some(&joined), &run);
        let text = self.folder.text();
        let url = source.url.to_string_lossy();
        let secrets = [text.as_str(), &url, url.trim_start_matches("file:")];
        let (mut output, mut frames) = (|_: &[u8]| {}, |_| {});
        self.scenes
            .ffmpeg(command, gate.as_ref(), &secrets, &mut output, &mut frames)
            .await?;
        Ok((file.to_owned(), notes))
    }
}
