//! Why the dispatcher did not do what it was asked.

use crate::job::Refused;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error("Job not found")]
    NoSuchJob,
    #[error("Engine not found")]
    NoSuchWorker,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others changed the same thing again and again while this was to be done.
    #[error("too many changes at once; try again")]
    Contended,
}
