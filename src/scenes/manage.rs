//! Making, changing and deleting projects.

use std::sync::Arc;

use uuid::Uuid;

use crate::artifact::ArtifactName;
use crate::dispatch::DispatchError;
use crate::job::{Job, JobState};
use crate::media::{OnComplete, QualityGoal, SceneEncoder};
use crate::plan::scenes::SceneRules;
use crate::store::StoreError;

use super::drive;
use super::error::ScenesError;
use super::grain::grain_name;
use super::project::{PROJECTS, Project, Stage, scene_name};
use super::service::Scenes;
use super::split::segment_name;
use super::table::{Scene, SceneState};

/// What a client wants encoded; each input becomes a project.
#[derive(Debug, Clone, PartialEq)]
pub struct NewProject {
    /// Sources, as the client names them; not empty.
    pub inputs: Vec<String>,
    pub encoder: SceneEncoder,
    pub encoder_params: String,
    pub ffmpeg_params: String,
    pub rules: SceneRules,
    /// A lower number comes first.
    pub priority: f64,
    pub on_complete: OnComplete,
    pub quality: Option<QualityGoal>,
    /// The source of a table of film grain for the whole film; with `aom` only.
    pub grain_table: Option<String>,
    /// For several inputs, the beginning of each id. `None`: one is made up.
    pub id: Option<String>,
}

/// Why a project cannot end in a container.
pub const NO_WEBM: &str = "on_complete: WebM holds pictures of AV1 and VP9 only";

/// How a scene is encoded again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reencode {
    /// From now on, in place of the project's; empty = the project's.
    pub encoder_params: Option<String>,
}

impl Scenes {
    /// Takes projects; when this returns, they survive the gateway. Their ids, in the order of the inputs.
    ///
    /// # Errors
    /// `InputsNotFound`, `BadGrain` and `Exist`: nothing was taken then.
    pub async fn add(self: &Arc<Self>, new: NewProject) -> Result<Vec<String>, ScenesError> {
        let mut missing = Vec::new();
        for input in &new.inputs {
            if let Err(error) = self.opener.resolve(input).await {
                tracing::info!(%error, "an input is refused");
                missing.push(input.clone());
            }
        }
        if !missing.is_empty() {
            return Err(ScenesError::InputsNotFound(missing));
        }
        if let Some(table) = &new.grain_table {
            self.film_grain(table).await?;
        }
        let ids = self.new_ids(&new);
        let known: Vec<String> = {
            let table = self.table();
            let known = |id: &&String| table.entries.contains_key(*id);
            ids.iter().filter(known).cloned().collect()
        };
        if !known.is_empty() {
            return Err(ScenesError::Exist(known));
        }
        let now = self.dispatcher.now();
        for (id, input) in ids.iter().zip(&new.inputs) {
            let project = Project {
                node: self.settings.node.clone(),
                key: Uuid::new_v4().simple().to_string(),
                input: input.clone(),
                encoder: new.encoder,
                encoder_params: new.encoder_params.clone(),
                ffmpeg_params: new.ffmpeg_params.clone(),
                rules: new.rules,
                priority: new.priority,
                on_complete: new.on_complete,
                quality: new.quality,
                grain_table: new.grain_table.clone(),
                paused: false,
                stage: Stage::Starting,
                reason: None,
                rate: None,
                scenes: Vec::new(),
                cuts: Default::default(),
                scene_params: Default::default(),
                encode_began: None,
                completed: None,
            };
            let stored = self.dispatcher.store();
            let stored = stored.insert_document(PROJECTS, id, &project, now).await;
            match stored {
                Err(StoreError::Exists) => return Err(ScenesError::Exist(vec![id.clone()])),
                stored => stored?,
            }
            tracing::info!(project = id, encoder = new.encoder.name(), "project taken");
            self.enter(id.clone(), project, 0);
            drive::spawn(self, id.clone());
        }
        Ok(ids)
    }

