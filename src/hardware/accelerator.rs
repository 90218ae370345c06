//! Encoders of graphics processors: which there are, and what a test of each has shown.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A family of hardware encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    Nvenc,
    Qsv,
    Vaapi,
    Amf,
    VideoToolbox,
}

impl Accelerator {
    /// In the order in which the contract lists them (section 4).
    pub const ALL: [Accelerator; 5] = [
        Accelerator::Nvenc,
        Accelerator::Qsv,
        Accelerator::Vaapi,
        Accelerator::Amf,
        Accelerator::VideoToolbox,
    ];

    /// In the order in which they are preferred where a machine has several.
    pub const BEST_FIRST: [Accelerator; 5] = [
        Accelerator::Nvenc,
        Accelerator::VideoToolbox,
        Accelerator::Vaapi,
        Accelerator::Qsv,
        Accelerator::Amf,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Nvenc => "nvenc",
            Accelerator::Qsv => "qsv",
            Accelerator::Vaapi => "vaapi",
            Accelerator::Amf => "amf",
            Accelerator::VideoToolbox => "videotoolbox",
        }
    }

    /// ffmpeg's names of its encoders.
    pub fn encoders(self) -> &'static [&'static str] {
        match self {
            Accelerator::Nvenc => &["h264_nvenc", "hevc_nvenc", "av1_nvenc"],
            Accelerator::Qsv => &["h264_qsv", "hevc_qsv", "vp9_qsv", "av1_qsv"],
            Accelerator::Vaapi => &["h264_vaapi", "hevc_vaapi", "vp9_vaapi", "av1_vaapi"],
            Accelerator::Amf => &["h264_amf", "hevc_amf", "av1_amf"],
            Accelerator::VideoToolbox => &["h264_videotoolbox", "hevc_videotoolbox"],
        }
    }
}

impl FromStr for Accelerator {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let named = |a: &Accelerator| a.name() == name;
        Accelerator::ALL.into_iter().find(named).ok_or(())
    }
}

/// What a graphics processor says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInfo {
    pub name: String,
    pub memory_mb: Option<u64>,
    pub driver_version: Option<String>,
}

/// What the tests of one accelerator have shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorReport {
    pub accelerator: Accelerator,
    /// Encoders that made pictures; empty when it cannot be used.
    pub encoders: Vec<String>,
    /// Why it cannot be used, in words.
    pub reason: Option<String>,
    /// The device that was used, where there is a choice.
    pub device: Option<String>,
    pub gpu: Option<GpuInfo>,
}

impl AcceleratorReport {
    pub fn is_available(&self) -> bool {
        !self.encoders.is_empty()
    }
}

/// The first graphics processor in the answer of
/// `nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits`.
pub fn parse_nvidia_smi(text: &str) -> Option<GpuInfo> {
    let mut fields = text.lines().next()?.split(',').map(str::trim);
    let name = fields.next().filter(|n| !n.is_empty())?.to_owned();
    let memory_mb = fields.next().and_then(|m| m.parse().ok());
    let driver_version = fields.next().map(str::to_owned);
    // An error message has no commas and no numbers.
    memory_mb.is_some().then_some(GpuInfo {
        name,
        memory_mb,
        driver_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for accelerator in Accelerator::ALL {
            assert_eq!(accelerator.name().parse(), Ok(accelerator));
            let json = serde_json::to_value(accelerator).unwrap();
            assert_eq!(json, accelerator.name());
        }
        assert_eq!("software".parse::<Accelerator>(), Err(()));
    }

    #[test]
    fn reads_what_nvidia_smi_prints() {
        let gpu = parse_nvidia_smi("NVIDIA H200, 143771, 550.90.07\n").unwrap();
        assert_eq!(
            (gpu.name.as_str(), gpu.memory_mb),
            ("NVIDIA H200", Some(143_771))
        );
        assert_eq!(parse_nvidia_smi("No devices were found\n"), None);
    }
}
