//! What a source is: where it lies and where its pictures can be cut. Pure.

pub mod index;
mod keyframes;
mod locator;

pub use keyframes::KeyframeIndex;
pub use locator::{LocalFile, SourceKind, SourceLocator};
