//! Results of jobs: files that are written once, as a stream, and read whole or in parts; in a local
//! folder or in an S3 bucket.

mod error;
mod name;
mod store;

pub use error::ArtifactError;
pub use name::ArtifactName;
pub use store::{Artifact, ArtifactFacts, ArtifactStore, Listed, Upload, Uploaded};
