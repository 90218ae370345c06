//! What a source is: where it lies and where its pictures can be cut. Pure.

mod locator;

pub use locator::{LocalFile, SourceKind, SourceLocator};
