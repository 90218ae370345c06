//! Composition: from a configuration to a running gateway, and back to nothing.

mod build;
mod engine;
mod node;
mod running;
mod token;

pub use build::{StartError, opener, source_policy};
pub use engine::{Engine, RemoteGateway, start_engine};
pub use running::{Gateway, start};
pub use token::{new_registration_token, own_url};
