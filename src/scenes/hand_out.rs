//! Handing scenes to grav1's workers, and knowing who has which.
//!
//! Holders are kept in memory and answer at once. That our own engines leave a scene alone that a worker
//! has is a lease in the queue, which is booked behind the answer: at worst a scene is encoded twice.

use std::sync::Weak;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::artifact::ArtifactName;
use crate::base::{QueueId, WorkerId};
use crate::dispatch::DispatchError;
use crate::job::{Proof, SceneOffer, choose_scene};
use crate::media::SceneEncoder;

use super::error::ScenesError;
use super::project::{Project, scene_name};
use super::service::Scenes;
use super::split::segment_name;
use super::table::{Entry, Holder, Scene, SceneState, WORKER_PREFIX};

/// Who asks for a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// `ip:port` of its connection.
    pub id: String,
    pub ip: String,
}

/// A scene that a worker says it has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HeldScene {
    pub projectid: String,
    pub scene: String,
}

/// A scene as it is handed to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct HandedScene {
    pub project: String,
    pub scene: String,
    pub segment: ArtifactName,
    pub encoder: SceneEncoder,
    pub encoder_params: String,
    pub ffmpeg_params: String,
    /// Which version of the encoder the worker must have; `None` = not known.
    pub version: Option<String>,
    pub frames: u32,
    /// Whether the scene has a table of film grain, which the worker asks for by itself.
    pub has_grain: bool,
}

/// What the queue is to know of grav1's workers.
#[derive(Debug)]
pub(super) struct Booking {
    project: String,
    nth: usize,
    worker: String,
    /// Whether the worker has it still.
    holds: bool,
}

impl Scenes {
    /// The next scene for `asker`, who has `held` already; these are kept for it.
    pub fn hand_out(&self, asker: &Asker, held: &[HeldScene]) -> Option<HandedScene> {
        let now = self.dispatcher.now();
        let until = now + self.settings.lease;
        let mut table = self.table();
        table.heard_of(&asker.ip, now);
        for held in held {
            let Some(entry) = table.entries.get_mut(&held.projectid) else {
                continue;
            };
            let Some(nth) = entry.scene_number(&held.scene) else {
                continue;
            };
            let scene = &mut entry.scenes[nth];
            scene.forget_silent(now);
            if scene.state != SceneState::Open {
                continue;
            }
            // The port differs with every connection.
            let of_asker = scene.holders.iter_mut().filter(|h| h.ip == asker.ip);
            let known = of_asker.map(|h| h.until = until).count();
            if known == 0 {
                scene.holders.push(asker.holder(until));
            }
            self.tell(&held.projectid, nth, &asker.id, true);
        }
        for entry in table.entries.values_mut() {
            entry.scenes.iter_mut().for_each(|s| s.forget_silent(now));
        }
        let has = |id: &str, nth: usize| {
            let mut held = held.iter().filter(|h| h.projectid == id);
            held.any(|h| super::service::scene_number(&h.scene) == Some(nth))
        };
        let in_order = table.in_order();
        let projects = in_order
            .iter()
            .filter(|(_, e)| e.is_handing_out() && e.project.is_for_workers());
        let offers = projects.flat_map(|(id, entry)| {
            let scenes = entry.scenes.iter().enumerate();
            let open = scenes.filter(|(nth, s)| s.state == SceneState::Open && !has(id, *nth));
            open.map(|(nth, scene)| SceneOffer {
                priority: entry.project.priority,
                holders: scene.holders.len() + usize::from(scene.engine.is_some()),
                frames: entry.project.scenes[nth].frames,
                what: ((*id).clone(), nth),
            })
        });
        let (id, nth) = choose_scene(offers)?;
        let entry = table.entries.get_mut(&id)?;
        entry.scenes[nth].holders.push(asker.holder(until));
        let handed = self.handed(&id, entry, nth);
        drop(table);
        self.tell(&id, nth, &asker.id, true);
        tracing::debug!(
            project = id,
            scene = nth,
            worker = asker.id,
            "a scene is handed out"
        );
        handed
    }

    fn handed(&self, id: &str, entry: &Entry, nth: usize) -> Option<HandedScene> {
        let project = &entry.project;
        Some(HandedScene {
            project: id.to_owned(),
            scene: scene_name(nth),
            segment: segment_name(project, nth)?,
            encoder: project.encoder,
            encoder_params: project.params_of(nth).to_owned(),
            ffmpeg_params: project.ffmpeg_params.clone(),
            version: self.version_for(project).map(str::to_owned),
            frames: project.scenes[nth].frames,
            has_grain: project.grain_table.is_some(),
        })
    }

