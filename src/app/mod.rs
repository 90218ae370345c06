//! Composition: from a configuration to a running gateway, and back to nothing.

mod build;
mod node;
mod running;

pub use build::{StartError, opener, source_policy};
pub use running::{Gateway, start};
