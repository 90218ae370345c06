//! Which codec a track holds, and its RFC 6381 name.

use super::adts::AacConfig;
use super::avc::AvcConfig;
use super::boxes::{Fields, FourCc};

/// How the samples of a track are coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleCodec {
    Avc(AvcConfig),
    Hevc(HevcConfig),
    Av1(Av1Config),
    Vp9(Vp9Config),
    Aac(AacConfig),
    Opus,
    Flac,
    Ac3,
    Eac3,
    Mp3,
}

/// The general profile, tier and level of an `hvc1` track (`hvcC`, ISO/IEC 14496-15 section 8.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HevcConfig {
    /// 0 to 3.
    pub profile_space: u8,
    pub high_tier: bool,
    /// 1 main, 2 main 10.
    pub profile: u8,
    /// `general_profile_compatibility_flags`, flag 0 in the most significant bit.
    pub compat: u32,
    /// `general_constraint_indicator_flags`, 48 bits.
    pub constraints: [u8; 6],
    /// Thirty times the level.
    pub level: u8,
}

/// Profile, level and depth of an `av01` track (`av1C`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Av1Config {
    pub profile: u8,
    /// `seq_level_idx`.
    pub level: u8,
    pub high_tier: bool,
    pub bit_depth: u8,
}

/// Profile, level and depth of a `vp09` track (`vpcC`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9Config {
    pub profile: u8,
    /// Ten times the level; 0 when the muxer did not know it.
    pub level: u8,
    pub bit_depth: u8,
}

/// A sample entry that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("samples of type '{0}' are not supported")]
    Unsupported(FourCc),
    #[error("the codec configuration '{0}' is damaged or missing")]
    Malformed(&'static str),
}

impl SampleCodec {
    /// The RFC 6381 name, as in the CODECS attribute of a playlist or the type of a source buffer.
    pub fn codec_string(&self) -> String {
        match self {
            SampleCodec::Avc(c) => format!("avc1.{:02x}{:02x}{:02x}", c.profile, c.compat, c.level),
            SampleCodec::Hevc(c) => c.codec_string(),
            SampleCodec::Av1(c) => {
                let tier = if c.high_tier { 'H' } else { 'M' };
                format!("av01.{}.{:02}{tier}.{:02}", c.profile, c.level, c.bit_depth)
            }
            SampleCodec::Vp9(c) => {
                // Players refuse level 0; level 1 is one that all accept.
                let level = if c.level == 0 { 10 } else { c.level };
                format!("vp09.{:02}.{level:02}.{:02}", c.profile, c.bit_depth)
            }
            SampleCodec::Aac(c) => format!("mp4a.40.{}", c.announced_object_type()),
            SampleCodec::Opus => "opus".into(),
            SampleCodec::Flac => "fLaC".into(),
            SampleCodec::Ac3 => "ac-3".into(),
            SampleCodec::Eac3 => "ec-3".into(),
            SampleCodec::Mp3 => "mp4a.40.34".into(),
        }
    }
}

impl HevcConfig {
    /// ISO/IEC 14496-15 annex E.3: the compatibility flags in reverse bit order, the constraint bytes
    /// without trailing zeros.
    fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"][usize::from(self.profile_space & 3)];
        let tier = if self.high_tier { 'H' } else { 'L' };
        let compat = self.compat.reverse_bits();
        let mut text = format!(
            "hvc1.{space}{}.{compat:X}.{tier}{}",
            self.profile, self.level
        );
        let used = self
            .constraints
            .iter()
            .rposition(|b| *b != 0)
            .map_or(0, |i| i + 1);
        for byte in &self.constraints[..used] {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }

    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut f = Fields::new(body);
        let [1, general] = f.array()? else {
            return None;
        };
        Some(HevcConfig {
            profile_space: general >> 6,
            high_tier: general & 0x20 != 0,
            profile: general & 0x1f,
            compat: f.u32()?,
            constraints: f.array()?,
            level: f.u8()?,
        })
    }
}

impl Av1Config {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut f = Fields::new(body);
        let [0x81, profile_level, flags] = f.array()? else {
            return None;
        };
        let bit_depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
            (true, true) => 12,
            (true, false) => 10,
            (false, _) => 8,
        };
        Some(Av1Config {
            profile: profile_level >> 5,
            level: profile_level & 0x1f,
            high_tier: flags & 0x80 != 0,
            bit_depth,
        })
    }
}

impl Vp9Config {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut f = Fields::new(body);
        let (1, _) = f.version_flags()? else {
            return None;
        };
        let [profile, level, depth] = f.array()?;
        Some(Vp9Config {
            profile,
            level,
            bit_depth: depth >> 4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn names_follow_rfc_6381() {
        let avc = testing::avc_config();
        assert_eq!(avc.codec_string(), "avc1.64000c");
        assert_eq!(testing::aac_config().codec_string(), "mp4a.40.2");
        let hevc = HevcConfig {
            profile_space: 0,
            high_tier: false,
            profile: 2,
            compat: 0x2000_0000,
            constraints: [0xb0, 0, 0, 0, 0, 0],
            level: 93,
        };
        assert_eq!(SampleCodec::Hevc(hevc).codec_string(), "hvc1.2.4.L93.B0");
        let av1 = Av1Config::parse(&[0x81, 0x04, 0x0c, 0]).unwrap();
        assert_eq!(SampleCodec::Av1(av1).codec_string(), "av01.0.04M.08");
        let av1 = Av1Config::parse(&[0x81, 0x08, 0xcc, 0]).unwrap();
        assert_eq!(SampleCodec::Av1(av1).codec_string(), "av01.0.08H.10");
        let vp9 = Vp9Config::parse(&[1, 0, 0, 0, 0, 0x0b, 0x82, 2, 2, 2, 0, 0]).unwrap();
        assert_eq!(SampleCodec::Vp9(vp9).codec_string(), "vp09.00.11.08");
    }
}
