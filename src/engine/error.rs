//! What can go wrong between an engine and its desk.

/// The desk did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The job is somebody else's by now, or was cancelled: what was made of it is worth nothing.
    #[error("the lease is lost")]
    Lost,
    /// It may answer later.
    #[error("{0}")]
    Unreachable(String),
    /// It will give the same answer later.
    #[error("{0}")]
    Refused(String),
}
