//! The parts of the use case, and its beginning.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::ArtifactStore;
use crate::dispatch::{DispatchError, Dispatcher};
use crate::job::{Job, Proof};
use crate::scratch::ScratchFolder;
use crate::session::Opener;
use crate::store::Document;

use super::error::ScenesError;
use super::hand_out::Booking;
use super::project::{PROJECTS, Project, Stage};
use super::table::{Entry, Scene, Table, WORKER_PREFIX};
use super::{drive, follow, hand_out};

/// The section `grav1` of the configuration, and what else projects need to know.
#[derive(Debug, Clone)]
pub struct ScenesSettings {
    /// Name of this gateway.
    pub node: String,
    /// Time without a word of a worker after which its scene is offered again (`grav1.lease_seconds`).
    pub lease: Duration,
    /// Failures after which a scene is given up (`grav1.max_attempts`).
    pub max_attempts: u32,
    /// Versions that workers must have (`grav1.encoder_versions`).
    pub versions: EncoderVersions,
    /// Time without progress after which a run counts as hung.
    pub stall: Duration,
}

/// Versions of encoders as they name themselves; `None` = not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncoderVersions {
    pub aom: Option<String>,
    pub vpx: Option<String>,
}

/// What projects work with.
pub struct ScenesParts {
    pub dispatcher: Arc<Dispatcher>,
    pub artifacts: ArtifactStore,
    pub opener: Opener,
    /// For what is under way: uploads, segments being cut, files being joined.
    pub folder: ScratchFolder,
    pub settings: ScenesSettings,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

/// See the module.
pub struct Scenes {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) artifacts: ArtifactStore,
    pub(super) opener: Opener,
    pub(super) folder: ScratchFolder,
    pub(super) settings: ScenesSettings,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
    table: Mutex<Table>,
    /// Held while a document is written, so that writes keep their order.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Uploads that are decoded at one time.
    pub(super) verifying: Semaphore,
    /// Projects that are cut or joined at one time.
    pub(super) preparing: Semaphore,
    pub(super) bookings: mpsc::UnboundedSender<Booking>,
}

/// Projects that are cut or joined at one time: a long one must not hold up a short one.
const PREPARING: usize = 2;

/// The number in the name of a scene or of its file: `00042`, `00042.ivf`, `42`.
pub fn scene_number(name: &str) -> Option<usize> {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let plain = !stem.is_empty() && stem.len() <= 9 && stem.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| stem.parse().ok())?
}

impl Scenes {
    /// Takes up the projects of earlier runs. Must be called on a runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(parts: ScenesParts) -> Result<Arc<Scenes>, DispatchError> {
        let (bookings, booked) = mpsc::unbounded_channel();
        let programs = &parts.opener.tools.programs;
        let mut settings = parts.settings;
        let installed =
            |p: &Option<crate::ffmpeg::EncoderProgram>| Some(p.as_ref()?.version.clone());
        let versions = &mut settings.versions;
        versions.aom = versions.aom.take().or_else(|| installed(&programs.aomenc));
        versions.vpx = versions.vpx.take().or_else(|| installed(&programs.vpxenc));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let scenes = Arc::new(Scenes {
            dispatcher: parts.dispatcher,
            artifacts: parts.artifacts,
            opener: parts.opener,
            folder: parts.folder,
            settings,
            tracker: parts.tracker,
            cancel: parts.cancel,
            table: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            verifying: Semaphore::new(cores),
            preparing: Semaphore::new(PREPARING),
            bookings,
        });
        scenes.take_up().await?;
        let tracker = &scenes.tracker;
        tracker.spawn(follow::run(Arc::downgrade(&scenes), scenes.cancel.clone()));
        tracker.spawn(hand_out::book(
            Arc::downgrade(&scenes),
            booked,
            scenes.cancel.clone(),
        ));
        Ok(scenes)
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where uploads lie until they are verified.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn versions(&self) -> &EncoderVersions {
        &self.settings.versions
    }

