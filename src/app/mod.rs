//! Composition: from a configuration to a running gateway, and back to nothing.

mod build;
mod engine;
mod job_metrics;
mod node;
mod reload;
mod running;
mod token;

pub use build::{StartError, opener, source_policy};
pub use engine::{Engine, RemoteGateway, start_engine};
pub use reload::ReloadError;
pub use running::{Gateway, start, start_on};
pub use token::{new_registration_token, own_url};
