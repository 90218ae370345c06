//! Batch jobs: a whole source into a file that is kept.
//!
//! A job waits in the queue of [`crate::dispatch`] and so outlives the gateway; the registry of
//! [`crate::session`] shows it to clients like any other job; this gateway's own workers make its file
//! in a folder below `storage.directory`.

mod error;
mod files;
mod service;
mod worker;

pub use error::BatchError;
pub use service::{BatchParts, BatchSettings, Batches};