    async fn take_up(self: &Arc<Self>) -> Result<(), DispatchError> {
        let store = self.dispatcher.store();
        let all: Vec<Document<Project>> = store.documents(PROJECTS).await?;
        for document in all {
            if document.value.node != self.settings.node {
                continue;
            }
            let id = document.id.clone();
            self.enter(id.clone(), document.value, document.version);
            self.resync(&id).await?;
            let leased = store.owned_by(&id).await?;
            for job in leased {
                self.free(&job).await?;
            }
            drive::spawn(self, id);
        }
        Ok(())
    }

    /// What grav1's workers had is offered to all again: who is still at it says so.
    async fn free(&self, job: &Job) -> Result<(), DispatchError> {
        let lease = job.lease.as_ref();
        let Some(lease) = lease.filter(|l| l.worker.as_str().starts_with(WORKER_PREFIX)) else {
            return Ok(());
        };
        let proof = Proof::Token(lease.token);
        match self.dispatcher.release(&job.id, proof).await {
            Ok(_) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn enter(&self, id: String, project: Project, version: i64) {
        let mut table = self.table();
        let order = table.next_order;
        table.next_order += 1;
        let entry = Entry::new(project, version, order, self.cancel.child_token());
        table.entries.insert(id, entry);
    }

    /// Asks the queue for the jobs of a project: what was missed is made up for.
    pub(super) async fn resync(&self, id: &str) -> Result<(), DispatchError> {
        let jobs = self.dispatcher.store().owned_by(id).await?;
        let by_id: BTreeMap<&str, &Job> = jobs.iter().map(|j| (j.id.as_str(), j)).collect();
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(id) else {
            return Ok(());
        };
        let Entry {
            project,
            scenes,
            changed,
            ..
        } = entry;
        for (nth, scene) in scenes.iter_mut().enumerate() {
            let job = project.job_id(nth);
            if let Some(job) = job.and_then(|j| by_id.get(j.as_str()).copied()) {
                scene.follow(job);
            }
        }
        changed.notify_one();
        Ok(())
    }

    /// Changes a project, first in the store.
    ///
    /// # Errors
    /// `NoSuchProject`: it was deleted meanwhile.
    pub(super) async fn update(
        &self,
        id: &str,
        change: impl FnOnce(&mut Project),
    ) -> Result<(), ScenesError> {
        let _one_at_a_time = self.writing.lock().await;
        let (mut project, version) = {
            let table = self.table();
            let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
            (entry.project.clone(), entry.version)
        };
        change(&mut project);
        let now = self.dispatcher.now();
        let store = self.dispatcher.store();
        let written = store.write_document(PROJECTS, id, version, &project, now);
        if !written.await? {
            return Err(ScenesError::NoSuchProject);
        }
        let mut table = self.table();
        let entry = table
            .entries
            .get_mut(id)
            .ok_or(ScenesError::NoSuchProject)?;
        if entry.project.scenes.len() != project.scenes.len() {
            entry.scenes = project.scenes.iter().map(|_| Scene::default()).collect();
        }
        let was = entry.project.stage;
        entry.project = project;
        entry.version = version + 1;
        entry.changed.notify_one();
        if was != entry.project.stage {
            tracing::info!(project = id, stage = ?entry.project.stage, "project goes on");
        }
        Ok(())
    }

    pub(super) fn project(&self, id: &str) -> Option<Project> {
        Some(self.table().entries.get(id)?.project.clone())
    }

    pub(super) fn stage(&self, id: &str) -> Option<Stage> {
        Some(self.table().entries.get(id)?.project.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::scene_number;

    #[test]
    fn scenes_are_named_with_and_without_a_file_name() {
        for name in ["00042", "00042.ivf", "42", "00042.webm"] {
            assert_eq!(scene_number(name), Some(42), "{name}");
        }
        assert_eq!(scene_number("123456"), Some(123_456));
        for bad in ["", ".ivf", "-1", "+1", "x", "1x.ivf", "9999999999"] {
            assert_eq!(scene_number(bad), None, "{bad}");
        }
    }
}
