//! The HTTP front: connections, routes, and the words in which errors leave the gateway.

mod access;
mod artifacts;
mod body;
mod callbacks;
mod distconv;
mod download;
mod engines;
mod error;
mod files;
mod grav1;
mod health;
mod jobs;
mod links;
mod machine;
mod presence;
mod progress;
mod progress_session;
mod queries;
mod router;
mod server;
mod sharing;
mod state;
mod stream;
mod transcode;
mod wire;

pub use access::{Access, AccessSettings};
pub use callbacks::{Callbacks, SIGNATURE_HEADER};
pub use grav1::Grav1Settings;
pub use health::platform;
pub use links::Signer;
pub use machine::Machine;
pub use presence::Presence;
pub use router::router;
pub use server::{ServerSettings, serve};
pub use state::AppState;
