//! Why a project or a scene cannot be had.

use crate::artifact::ArtifactError;
use crate::dispatch::DispatchError;
use crate::store::StoreError;

/// The texts are grav1's, where it had any.
#[derive(Debug, thiserror::Error)]
pub enum ScenesError {
    #[error("Project does not exist.")]
    NoSuchProject,
    #[error("there is no such scene")]
    NoSuchScene,
    #[error("Input files not found: {}", .0.join(","))]
    InputsNotFound(Vec<String>),
    #[error("{}", exist(.0))]
    Exist(Vec<String>),
    #[error("{source_name} is no table of film grain: {why}")]
    BadGrain { source_name: String, why: String },
    #[error("{0}")]
    NotNow(&'static str),
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

fn exist(ids: &[String]) -> String {
    match ids {
        [one] => format!("Project with id {one} already exist"),
        many => format!("Project with ids {} already exist", many.join(",")),
    }
}

/// A step of a project came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// Another attempt would end the same way; the text is shown as the project's reason.
    #[error("{0}")]
    Failed(String),
    /// The project was deleted, or the gateway stops.
    #[error("cancelled")]
    Cancelled,
    /// The database or the storage of results; tried again.
    #[error(transparent)]
    Trouble(#[from] ScenesError),
}

impl From<ArtifactError> for StepError {
    fn from(error: ArtifactError) -> Self {
        StepError::Trouble(error.into())
    }
}

impl From<DispatchError> for StepError {
    fn from(error: DispatchError) -> Self {
        StepError::Trouble(error.into())
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        StepError::Trouble(error.into())
    }
}

/// Of our own temporary files.
impl From<std::io::Error> for StepError {
    fn from(error: std::io::Error) -> Self {
        tracing::warn!(%error, "a temporary file of a project fails");
        let kind = error.kind();
        StepError::Failed(format!("storage.directory cannot be used: {kind}"))
    }
}
