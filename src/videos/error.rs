//! Why a video or a runner did not get what it asked for.

use crate::artifact::ArtifactError;
use crate::dispatch::DispatchError;
use crate::ffmpeg::ProbeError;
use crate::session::SessionError;
use crate::store::StoreError;

/// The texts are for clients and runners.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    #[error("there is no such video")]
    NoSuchVideo,
    #[error("the video has no such file")]
    NoSuchFile,
    /// What a client sent cannot be done; the text names the field.
    #[error("{0}")]
    Bad(String),
    #[error(
        "the file is larger than {0} bytes, the most that is taken (peertube.max_upload_bytes)"
    )]
    TooLarge(u64),
    #[error("there is no space left for the file")]
    DiskFull,
    #[error("the file cannot be stored: {0}")]
    Disk(std::io::ErrorKind),
    /// What became of a source that was named or uploaded as `field`.
    #[error("{field}: {cause}")]
    Source {
        field: &'static str,
        cause: SessionError,
    },
    #[error("Upload-Offset: the upload goes on at byte {0}")]
    WrongOffset(u64),
    #[error("Registration token is invalid")]
    UnknownRegistration,
    #[error("This runner name already exists on this instance")]
    NameTaken,
    #[error("Unknown runner token")]
    UnknownRunner,
    #[error("there is no such runner")]
    NoSuchRunner,
    #[error("there is no such registration token")]
    NoSuchToken,
    #[error("Unknown runner job")]
    UnknownJob,
    #[error("This job is not in pending state anymore")]
    NotPending,
    #[error("Job is not in \"processing\" state")]
    NotProcessing,
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("too many changes at once; try again")]
    Contended,
}

impl VideoError {
    pub(super) fn source(field: &'static str) -> impl FnOnce(SessionError) -> VideoError {
        move |cause| VideoError::Source { field, cause }
    }

    /// Whether the same may go well another time: it is trouble of our own.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            VideoError::DiskFull
            | VideoError::Disk(_)
            | VideoError::Store(_)
            | VideoError::Artifact(_)
            | VideoError::Dispatch(_)
            | VideoError::Contended => true,
            VideoError::Source { cause, .. } => matches!(
                cause,
                SessionError::Spawn(_)
                    | SessionError::Probe(ProbeError::Spawn(_))
                    | SessionError::Busy
                    | SessionError::Cancelled
            ),
            _ => false,
        }
    }

    pub(super) fn disk(error: std::io::Error) -> VideoError {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => VideoError::DiskFull,
            kind => VideoError::Disk(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such() {
        for code in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EDQUOT] {
            let error = std::io::Error::from_raw_os_error(code as i32);
            assert!(matches!(VideoError::disk(error), VideoError::DiskFull));
        }
        let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(matches!(VideoError::disk(other), VideoError::Disk(_)));
    }
}
