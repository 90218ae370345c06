//! A project's way from its source to its joined file.

use std::sync::Arc;
use std::time::Duration;

use super::error::StepError;
use super::project::{SceneCut, Stage, scene_name};
use super::service::Scenes;
use super::split::segment_name;
use super::table::{Scene, SceneState};
use super::{cut, join, split};

/// Wait after trouble with the store.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often the queue is asked about scenes without having been told: by an engine of another gateway.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Looks after a project until it is deleted or the gateway stops.
pub(super) fn spawn(scenes: &Arc<Scenes>, id: String) {
    let Some(cancel) = scenes.table().entries.get(&id).map(|e| e.cancel.clone()) else {
        return;
    };
    let this = scenes.clone();
    scenes.tracker.spawn(async move {
        cancel.run_until_cancelled(drive(&this, &id)).await;
    });
}

async fn drive(scenes: &Arc<Scenes>, id: &str) {
    if let Err(error) = scenes.reconcile(id).await {
        tracing::warn!(project = id, %error, "cannot look after the jobs of a project");
    }
    while let Some(stage) = scenes.stage(id) {
        let step = match stage {
            Stage::Starting => split::look(scenes, id).await,
            Stage::Splitting => cut::cut(scenes, id).await,
            Stage::Ready => ready(scenes, id).await,
            Stage::Joining => join::join(scenes, id).await,
            Stage::Complete | Stage::Failed => wait(scenes, id).await,
        };
        let failed = match step {
            Ok(()) => continue,
            Err(StepError::Cancelled) => return,
            Err(StepError::Failed(reason)) => fail(scenes, id, reason).await,
            Err(StepError::Trouble(error)) => Err(StepError::Trouble(error)),
        };
        if let Err(error) = failed {
            tracing::warn!(project = id, %error, "a project has to wait");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

async fn fail(scenes: &Arc<Scenes>, id: &str, reason: String) -> Result<(), StepError> {
    tracing::warn!(project = id, reason, "a project fails");
    scenes
        .update(id, |p| {
            p.stage = Stage::Failed;
            p.reason = Some(reason);
        })
        .await?;
    scenes.reconcile(id).await?;
    Ok(())
}

/// Waits for somebody to change the project.
async fn wait(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    let changed = scenes.table().entries.get(id).map(|e| e.changed.clone());
    changed.ok_or(StepError::Cancelled)?.notified().await;
    Ok(())
}

impl Scenes {
    /// A scene of the project that is not tried any more, if there is one, and why.
    fn given_up(&self, id: &str) -> Option<(usize, String)> {
        let table = self.table();
        let scenes = &table.entries.get(id)?.scenes;
        let nth = scenes.iter().position(|s| s.state == SceneState::GivenUp)?;
        let why = scenes[nth].error.as_deref();
        let why = why.unwrap_or("no reason is known");
        Some((nth, format!("scene {}: {why}", scene_name(nth))))
    }

    /// Sends a scene back to be cut out without loss, if its segment may be the reason why it cannot be
    /// encoded: it has more pictures than the scene, and no encoder refused its parameters.
    async fn cut_anew(&self, id: &str, nth: usize) -> Result<bool, StepError> {
        let project = self.project(id).ok_or(StepError::Cancelled)?;
        let failures = {
            let table = self.table();
            let scene = table.entries.get(id).and_then(|e| e.scenes.get(nth));
            scene.map_or(0, |s| s.failures)
        };
        if !project.has_surroundings(nth) || failures < self.settings.max_attempts {
            return Ok(false);
        }
        let (job, old) = (project.job_id(nth), segment_name(&project, nth));
        let (Some(job), Some(old)) = (job, old) else {
            return Ok(false);
        };
        tracing::info!(
            project = id,
            scene = scene_name(nth),
            "a scene is cut out anew"
        );
        self.dispatcher.forget(&job).await?;
        self.update(id, |p| {
            p.cuts.insert(nth, SceneCut::Lossless);
            p.stage = Stage::Splitting;
        })
        .await?;
        if let Some(entry) = self.table().entries.get_mut(id) {
            entry.scenes[nth] = Scene::default();
        }
        self.artifacts.delete(&old).await?;
        Ok(true)
    }
}

/// Scenes are handed out until all are encoded, or one cannot be.
async fn ready(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    if let Some((nth, reason)) = scenes.given_up(id) {
        return match scenes.cut_anew(id, nth).await? {
            true => Ok(()),
            false => Err(StepError::Failed(reason)),
        };
    }
    let (is_done, all_queued, changed) = {
        let table = scenes.table();
        let entry = table.entries.get(id).ok_or(StepError::Cancelled)?;
        let all_queued = entry.scenes.iter().all(|s| s.state != SceneState::Uncut);
        (entry.remaining() == 0, all_queued, entry.changed.clone())
    };
    if !all_queued {
        // An earlier process ended between taking a scene out of the queue and putting it back.
        scenes.update(id, |p| p.stage = Stage::Splitting).await?;
        return Ok(());
    }
    if is_done {
        scenes.update(id, |p| p.stage = Stage::Joining).await?;
        return Ok(());
    }
    if tokio::time::timeout(LOOK_EVERY, changed.notified())
        .await
        .is_err()
    {
        scenes.resync(id).await?;
        scenes.reconcile(id).await?;
    }
    Ok(())
}
