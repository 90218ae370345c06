//! Why a query cannot be answered for this source.

use crate::plan::PlanError;

/// A query that this source, or this machine's ffmpeg, cannot answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryPlanError {
    #[error("url: the source holds no picture")]
    NoPicture,
    #[error("url: the source holds no video and no audio")]
    NothingToPlay,
    #[error("t is {t} s, which is not before the end of the source at {duration} s")]
    BeyondEnd { t: f64, duration: f64 },
    #[error("t: a share needs a source whose length is known")]
    ShareWithoutLength,
    #[error("t: a live source has only its present")]
    LivePosition,
    #[error("url: the length of the source is not known, so pictures cannot be spread over it")]
    NoLength,
    #[error("url: the source is longer than 48 hours")]
    TooLong,
    #[error("interval must be at least {least} for a source of this length")]
    IntervalTooShort { least: u32 },
    #[error("sheet must be a whole number from 0 to {last}")]
    NoSuchSheet { last: u32 },
    #[error("{parameter}: the installed ffmpeg has no encoder {encoder}")]
    NoEncoder {
        parameter: &'static str,
        encoder: &'static str,
    },
    #[error("url: {0}")]
    Source(#[from] PlanError),
}
