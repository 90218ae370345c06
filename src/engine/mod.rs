//! The worker: fetches queued work, does it, delivers the result.
//!
//! The gateway's own engine and one on another machine are the same; only the desk at which they get
//! their work differs.

mod desk;
mod error;
mod remote;
mod run;
mod scene;
mod transcode;

pub use desk::{Desk, LocalDesk};
pub use error::DeskError;
pub use remote::RemoteDesk;
pub use run::{EngineParts, run};
