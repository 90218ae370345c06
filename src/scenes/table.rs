//! What the gateway knows of its projects without asking the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::base::{LeaseToken, UnixMillis};
use crate::job::{Job, JobState, Measured, Progress};

use super::project::{Project, Stage};

/// A project in memory.
pub(super) struct Entry {
    /// Of the document.
    pub(super) version: i64,
    pub(super) project: Project,
    /// Empty until the scenes are known.
    pub(super) scenes: Vec<Scene>,
    /// Place in the order in which projects were made.
    pub(super) order: u64,
    pub(super) activity: Step,
    /// A scene has changed.
    pub(super) changed: Arc<Notify>,
    pub(super) cancel: CancellationToken,
    /// Scenes accepted since this process began, for the speed that is shown.
    pub(super) last_accepted: Option<UnixMillis>,
}

/// What a project is busy with within its stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    None,
    /// Pictures looked at.
    Looking(u64),
    /// Scenes cut out and verified.
    Cutting(usize),
    /// Scenes joined.
    Joining(usize),
}

#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) state: SceneState,
    /// Failures so far that count, and the last reason.
    pub(super) failures: u32,
    pub(super) error: Option<String>,
    pub(super) holders: Vec<Holder>,
    /// Our own engine that has it, and how far it is.
    pub(super) engine: Option<(String, Option<Progress>)>,
    /// The lease that keeps our own engines off what grav1's workers have.
    pub(super) booking: Option<LeaseToken>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum SceneState {
    /// It is not in the queue: its segment may not be there yet.
    #[default]
    Uncut,
    Open,
    Done(Encoded),
    GivenUp,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Encoded {
    pub(super) artifact: String,
    pub(super) bytes: u64,
    pub(super) measured: Option<Measured>,
    pub(super) notes: Vec<String>,
}

/// A grav1 worker that has a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// `ip:port` of the connection that fetched it.
    pub(super) id: String,
    pub(super) ip: String,
    pub(super) until: UnixMillis,
}

/// Name that grav1's workers have in the queue begins with this.
pub(super) const WORKER_PREFIX: &str = "grav1 ";

impl Scene {
    /// Forgets holders that have been silent for too long.
    pub(super) fn forget_silent(&mut self, now: UnixMillis) {
        self.holders.retain(|h| h.until > now);
    }

    pub(super) fn encoded(&self) -> Option<&Encoded> {
        match &self.state {
            SceneState::Done(encoded) => Some(encoded),
            _ => None,
        }
    }

    /// Takes over what the queue says of its job.
    pub(super) fn follow(&mut self, job: &Job) {
        self.failures = job.failures;
        self.error = job.error.as_ref().map(|e| match e.as_str() {
            Some(text) => text.to_owned(),
            None => e.to_string(),
        });
        self.engine = None;
        if let (JobState::Leased, Some(worker)) = (job.state, &job.worker)
            && !worker.as_str().starts_with(WORKER_PREFIX)
        {
            self.engine = Some((worker.as_str().to_owned(), job.progress.clone()));
        }
        self.state = match (job.state, &job.output) {
            (JobState::Done, Some(output)) => match (&output.artifact, output.size_bytes) {
                (Some(artifact), Some(bytes)) => SceneState::Done(Encoded {
                    artifact: artifact.clone(),
                    bytes,
                    measured: output.measured.clone(),
                    notes: output.notes.clone(),
                }),
                _ => SceneState::GivenUp,
            },
            (JobState::Done | JobState::Failed, _) => SceneState::GivenUp,
            _ => SceneState::Open,
        };
        if self.state != SceneState::Open {
            self.holders.clear();
            self.booking = None;
        }
    }
}

impl Entry {
    pub(super) fn new(
        project: Project,
        version: i64,
        order: u64,
        cancel: CancellationToken,
    ) -> Entry {
        let scenes = project.scenes.iter().map(|_| Scene::default()).collect();
        Entry {
            version,
            project,
            scenes,
            order,
            activity: Step::None,
            changed: Arc::default(),
            cancel,
            last_accepted: None,
        }
    }

    pub(super) fn is_handing_out(&self) -> bool {
        matches!(self.project.stage, Stage::Splitting | Stage::Ready) && !self.project.paused
    }

    /// Whether its scenes must not be begun: it was stopped, or has failed.
    pub(super) fn is_resting(&self) -> bool {
        self.project.paused || self.project.stage == Stage::Failed
    }

    /// The number of the scene that `name` means, with or without a file name's extension.
    pub(super) fn scene_number(&self, name: &str) -> Option<usize> {
        super::service::scene_number(name).filter(|n| *n < self.scenes.len())
    }

    pub(super) fn encoded_frames(&self) -> u64 {
        let spans = self.project.scenes.iter().zip(&self.scenes);
        let done = spans.filter(|(_, scene)| scene.encoded().is_some());
        done.map(|(span, _)| u64::from(span.frames)).sum()
    }

    pub(super) fn remaining(&self) -> usize {
        self.scenes.iter().filter(|s| s.encoded().is_none()).count()
    }
}

/// All projects of this gateway, by id.
#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) next_order: u64,
    /// Pictures of scenes that were accepted by this process, and since when.
    pub(super) accepted: Option<(UnixMillis, u64)>,
    /// When each grav1 worker, by its IP, last asked for a scene.
    pub(super) contacts: BTreeMap<String, UnixMillis>,
}

/// A worker that was silent for longer is gone.
const GONE_AFTER: Duration = Duration::from_secs(3600);

impl Table {
    /// A worker asks for a scene.
    pub(super) fn heard_of(&mut self, ip: &str, now: UnixMillis) {
        self.contacts.insert(ip.to_owned(), now);
        self.contacts.retain(|_, at| now.since(*at) < GONE_AFTER);
    }

    /// Oldest first.
    pub(super) fn in_order(&self) -> Vec<(&String, &Entry)> {
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| entry.order);
        all
    }
}
