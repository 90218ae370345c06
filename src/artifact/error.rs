//! Why an artifact cannot be had or kept.

/// The texts are for clients; what the storage said goes to the log.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("there is no such file")]
    NotFound,
    #[error("the file is larger than {0} bytes, the most that is taken (artifacts.max_bytes)")]
    TooLarge(u64),
    #[error("the file is empty")]
    Empty,
    #[error("the storage of results does not answer; try again in a few seconds")]
    Unavailable(#[source] object_store::Error),
    #[error(
        "the storage of results refuses this gateway (artifacts.url and its AWS_* credentials)"
    )]
    Denied(#[source] object_store::Error),
    /// At the start only.
    #[error("cannot open the storage of results (artifacts.url): {0}")]
    Open(String),
}

impl From<object_store::Error> for ArtifactError {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        if let E::NotFound { .. } = error {
            return ArtifactError::NotFound;
        }
        tracing::warn!(%error, "the storage of results failed");
        match error {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => ArtifactError::Denied(error),
            error => ArtifactError::Unavailable(error),
        }
    }
}
