//! A project's way from its source to its joined file.

use std::sync::Arc;
use std::time::Duration;

use super::error::StepError;
use super::project::{Stage, scene_name};
use super::service::Scenes;
use super::table::SceneState;
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

/// Scenes are handed out until all are encoded, or one cannot be.
async fn ready(scenes: &Arc<Scenes>, id: &str) -> Result<(), StepError> {
    let verdict = {
        let table = scenes.table();
        let entry = table.entries.get(id).ok_or(StepError::Cancelled)?;
        let given_up = entry
            .scenes
            .iter()
            .position(|s| s.state == SceneState::GivenUp);
        if let Some(nth) = given_up {
            let why = entry.scenes[nth].error.clone();
            let why = why.unwrap_or_else(|| "no reason is known".to_owned());
            Err(StepError::Failed(format!(
                "scene {}: {why}",
                scene_name(nth)
            )))
        } else {
            Ok((entry.remaining() == 0, entry.changed.clone()))
        }
    };
    let (is_done, changed) = verdict?;
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
