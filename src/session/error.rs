//! Why a stream cannot be served.

use crate::ffmpeg::{ProbeError, SpawnError};
use crate::package::{CmafError, TsError};
use crate::plan::PlanError;
use crate::source::SourceError;

/// What went wrong with a stream, in words for its user.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("Job not found")]
    NoSuchJob,
    #[error("Stream file not found")]
    NoSuchFile,
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What the gate saw when ffprobe could not read the source.
    #[error("{0}")]
    Gate(String),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("the encoder failed: {0}")]
    Encoder(String),
    #[error("the subtitles cannot be read: {0}")]
    Subtitles(String),
    #[error("all encoders are busy; try again in a few seconds")]
    Busy,
    #[error("the file grows larger than limits.max_file_size_gb allows ({0} bytes)")]
    TooLarge(u64),
    #[error("as many jobs wait as transcoding.max_queue_size allows; try again later")]
    QueueFull,
    #[error("the segment was not made within {0} s")]
    TooSlow(u64),
    #[error("the stream was cancelled")]
    Cancelled,
    #[error("the encoder's output cannot be packaged: {0}")]
    Package(String),
}

impl SessionError {
    /// Whether another attempt may do better, by what kind of trouble it was.
    pub fn may_pass(&self) -> bool {
        match self {
            SessionError::Source(error) => error.may_pass(),
            SessionError::Gate(_)
            | SessionError::Probe(ProbeError::Timeout(_))
            | SessionError::Encoder(_)
            | SessionError::Spawn(_)
            | SessionError::Busy
            | SessionError::TooSlow(_) => true,
            _ => false,
        }
    }
}

impl From<TsError> for SessionError {
    fn from(e: TsError) -> Self {
        SessionError::Package(e.to_string())
    }
}

impl From<CmafError> for SessionError {
    fn from(e: CmafError) -> Self {
        SessionError::Package(e.to_string())
    }
}
