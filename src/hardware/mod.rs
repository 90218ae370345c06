//! What the installed ffmpeg can do. Pure: the texts are read by `ffmpeg::toolchain`.

mod accelerator;

use std::collections::BTreeSet;

use serde::Serialize;

pub use accelerator::{Accelerator, AcceleratorReport, GpuInfo, parse_nvidia_smi};

/// Encoders and filters of the ffmpeg in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hardware {
    /// The token after `ffmpeg version`.
    pub ffmpeg_version: String,
    pub encoders: BTreeSet<String>,
    pub decoders: BTreeSet<String>,
    pub filters: BTreeSet<String>,
    /// Whether a test has shown that it maps the colours of Dolby Vision profile 5 here.
    pub maps_dolby_vision: bool,
    /// Hardware that works and does not rest after a failure.
    pub accelerators: Vec<AcceleratorReport>,
}

impl Hardware {
    pub fn has_encoder(&self, name: &str) -> bool {
        self.encoders.contains(name)
    }

    /// What is known of `accelerator`, if it can be used.
    pub fn accelerator(&self, accelerator: Accelerator) -> Option<&AcceleratorReport> {
        let mut usable = self.accelerators.iter();
        usable.find(|r| r.accelerator == accelerator && r.is_available())
    }

    /// Video codecs that can be made, in the contract's names.
    pub fn video_codecs(&self) -> Vec<&'static str> {
        let known = [
            ("h264", "libx264"),
            ("h265", "libx265"),
            ("vp9", "libvpx-vp9"),
            ("av1", "libsvtav1"),
        ];
        let made = known.iter().filter(|(_, e)| self.has_encoder(e));
        made.map(|(name, _)| *name).collect()
    }

    /// Audio codecs that can be made, in the contract's names.
    pub fn audio_codecs(&self) -> Vec<&'static str> {
        let known = [
            ("aac", "aac"),
            ("opus", "libopus"),
            ("mp3", "libmp3lame"),
            ("flac", "flac"),
            ("ac3", "ac3"),
        ];
        let made = known.iter().filter(|(_, e)| self.has_encoder(e));
        made.map(|(name, _)| *name).chain(["copy"]).collect()
    }

    pub fn has_filter(&self, name: &str) -> bool {
        self.filters.contains(name)
    }
}

/// Names from `ffmpeg -encoders` or `-decoders`: lines of flags, name, description.
pub fn parse_codec_list(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .skip_while(|l| !l.trim_start().starts_with("---"))
        .skip(1);
    lines
        .filter_map(|l| l.split_whitespace().nth(1))
        .map(str::to_owned)
        .collect()
}

/// Names from `ffmpeg -filters`: lines of flags, name, `inputs->outputs`, description.
pub fn parse_filter_list(text: &str) -> BTreeSet<String> {
    let fields = text
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>());
    let filters = fields.filter(|f| f.len() >= 3 && f[2].contains("->"));
    filters.map(|f| f[1].to_owned()).collect()
}

/// The token after `ffmpeg version`; empty when the text is something else.
pub fn parse_version(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let rest = first.strip_prefix("ffmpeg version ").unwrap_or_default();
    rest.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ffmpeg_prints() {
        let encoders = "Encoders:\n V..... = Video\n ------\n V....D libx264              libx264 H.264\n\
                        A....D aac                  AAC\n";
        assert!(parse_codec_list(encoders).contains("libx264"));
        assert_eq!(parse_codec_list(encoders).len(), 2);
        let filters =
            "Filters:\n  T.. = Timeline support\n ... zscale            V->V       Apply\n";
        assert_eq!(
            parse_filter_list(filters).into_iter().collect::<Vec<_>>(),
            ["zscale"]
        );
        assert_eq!(
            parse_version("ffmpeg version 5.1.9-0+deb12u1 Copyright"),
            "5.1.9-0+deb12u1"
        );
    }
}