    /// `ID` or `ID01`, `ID02`...; without an id the time, as grav1 has it.
    fn new_ids(&self, new: &NewProject) -> Vec<String> {
        let count = new.inputs.len();
        match &new.id {
            Some(id) if count == 1 => vec![id.clone()],
            Some(id) => (1..=count).map(|n| format!("{id}{n:02}")).collect(),
            None => {
                let mut ms = self.dispatcher.now().as_millis();
                let table = self.table();
                let mut next = || {
                    loop {
                        let id = format!("{}.{:03}", ms / 1000, ms % 1000);
                        ms += 1;
                        if !table.entries.contains_key(&id) {
                            return id;
                        }
                    }
                };
                (0..count).map(|_| next()).collect()
            }
        }
    }

    /// Changes a project's place in the queue, or what is done at its end (until then).
    ///
    /// # Errors
    /// `NoSuchProject`; `NotNow`: the container does not hold the project's pictures.
    pub async fn modify(
        self: &Arc<Self>,
        id: &str,
        priority: Option<f64>,
        on_complete: Option<OnComplete>,
    ) -> Result<(), ScenesError> {
        let encoder = self.project(id).map(|p| p.encoder);
        if let (Some(encoder), Some(action)) = (encoder, on_complete)
            && !action.holds(encoder)
        {
            return Err(ScenesError::NotNow(NO_WEBM));
        }
        self.update(id, |p| {
            p.priority = priority.unwrap_or(p.priority);
            if let Some(action) = on_complete
                && action != p.on_complete
            {
                p.on_complete = action;
                if p.stage == Stage::Complete {
                    p.stage = Stage::Joining;
                }
            }
        })
        .await?;
        if priority.is_some() {
            // Thousands of scenes may have to change their place.
            let (this, id) = (self.clone(), id.to_owned());
            self.tracker.spawn(async move {
                if let Err(error) = this.reorder(&id).await {
                    tracing::warn!(project = id, %error, "scenes keep their place in the queue");
                }
            });
        }
        Ok(())
    }

