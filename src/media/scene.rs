//! What a client can want of a film that is encoded scene by scene.

use serde::{Deserialize, Serialize};

/// An encoder of scenes, by the name that clients give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SceneEncoder {
    /// AV1 with the options of `aomenc`.
    #[serde(rename = "aom")]
    Aom,
    /// VP9 with the options of `vpxenc`.
    #[serde(rename = "vpx")]
    Vpx,
    /// VP9 with the options of ffmpeg, as the first generation of grav1 had it.
    #[serde(rename = "vp9")]
    Vp9,
    #[serde(rename = "svt-av1")]
    SvtAv1,
    #[serde(rename = "rav1e")]
    Rav1e,
    #[serde(rename = "x265")]
    X265,
    #[serde(rename = "x264")]
    X264,
}

impl SceneEncoder {
    pub const ALL: &'static [SceneEncoder] = &[
        SceneEncoder::Aom,
        SceneEncoder::Vpx,
        SceneEncoder::Vp9,
        SceneEncoder::SvtAv1,
        SceneEncoder::Rav1e,
        SceneEncoder::X265,
        SceneEncoder::X264,
    ];

    pub fn name(self) -> &'static str {
        match self {
            SceneEncoder::Aom => "aom",
            SceneEncoder::Vpx => "vpx",
            SceneEncoder::Vp9 => "vp9",
            SceneEncoder::SvtAv1 => "svt-av1",
            SceneEncoder::Rav1e => "rav1e",
            SceneEncoder::X265 => "x265",
            SceneEncoder::X264 => "x264",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|e| e.name() == name)
    }

    /// The family of codecs that it encodes to, as engines list them.
    pub fn codec(self) -> &'static str {
        match self {
            SceneEncoder::Aom | SceneEncoder::SvtAv1 | SceneEncoder::Rav1e => "av1",
            SceneEncoder::Vpx | SceneEncoder::Vp9 => "vp9",
            SceneEncoder::X265 => "h265",
            SceneEncoder::X264 => "h264",
        }
    }

    /// Whether grav1's workers have it.
    pub fn is_grav1(self) -> bool {
        matches!(
            self,
            SceneEncoder::Aom | SceneEncoder::Vpx | SceneEncoder::Vp9
        )
    }

    /// Whether pictures are stored in the order in which they are shown, one to a packet.
    pub fn keeps_order(self) -> bool {
        !matches!(self, SceneEncoder::X264 | SceneEncoder::X265)
    }

    /// File name extension of a scene that our own engines encode.
    pub fn extension(self) -> &'static str {
        if self.keeps_order() { "ivf" } else { "mp4" }
    }
}

/// A measure of likeness between a picture and its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// 0 to 100.
    Vmaf,
    /// Structural similarity, 0 to 1.
    Ssim,
    /// Decibels.
    Xpsnr,
}

impl Metric {
    pub const ALL: &'static [Metric] = &[Metric::Vmaf, Metric::Ssim, Metric::Xpsnr];

    pub fn name(self) -> &'static str {
        match self {
            Metric::Vmaf => "vmaf",
            Metric::Ssim => "ssim",
            Metric::Xpsnr => "xpsnr",
        }
    }

    /// Values that make sense as a goal.
    pub fn goals(self) -> std::ops::RangeInclusive<f64> {
        match self {
            Metric::Vmaf => 1.0..=100.0,
            Metric::Ssim => 0.5..=1.0,
            Metric::Xpsnr => 20.0..=60.0,
        }
    }
}

/// How good each scene is to be; its quantiser follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QualityGoal {
    pub metric: Metric,
    pub value: f64,
}

/// What is done when all scenes are encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnComplete {
    /// The pictures alone.
    #[default]
    #[serde(rename = "")]
    Join,
    /// With sound, text and chapters of the source, as Matroska.
    #[serde(rename = "merge")]
    Matroska,
    #[serde(rename = "merge-mp4")]
    Mp4,
    #[serde(rename = "merge-webm")]
    Webm,
}

impl OnComplete {
    pub const ALL: &'static [OnComplete] = &[
        OnComplete::Join,
        OnComplete::Matroska,
        OnComplete::Mp4,
        OnComplete::Webm,
    ];

    pub fn name(self) -> &'static str {
        match self {
            OnComplete::Join => "",
            OnComplete::Matroska => "merge",
            OnComplete::Mp4 => "merge-mp4",
            OnComplete::Webm => "merge-webm",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|o| o.name() == name)
    }

    /// Whether its container holds the pictures of `encoder`.
    pub fn holds(self, encoder: SceneEncoder) -> bool {
        self != OnComplete::Webm || matches!(encoder.codec(), "av1" | "vp9")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_protocol() {
        for encoder in SceneEncoder::ALL {
            assert_eq!(SceneEncoder::from_name(encoder.name()), Some(*encoder));
            let stored = serde_json::to_value(encoder).unwrap();
            assert_eq!(stored, encoder.name());
        }
        assert_eq!(SceneEncoder::from_name("x266"), None);
        for action in OnComplete::ALL {
            assert_eq!(OnComplete::from_name(action.name()), Some(*action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.name());
        }
    }
}