    pub(super) fn version_for(&self, project: &Project) -> Option<&str> {
        let versions = &self.settings.versions;
        match project.encoder {
            SceneEncoder::Aom => versions.aom.as_deref(),
            SceneEncoder::Vpx | SceneEncoder::Vp9 => versions.vpx.as_deref(),
            _ => None,
        }
    }

    /// A worker gives a scene back.
    ///
    /// # Errors
    /// `NoSuchProject`, `NoSuchScene` (also one that is encoded already).
    pub fn give_back(&self, id: &str, scene: &str, worker: &str) -> Result<(), ScenesError> {
        let nth = self.open_scene(id, scene)?;
        self.drop_holder(id, nth, worker);
        Ok(())
    }

    /// Whether a scene is still to be encoded.
    pub fn is_open(&self, id: &str, scene: &str) -> bool {
        self.open_scene(id, scene).is_ok()
    }

    fn open_scene(&self, id: &str, scene: &str) -> Result<usize, ScenesError> {
        let table = self.table();
        let entry = table.entries.get(id).ok_or(ScenesError::NoSuchProject)?;
        let nth = entry.scene_number(scene).ok_or(ScenesError::NoSuchScene)?;
        match entry.scenes[nth].state {
            SceneState::Open => Ok(nth),
            _ => Err(ScenesError::NoSuchScene),
        }
    }

    pub(super) fn drop_holder(&self, id: &str, nth: usize, worker: &str) {
        let is_free = {
            let mut table = self.table();
            let scene = table
                .entries
                .get_mut(id)
                .and_then(|e| e.scenes.get_mut(nth));
            scene.is_some_and(|scene| {
                scene.holders.retain(|h| h.id != worker);
                scene.holders.is_empty() && scene.booking.is_some()
            })
        };
        if is_free {
            self.tell(id, nth, worker, false);
        }
    }

    fn tell(&self, project: &str, nth: usize, worker: &str, holds: bool) {
        // Nobody listens when the gateway stops.
        let _ = self.bookings.send(Booking {
            project: project.to_owned(),
            nth,
            worker: worker.to_owned(),
            holds,
        });
    }

    /// Makes one booking true.
    async fn book(&self, booking: &Booking) -> Result<(), DispatchError> {
        let Some((job, token)) = self.booked(booking) else {
            return Ok(());
        };
        let (dispatcher, lease) = (&self.dispatcher, self.settings.lease);
        if !booking.holds {
            if let Some(token) = token {
                dispatcher.release(&job, Proof::Token(token)).await?;
            }
            return Ok(());
        }
        if let Some(token) = token {
            let renewed = dispatcher
                .renew_for(&job, Proof::Token(token), lease, None)
                .await;
            if renewed.is_ok() {
                return Ok(());
            }
        }
        let worker = WorkerId::new(format!("{WORKER_PREFIX}{}", booking.worker));
        let leased = dispatcher
            .accept_for(&job, &worker, lease, dispatcher.settings().job_timeout)
            .await?;
        let token = leased.lease.map(|l| l.token);
        self.with_scene(booking, |scene| scene.booking = token);
        Ok(())
    }

    fn booked(&self, booking: &Booking) -> Option<(QueueId, Option<crate::base::LeaseToken>)> {
        let table = self.table();
        let entry = table.entries.get(&booking.project)?;
        let token = entry.scenes.get(booking.nth)?.booking;
        Some((entry.project.job_id(booking.nth)?, token))
    }

    fn with_scene(&self, booking: &Booking, change: impl FnOnce(&mut Scene)) {
        let mut table = self.table();
        let entry = table.entries.get_mut(&booking.project);
        if let Some(scene) = entry.and_then(|e| e.scenes.get_mut(booking.nth)) {
            change(scene);
        }
    }
}

impl Asker {
    fn holder(&self, until: crate::base::UnixMillis) -> Holder {
        Holder {
            id: self.id.clone(),
            ip: self.ip.clone(),
            until,
        }
    }
}

/// Books until `cancel`.
pub(super) async fn book(
    scenes: Weak<Scenes>,
    mut bookings: mpsc::UnboundedReceiver<Booking>,
    cancel: CancellationToken,
) {
    while let Some(Some(booking)) = cancel.run_until_cancelled(bookings.recv()).await {
        let Some(scenes) = scenes.upgrade() else {
            return;
        };
        match scenes.book(&booking).await {
            // One of our own engines, or a second worker: it was not free.
            Ok(()) | Err(DispatchError::Refused(_) | DispatchError::NoSuchJob) => {}
            Err(error) => tracing::debug!(%error, "a scene is not booked"),
        }
    }
}
