//! The HTTP front: connections, routes, and the words in which errors leave the gateway.

mod body;
mod error;
mod files;
mod health;
mod queries;
mod router;
mod server;
mod state;
mod stream;
mod transcode;
mod wire;

pub use router::router;
pub use server::{ServerSettings, serve};
pub use state::AppState;
