//! Projects as clients see them.

use std::time::Duration;

use crate::artifact::ArtifactName;
use crate::base::{FrameRate, UnixMillis};
use crate::job::{Measured, Progress};
use crate::media::{OnComplete, QualityGoal, SceneEncoder};

use super::error::ScenesError;
use super::project::{Completed, Stage, scene_name};
use super::service::Scenes;
use super::table::{Entry, SceneState, Step};

/// A project.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectView {
    pub id: String,
    pub input: String,
    pub encoder: SceneEncoder,
    pub encoder_params: String,
    pub ffmpeg_params: String,
    pub priority: f64,
    pub on_complete: OnComplete,
    pub quality: Option<QualityGoal>,
    /// Of film grain, as the client named it.
    pub grain_table: Option<String>,
    pub activity: Activity,
    pub paused: bool,
    /// Why it failed.
    pub reason: Option<String>,
    pub rate: Option<FrameRate>,
    /// Pictures of the scenes that are encoded.
    pub frames: u64,
    pub total_frames: u64,
    /// Scenes that are not encoded.
    pub remaining: usize,
    /// Pictures a second since its scenes are handed out.
    pub fps: f64,
    pub scenes: Vec<SceneView>,
    /// Bytes of the joined file, when it is there.
    pub completed_bytes: Option<u64>,
    /// What of the source is not in it as it was.
    pub notes: Vec<String>,
}

/// What a project is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Starting,
    /// Pictures looked at.
    Looking(u64),
    /// Scenes cut out and verified.
    Cutting(usize),
    Ready,
    /// Scenes joined so far.
    Joining(usize),
    Complete,
    Failed,
}

/// One scene of a project.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneView {
    pub name: String,
    pub start: u64,
    pub frames: u32,
    /// Of its own; empty = the project's.
    pub encoder_params: String,
    /// 0 until it is encoded.
    pub bytes: u64,
    /// Name of the encode's file, once it is there.
    pub file: Option<String>,
    /// Workers that have it now; our own engines count.
    pub workers: Vec<String>,
    /// What our own engine that has it says.
    pub progress: Option<Progress>,
    pub failures: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
    pub is_given_up: bool,
    pub measured: Option<Measured>,
    pub notes: Vec<String>,
}

/// A machine whose grav1 workers ask this gateway for scenes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    pub ip: String,
    /// Since it last asked.
    pub silent_for: Duration,
    /// Scenes that it has: project and scene.
    pub scenes: Vec<(String, String)>,
}

fn view(id: &str, entry: &Entry, now: UnixMillis) -> ProjectView {
    let project = &entry.project;
    let activity = match (project.stage, entry.activity) {
        (Stage::Starting, Step::Looking(frames)) => Activity::Looking(frames),
        (Stage::Starting, _) => Activity::Starting,
        (Stage::Splitting, Step::Cutting(scenes)) => Activity::Cutting(scenes),
        (Stage::Splitting, _) => Activity::Cutting(0),
        (Stage::Ready, _) => Activity::Ready,
        (Stage::Joining, Step::Joining(scenes)) => Activity::Joining(scenes),
        (Stage::Joining, _) => Activity::Joining(0),
        (Stage::Complete, _) => Activity::Complete,
        (Stage::Failed, _) => Activity::Failed,
    };
    let frames = entry.encoded_frames();
    let spent = match (project.encode_began, entry.last_accepted) {
        (Some(began), Some(last)) => last.since(began).as_secs_f64(),
        _ => 0.0,
    };
    let scene = |(nth, span): (usize, &crate::plan::scenes::SceneSpan)| {
        let scene = &entry.scenes[nth];
        let encoded = scene.encoded();
        let artifact: Option<ArtifactName> = encoded.and_then(|e| e.artifact.parse().ok());
        let file = artifact.and_then(|a| {
            let (_, extension) = a.file().rsplit_once('.')?;
            Some(format!("{}.{extension}", scene_name(nth)))
        });
        let holders = scene.holders.iter().filter(|h| h.until > now);
        let engine = scene.engine.as_ref();
        SceneView {
            name: scene_name(nth),
            start: span.start,
            frames: span.frames,
            encoder_params: project.scene_params.get(&nth).cloned().unwrap_or_default(),
            bytes: encoded.map_or(0, |e| e.bytes),
            file,
            workers: holders
                .map(|h| h.id.clone())
                .chain(engine.map(|e| e.0.clone()))
                .collect(),
            progress: engine.and_then(|e| e.1.clone()),
            failures: scene.failures,
            error: scene.error.clone(),
            is_given_up: scene.state == SceneState::GivenUp,
            measured: encoded.and_then(|e| e.measured.clone()),
            notes: encoded.map(|e| e.notes.clone()).unwrap_or_default(),
        }
    };
    ProjectView {
        id: id.to_owned(),
        input: project.input.clone(),
        encoder: project.encoder,
        encoder_params: project.encoder_params.clone(),
        ffmpeg_params: project.ffmpeg_params.clone(),
        priority: project.priority,
        on_complete: project.on_complete,
        quality: project.quality,
        grain_table: project.grain_table.clone(),
        activity,
        paused: project.paused,
        reason: project.reason.clone(),
        rate: project.rate,
        frames,
        total_frames: project.total_frames(),
        remaining: entry.remaining(),
        fps: frames as f64 / spent.max(1.0),
        scenes: project.scenes.iter().enumerate().map(scene).collect(),
        completed_bytes: project.completed.as_ref().map(|c| c.bytes),
        notes: project
            .completed
            .as_ref()
            .map(|c| c.notes.clone())
            .unwrap_or_default(),
    }
}

