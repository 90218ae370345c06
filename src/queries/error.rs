//! Why a query has no answer.

use crate::ffmpeg::SpawnError;
use crate::media::query::ParameterError;
use crate::plan::query::QueryPlanError;
use crate::session::SessionError;
use crate::source::SourceError;

/// What went wrong with a query; names the parameter where it was one.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error("{parameter}: {cause}")]
    Source {
        parameter: &'static str,
        cause: SessionError,
    },
    #[error("watermark: it is no PNG, JPEG, WebP, GIF or BMP picture")]
    NoWatermark,
    #[error(transparent)]
    Plan(#[from] QueryPlanError),
    /// ffmpeg could not make anything of the source.
    #[error("url: nothing could be made of the source: {0}")]
    Undecodable(String),
    /// The output broke off behind its beginning.
    #[error("the stream broke off: {0}")]
    BrokeOff(String),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("all places for queries are taken; try again in a few seconds")]
    Busy,
    #[error("url: the source did not give enough within {0} s")]
    TooSlow(u64),
    #[error("the gateway cannot write temporary files: {0}")]
    Disk(std::io::ErrorKind),
    #[error("the gateway is stopping")]
    Stopping,
}

impl QueryError {
    pub(super) fn source(cause: impl Into<SessionError>) -> Self {
        QueryError::Source {
            parameter: "url",
            cause: cause.into(),
        }
    }

    pub(super) fn watermark(cause: SourceError) -> Self {
        QueryError::Source {
            parameter: "watermark",
            cause: cause.into(),
        }
    }

    pub(super) fn disk(error: &std::io::Error) -> Self {
        QueryError::Disk(error.kind())
    }
}
