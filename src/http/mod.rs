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
mod health;
mod jobs;
mod links;
mod machine;
mod peertube;
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
pub use health::platform;
pub use links::Signer;
pub use machine::Machine;
pub use peertube::{RunnerSockets, tell as tell_ends_of_videos};
pub use presence::Presence;
pub use router::router;
pub use server::{ServerSettings, serve};
pub use state::AppState;