impl Scenes {
    /// Machines whose grav1 workers asked for scenes within the last hour.
    pub fn workers(&self) -> Vec<WorkerView> {
        let now = self.dispatcher.now();
        let table = self.table();
        let held = |ip: &str| {
            let entries = table.entries.iter();
            let scenes =
                entries.flat_map(|(id, e)| e.scenes.iter().enumerate().map(move |s| (id, s)));
            let of_worker = scenes.filter(|(_, (_, scene))| {
                let mut holders = scene.holders.iter();
                holders.any(|h| h.ip == ip && h.until > now)
            });
            of_worker
                .map(|(id, (nth, _))| (id.clone(), scene_name(nth)))
                .collect()
        };
        let seen = table.contacts.iter();
        seen.map(|(ip, at)| WorkerView {
            ip: ip.clone(),
            silent_for: now.since(*at),
            scenes: held(ip),
        })
        .collect()
    }

    /// All projects, oldest first.
    pub fn projects(&self) -> Vec<ProjectView> {
        let now = self.dispatcher.now();
        let table = self.table();
        let all = table.in_order().into_iter();
        all.map(|(id, entry)| view(id, entry, now)).collect()
    }

    /// # Errors
    /// `NoSuchProject`.
    pub fn view(&self, id: &str) -> Result<ProjectView, ScenesError> {
        let table = self.table();
        let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
        Ok(view(id, entry, self.dispatcher.now()))
    }

    /// The encode of a scene.
    ///
    /// # Errors
    /// `NoSuchProject`, `NoSuchScene` (also one that is not encoded).
    pub fn scene_file(&self, id: &str, scene: &str) -> Result<ArtifactName, ScenesError> {
        let table = self.table();
        let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
        let nth = entry.scene_number(scene).ok_or(ScenesError::NoSuchScene)?;
        let encoded = entry.scenes[nth].encoded();
        let name = encoded.and_then(|e| e.artifact.parse().ok());
        name.ok_or(ScenesError::NoSuchScene)
    }

    /// The joined file.
    ///
    /// # Errors
    /// `NoSuchProject`; `NotNow`: it is not complete.
    pub fn completed_file(&self, id: &str) -> Result<ArtifactName, ScenesError> {
        let table = self.table();
        let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
        let is_complete = entry.project.stage == Stage::Complete;
        let completed = entry.project.completed.as_ref().filter(|_| is_complete);
        let name = completed.and_then(|c: &Completed| c.artifact.parse().ok());
        name.ok_or(ScenesError::NotNow("the project is not complete"))
    }

    /// Pictures of accepted uploads, and for how long this process has taken any.
    pub fn accepted(&self) -> Option<(UnixMillis, Duration, u64)> {
        let (since, frames) = self.table().accepted?;
        Some((since, self.dispatcher.now().since(since), frames))
    }
}
