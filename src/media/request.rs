//! What a client asks for, in the words of the GhostStream contract (section 3.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::{Bitrate, MediaTime};

/// A text that is none of the names a field knows; lists them for the error message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    pub known: &'static [&'static str],
}

impl fmt::Display for UnknownName {
    /// As pydantic words it, which clients of the original have seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input should be ")?;
        for (i, name) in self.known.iter().enumerate() {
            let glue = match i {
                0 => "",
                _ if i + 1 == self.known.len() => " or ",
                _ => ", ",
            };
            write!(f, "{glue}'{name}'")?;
        }
        Ok(())
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$vdoc])* #[serde(rename = $name)] $variant),+ }

        impl $type {
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;
            fn from_str(s: &str) -> Result<Self, UnknownName> {
                match s {
                    $($name => Ok($type::$variant),)+
                    _ => Err(UnknownName { known: Self::NAMES }),
                }
            }
        }
    };
}
pub(super) use names;

names! {
    /// What kind of answer is wanted.
    Mode { Stream = "stream", Abr = "abr", Batch = "batch" }
}

names! {
    /// Container of a batch job; streams are always HLS.
    OutputFormat { Hls = "hls", Dash = "dash", Mp4 = "mp4", Webm = "webm", Mkv = "mkv" }
}

names! {
    /// Video codec asked for. `auto` copies what the client's player surely knows (8-bit 4:2:0
    /// H.264) and encodes everything else to H.264.
    VideoChoice {
        H264 = "h264", H265 = "h265", Vp9 = "vp9", Av1 = "av1", Copy = "copy", Auto = "auto",
    }
}

names! {
    /// Audio codec asked for. `auto` copies AAC-LC and encodes everything else to AAC.
    AudioChoice {
        Aac = "aac", Opus = "opus", Mp3 = "mp3", Flac = "flac", Ac3 = "ac3", Copy = "copy",
        Auto = "auto",
    }
}

names! {
    /// Largest picture wanted: a box of 16:9 in which the picture's longer side lies along the box's.
    MaxResolution {
        R360 = "360p", R480 = "480p", R720 = "720p", R1080 = "1080p", R1440 = "1440p", R4k = "4k",
        Original = "original",
    }
}

impl MaxResolution {
    /// Long and short side of the box; `None` when the size is left as it is.
    pub fn sides(self) -> Option<(u32, u32)> {
        match self {
            MaxResolution::R360 => Some((640, 360)),
            MaxResolution::R480 => Some((854, 480)),
            MaxResolution::R720 => Some((1280, 720)),
            MaxResolution::R1080 => Some((1920, 1080)),
            MaxResolution::R1440 => Some((2560, 1440)),
            MaxResolution::R4k => Some((3840, 2160)),
            MaxResolution::Original => None,
        }
    }
}

names! {
    /// Encoder hardware asked for.
    HwAccel {
        Auto = "auto", Nvenc = "nvenc", Qsv = "qsv", Vaapi = "vaapi",
        VideoToolbox = "videotoolbox", Amf = "amf", Software = "software",
    }
}

/// How the output of a stream is to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputRequest {
    pub format: OutputFormat,
    pub video: VideoChoice,
    pub audio: AudioChoice,
    pub resolution: MaxResolution,
    /// `None` = "auto": chosen by picture size.
    pub bitrate: Option<Bitrate>,
    pub hw_accel: HwAccel,
    pub tone_map: bool,
    /// Most channels of the output, 1..=8.
    pub max_audio_channels: u32,
    /// Two passes over the source; batch jobs with a fixed rate only.
    pub two_pass: bool,
    /// Number of a subtitle track among those of the source, counted from 0, that is drawn into the
    /// picture.
    pub burn_subtitle: Option<u32>,
}

impl Default for OutputRequest {
    fn default() -> Self {
        OutputRequest {
            format: OutputFormat::Hls,
            video: VideoChoice::H264,
            audio: AudioChoice::Aac,
            resolution: MaxResolution::Original,
            bitrate: None,
            hw_accel: HwAccel::Auto,
            tone_map: true,
            max_audio_channels: 2,
            two_pass: false,
            burn_subtitle: None,
        }
    }
}

/// A stream as the planner needs it: the source's place is not part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamRequest {
    pub mode: Mode,
    pub output: OutputRequest,
    /// Where the timeline begins, relative to the first timestamp of the source; not negative.
    pub start_time: MediaTime,
    /// Subtitles that are not in the source.
    pub subtitles: Vec<SubtitleRequest>,
}

/// A subtitle file to offer beside the source's own tracks (contract 3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtitleRequest {
    pub url: String,
    pub label: Option<String>,
    /// BCP 47 or ISO 639 code; `und` when not known.
    pub language: String,
    pub default: bool,
}

impl Default for StreamRequest {
    fn default() -> Self {
        StreamRequest {
            mode: Mode::Stream,
            output: OutputRequest::default(),
            start_time: MediaTime::ZERO,
            subtitles: Vec::new(),
        }
    }
}
