//! Why a batch job cannot be taken or given.

use crate::dispatch::DispatchError;
use crate::session::SessionError;

/// A batch job cannot be taken, or its file cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    #[error("Job is not ready for download")]
    NotReady,
    #[error("Output file not found")]
    NoFile,
}