    async fn reorder(&self, id: &str) -> Result<(), DispatchError> {
        for job in self.dispatcher.store().owned_by(id).await? {
            let Some(project) = self.project(id) else {
                return Ok(());
            };
            let priority = project.queue_priority();
            if job.state.is_final() || job.priority == priority {
                continue;
            }
            match self.dispatcher.prioritise(&job.id, priority).await {
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Deletes a project with everything that was made of its source. What workers still send of it is
    /// not known any more.
    ///
    /// # Errors
    /// `NoSuchProject`.
    pub async fn delete(self: &Arc<Self>, id: &str) -> Result<(), ScenesError> {
        let entry = {
            let _one_at_a_time = self.writing.lock().await;
            let entry = self.table().entries.remove(id);
            let entry = entry.ok_or(ScenesError::NoSuchProject)?;
            entry.cancel.cancel();
            self.dispatcher
                .store()
                .remove_document(PROJECTS, id)
                .await?;
            entry
        };
        let jobs = self.dispatcher.store().owned_by(id).await?;
        for job in &jobs {
            let ours = job.id.as_str().starts_with(&entry.project.key);
            if !ours {
                continue;
            }
            match self.dispatcher.cancel(&job.id).await {
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error.into()),
            }
            self.dispatcher.forget(&job.id).await?;
        }
        let project = entry.project;
        for nth in 0..project.scenes.len() {
            let encode = entry.scenes.get(nth).and_then(Scene::encoded);
            let encode = encode.and_then(|e| e.artifact.parse().ok());
            let made = [
                segment_name(&project, nth),
                grain_name(&project, nth),
                encode,
            ];
            for name in made.into_iter().flatten() {
                self.artifacts.delete(&name).await?;
            }
        }
        if let Some(own) = project.own_id() {
            let files = [
                "times.bin",
                "completed.webm",
                "completed.mkv",
                "merged.mkv",
                "merged.mp4",
                "merged.webm",
            ];
            for file in files {
                if let Ok(name) = ArtifactName::new(own.clone(), file) {
                    self.artifacts.delete(&name).await?;
                }
            }
        }
        tracing::info!(project = id, "project deleted");
        Ok(())
    }

    /// No more scenes of it are handed out; those that are under way are finished and taken.
    ///
    /// # Errors
    /// `NoSuchProject`.
    pub async fn pause(&self, id: &str, paused: bool) -> Result<(), ScenesError> {
        self.update(id, |p| p.paused = paused).await?;
        self.reconcile(id).await?;
        Ok(())
    }

    /// Encodes a scene once more: one that was given up, or one that is not good enough.
    ///
    /// # Errors
    /// `NoSuchProject`, `NoSuchScene`, `NotNow`.
    pub async fn encode_again(
        &self,
        id: &str,
        scene: &str,
        how: Reencode,
    ) -> Result<(), ScenesError> {
        let (nth, project, old) = {
            let table = self.table();
            let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
            let nth = entry.scene_number(scene).ok_or(ScenesError::NoSuchScene)?;
            if entry.scenes[nth].state == SceneState::Uncut {
                return Err(ScenesError::NotNow("the scene is not cut out"));
            }
            let old = entry.scenes[nth].encoded().cloned();
            (nth, entry.project.clone(), old)
        };
        if matches!(project.stage, Stage::Starting | Stage::Splitting) {
            return Err(ScenesError::NotNow("the project is still being split"));
        }
        let is_cut = |s: &Scene| s.state != SceneState::Uncut;
        let all_are_cut = self
            .table()
            .entries
            .get(id)
            .is_some_and(|e| e.scenes.iter().all(is_cut));
        let job = project.job_id(nth).ok_or(ScenesError::NoSuchScene)?;
        // A new job: what was reported of the old one does not count any more.
        match self.dispatcher.cancel(&job).await {
            Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
            Err(error) => return Err(error.into()),
        }
        self.dispatcher.forget(&job).await?;
        self.update(id, |p| {
            if let Some(params) = how.encoder_params {
                p.scene_params.insert(nth, params);
            }
            // It may have failed before all was cut out.
            p.stage = match all_are_cut {
                true => Stage::Ready,
                false => Stage::Splitting,
            };
            p.reason = None;
        })
        .await?;
        if let Some(entry) = self.table().entries.get_mut(id) {
            entry.scenes[nth] = Scene {
                state: SceneState::Open,
                ..Scene::default()
            };
        }
        let project = self.project(id).ok_or(ScenesError::NoSuchProject)?;
        let new = self.new_job(id, &project, nth);
        self.dispatcher
            .submit_all(new.into_iter().collect())
            .await?;
        self.reconcile(id).await?;
        let name = old.and_then(|o| o.artifact.parse::<ArtifactName>().ok());
        if let Some(name) = name {
            self.artifacts.delete(&name).await?;
        }
        tracing::info!(
            project = id,
            scene = scene_name(nth),
            "a scene is encoded again"
        );
        Ok(())
    }

    /// Makes the queue as the project is: while it hands out, its scenes are ready; while it rests, none
    /// is. A scene that is being encoded is left to its end.
    pub(super) async fn reconcile(&self, id: &str) -> Result<(), DispatchError> {
        for job in self.dispatcher.store().owned_by(id).await? {
            let is_resting = match self.table().entries.get(id) {
                Some(entry) => entry.is_resting(),
                None => return Ok(()),
            };
            let changed = match (is_resting, job.state) {
                (false, JobState::Cancelled) => self.dispatcher.retry(&job.id).await,
                (true, JobState::Ready) => self.dispatcher.cancel(&job.id).await,
                _ => continue,
            };
            match changed {
                Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) async fn forget_artifact(&self, name: &ArtifactName, job: &Job) {
        if let Err(error) = self.artifacts.delete(name).await {
            tracing::warn!(job.id = %job.id, %error, "a superfluous encode cannot be deleted");
        }
    }
}
