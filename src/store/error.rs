//! Why the store did not do what it was asked.

use crate::job::SpecError;

/// The texts are for clients; what the database said goes to the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("a job with this id exists already")]
    Exists,
    /// The database is not there, or broke off. What was asked may or may not have happened.
    #[error("the job store does not answer; try again in a few seconds")]
    Unavailable(#[source] sqlx::Error),
    #[error(transparent)]
    Unreadable(#[from] SpecError),
    #[error("a stored job cannot be read: its column {0} holds something else")]
    Column(&'static str),
    /// At the start only.
    #[error("cannot open the job store (store.url): {0}")]
    Open(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(e) = &error
            && e.is_unique_violation()
        {
            return StoreError::Exists;
        }
        tracing::warn!(%error, "the job store failed");
        StoreError::Unavailable(error)
    }
}
