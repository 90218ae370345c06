//! Hearing what becomes of scenes in the queue.

use std::sync::{Arc, Weak};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::job::{Job, JobSpec, JobState};

use super::service::{Scenes, scene_number};

/// Follows all changes of jobs until `cancel`.
pub(super) async fn run(scenes: Weak<Scenes>, cancel: CancellationToken) {
    let Some(mut changes) = scenes.upgrade().map(|s| s.dispatcher.changes()) else {
        return;
    };
    while let Some(change) = cancel.run_until_cancelled(changes.recv()).await {
        let Some(scenes) = scenes.upgrade() else {
            return;
        };
        match change {
            Ok(job) => scenes.hear(&job).await,
            Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(_)) => {
                let ids: Vec<String> = scenes.table().entries.keys().cloned().collect();
                for id in ids {
                    if let Err(error) = scenes.resync(&id).await {
                        tracing::warn!(project = id, %error, "cannot ask for the jobs of a project");
                    }
                }
            }
        }
    }
}

impl Scenes {
    async fn hear(self: &Arc<Self>, job: &Job) {
        let JobSpec::Scene(spec) = &job.spec else {
            return;
        };
        let is_held_back = {
            let mut table = self.table();
            let Some(entry) = table.entries.get_mut(&spec.project) else {
                return;
            };
            let Some(nth) = scene_number(&spec.scene).filter(|n| *n < entry.scenes.len()) else {
                return;
            };
            // A job of a deleted project of the same name has another key.
            if entry.project.job_id(nth).as_ref() != Some(&job.id) {
                return;
            }
            entry.scenes[nth].follow(job);
            if job.state == JobState::Done {
                entry.last_accepted = entry.last_accepted.max(Some(job.updated_at));
            }
            entry.changed.notify_one();
            entry.is_resting() && job.state == JobState::Ready
        };
        if !is_held_back {
            return;
        }
        // Its worker gave it back while the project rests.
        let held = self.dispatcher.cancel(&job.id).await;
        let is_resting = || {
            let table = self.table();
            let entry = table.entries.get(&spec.project);
            entry.is_none_or(super::table::Entry::is_resting)
        };
        // It may have gone on in this moment.
        let done = match held {
            Ok(_) if !is_resting() => self.dispatcher.retry(&job.id).await,
            held => held,
        };
        if let Err(error) = done {
            tracing::debug!(job.id = %job.id, %error, "a scene is not held back");
        }
    }
}
