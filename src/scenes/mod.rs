//! Films that are encoded scene by scene, by many machines (grav1 contract).
//!
//! A project is a document; each of its scenes is a job of [`crate::dispatch`] that belongs to it. The
//! gateway finds the scenes, cuts each into a segment (an artifact), hands segments to workers, verifies
//! what comes back, joins it. Each step leaves what it made in the store before the next begins, so a
//! gateway that was killed goes on where it was. What grav1's workers hold is kept in memory only.
//!
//! Projects belong to the gateway that made them: others on the same database leave them alone, but
//! their engines may encode its scenes.

mod cut;
mod drive;
mod error;
mod files;
mod finish;
mod follow;
mod grain;
mod hand_out;
mod join;
mod manage;
mod project;
mod service;
mod split;
mod table;
mod view;

pub use error::ScenesError;
pub use finish::{Upload, Verdict};
pub use hand_out::{Asker, HandedScene, HeldScene};
pub use manage::{NO_WEBM, NewProject, Reencode};
pub use service::{EncoderVersions, Scenes, ScenesParts, ScenesSettings, scene_number};
pub use view::{Activity, ProjectView, SceneView, WorkerView};
