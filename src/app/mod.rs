//! Composition: from a configuration to a running gateway, and back to nothing.

mod build;
mod engine;
mod node;
mod running;

pub use build::{StartError, opener, source_policy};
pub use engine::{Engine, RemoteGateway, start_engine};
pub use running::{Gateway, start, start_from};
