//! Why a request cannot be planned.

/// A request that this source, or this machine's ffmpeg, cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("the source holds no video and no audio that can be played")]
    NothingToPlay,
    #[error("start_time {start} s is not before the end of the source at {duration} s")]
    StartBeyondEnd { start: String, duration: String },
    #[error("start_time needs a source whose length is known")]
    StartWithoutLength,
    #[error("the source claims to last {hours} hours; at most 48 are served")]
    TooLong { hours: u64 },
    #[error("video codec '{codec}' cannot be copied into HLS; ask for h264, h265, vp9 or av1")]
    CannotCopyVideo { codec: String },
    #[error("the video cannot be copied: {reason}; ask for h264, h265, vp9 or av1")]
    CopyNeedsIndex { reason: &'static str },
    #[error("audio codec '{codec}' cannot be copied into HLS; ask for aac")]
    CannotCopyAudio { codec: String },
    #[error("the installed ffmpeg has no encoder {encoder}, which {wanted} needs")]
    NoEncoder {
        encoder: &'static str,
        wanted: &'static str,
    },
    #[error("audio codec {codec} is not available for streams; ask for aac, copy or auto")]
    AudioCodecNotStreamed { codec: &'static str },
    #[error("mode {mode} is not available; ask for stream")]
    ModeNotAvailable { mode: &'static str },
    #[error("hw_accel {name} is not available on this machine; ask for auto or software")]
    NoSuchHardware { name: &'static str },
    #[error("the source is HDR and the installed ffmpeg cannot map it to SDR (no filter zscale)")]
    NoToneMapping,
    #[error(
        "Dolby Vision profile 5 has colours that the installed ffmpeg cannot map (no filter libplacebo)"
    )]
    DolbyVision5,
}
