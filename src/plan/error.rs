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
    #[error("audio codec '{codec}' cannot be copied into HLS; ask for aac, opus, mp3, flac or ac3")]
    CannotCopyAudio { codec: String },
    #[error("the installed ffmpeg has no encoder {encoder}, which {wanted} needs")]
    NoEncoder {
        encoder: &'static str,
        wanted: &'static str,
    },
    #[error("an adaptive stream (abr) cannot be made of copies; ask for h264, h265, vp9 or av1")]
    LadderOfCopies,
    #[error("files of format {format} are not made; ask for hls, mp4, webm or mkv")]
    FormatNotMade { format: &'static str },
    #[error("{format} does not take {codec}; ask for {instead}")]
    ContainerCodec {
        format: &'static str,
        codec: &'static str,
        instead: &'static str,
    },
    #[error("two_pass is not available for {codec}; ask for h264, h265 or vp9")]
    NoTwoPasses { codec: &'static str },
    #[error("mode {mode} makes no stream")]
    NoStream { mode: &'static str },
    #[error("burn_subtitle {wanted} is no subtitle track of the source, which has {count}")]
    NoSuchSubtitle { wanted: u32, count: usize },
    #[error(
        "burn_subtitle {wanted} is a text track ({codec}); it is offered as a subtitle rendition instead"
    )]
    TextIsNotBurnt { wanted: u32, codec: String },
    #[error("burn_subtitle needs a source with video whose length is known")]
    NothingToBurnOn,
    #[error("hw_accel {name} is not available on this machine; ask for auto or software")]
    NoSuchHardware { name: &'static str },
    #[error("the source is HDR and the installed ffmpeg cannot map it to SDR (no filter zscale)")]
    NoToneMapping,
    #[error(
        "Dolby Vision profile 5 has colours that ffmpeg can map only with its filter libplacebo and a Vulkan device; here it has not both"
    )]
    DolbyVision5,
}
