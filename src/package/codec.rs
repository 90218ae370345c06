//! Sample entries: which codec a track holds, its RFC 6381 name, and the part of the entry that stays
//! the same over runs.

use bytes::{BufMut, Bytes, BytesMut};

use super::adts::AacConfig;
use super::avc::AvcConfig;
use super::boxes::{BoxRef, Fields, FourCc, children, put_box};
use super::sample::TrackMedia;

/// Bytes of a `VisualSampleEntry` before its boxes, header included (ISO/IEC 14496-12 section 12.1.3).
const VISUAL_ENTRY_BYTES: usize = 86;
/// Bytes of an `AudioSampleEntry` before its boxes, header included (section 12.2.3).
const AUDIO_ENTRY_BYTES: usize = 36;

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

    fn parse(body: &[u8]) -> Option<Self> {
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
    fn parse(body: &[u8]) -> Option<Self> {
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
    fn parse(body: &[u8]) -> Option<Self> {
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

/// A sample entry taken apart.
pub(super) struct ParsedEntry {
    pub(super) entry: Bytes,
    pub(super) media: TrackMedia,
    pub(super) codec: SampleCodec,
}

/// Reads the sample entry box `raw`. `timescale` is the sampling rate of audio whose rate does not
/// fit the 16 bits of the entry.
pub(super) fn parse_sample_entry(
    entry: BoxRef<'_>,
    timescale: u32,
) -> Result<ParsedEntry, ConfigError> {
    let header_bytes = match &entry.kind.0 {
        b"avc1" | b"hvc1" | b"av01" | b"vp09" => VISUAL_ENTRY_BYTES,
        b"mp4a" | b"Opus" | b"fLaC" | b"ac-3" | b"ec-3" => AUDIO_ENTRY_BYTES,
        _ => return Err(ConfigError::Unsupported(entry.kind)),
    };
    let damaged = ConfigError::Malformed("stsd");
    let (head, tail) = entry.raw.split_at_checked(header_bytes).ok_or(damaged)?;
    let boxes = children(tail)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| damaged)?;
    let (media, codec) = if header_bytes == VISUAL_ENTRY_BYTES {
        video_codec(entry.kind, head, &boxes).ok_or(damaged)??
    } else {
        audio_codec(entry.kind, head, &boxes, timescale).ok_or(damaged)??
    };
    Ok(ParsedEntry {
        entry: stable_entry(head, &boxes),
        media,
        codec,
    })
}

type Codec = Result<(TrackMedia, SampleCodec), ConfigError>;

fn body_of<'a>(boxes: &[BoxRef<'a>], kind: &'static [u8; 4]) -> Result<&'a [u8], ConfigError> {
    let name = std::str::from_utf8(kind).unwrap_or_default();
    boxes
        .iter()
        .find(|b| b.is(kind))
        .map(|b| b.body)
        .ok_or(ConfigError::Malformed(name))
}

fn video_codec(kind: FourCc, head: &[u8], boxes: &[BoxRef<'_>]) -> Option<Codec> {
    let mut f = Fields::new(head);
    f.skip(32)?;
    let media = TrackMedia::Video {
        width: f.u16()?,
        height: f.u16()?,
    };
    let codec = match &kind.0 {
        b"avc1" => body_of(boxes, b"avcC")
            .and_then(AvcConfig::parse)
            .map(SampleCodec::Avc),
        b"hvc1" => body_of(boxes, b"hvcC")
            .and_then(|b| HevcConfig::parse(b).ok_or(ConfigError::Malformed("hvcC")))
            .map(SampleCodec::Hevc),
        b"av01" => body_of(boxes, b"av1C")
            .and_then(|b| Av1Config::parse(b).ok_or(ConfigError::Malformed("av1C")))
            .map(SampleCodec::Av1),
        _ => body_of(boxes, b"vpcC")
            .and_then(|b| Vp9Config::parse(b).ok_or(ConfigError::Malformed("vpcC")))
            .map(SampleCodec::Vp9),
    };
    Some(codec.map(|codec| (media, codec)))
}

fn audio_codec(kind: FourCc, head: &[u8], boxes: &[BoxRef<'_>], timescale: u32) -> Option<Codec> {
    let mut f = Fields::new(head);
    f.skip(16)?;
    if f.u16()? != 0 {
        return None; // QuickTime's longer entries, which no MP4 muxer writes
    }
    f.skip(6)?;
    let mut channels = f.u16()?;
    f.skip(6)?;
    let mut sample_rate = match f.u16()? {
        0 => timescale,
        rate => u32::from(rate),
    };
    let codec = match &kind.0 {
        b"mp4a" => body_of(boxes, b"esds").and_then(mpeg4_audio),
        b"Opus" => body_of(boxes, b"dOps").map(|_| SampleCodec::Opus),
        b"fLaC" => body_of(boxes, b"dfLa").map(|_| SampleCodec::Flac),
        b"ac-3" => body_of(boxes, b"dac3").and_then(|b| {
            channels = ac3_channels(b).ok_or(ConfigError::Malformed("dac3"))?;
            Ok(SampleCodec::Ac3)
        }),
        _ => body_of(boxes, b"dec3").and_then(|b| {
            channels = eac3_channels(b).ok_or(ConfigError::Malformed("dec3"))?;
            Ok(SampleCodec::Eac3)
        }),
    };
    if let Ok(SampleCodec::Aac(aac)) = &codec {
        sample_rate = aac.output_rate;
        if aac.channels > 0 {
            channels = aac.channels;
        }
    }
    Some(codec.map(|codec| {
        (
            TrackMedia::Audio {
                sample_rate,
                channels,
            },
            codec,
        )
    }))
}

/// The body of an `esds` box with the places of what matters in it.
struct Esds<'a> {
    object_type_indication: u8,
    /// Where buffer size, largest and average bitrate stand: 11 bytes.
    rates_at: usize,
    decoder_specific: Option<&'a [u8]>,
}

fn parse_esds(body: &[u8]) -> Option<Esds<'_>> {
    let mut f = Fields::new(body);
    f.version_flags()?;
    descriptor(&mut f, 3)?;
    f.skip(2)?;
    let flags = f.u8()?;
    if flags & 0x80 != 0 {
        f.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let n = f.u8()?;
        f.skip(usize::from(n))?;
    }
    if flags & 0x20 != 0 {
        f.skip(2)?;
    }
    descriptor(&mut f, 4)?;
    let object_type_indication = f.u8()?;
    f.skip(1)?;
    let rates_at = body.len() - f.len();
    f.skip(11)?;
    let decoder_specific = descriptor(&mut f, 5).and_then(|n| f.take(n));
    Some(Esds {
        object_type_indication,
        rates_at,
        decoder_specific,
    })
}

/// The length of the descriptor that starts here, if it has this tag (ISO/IEC 14496-1 section 8.3.3).
fn descriptor(f: &mut Fields<'_>, tag: u8) -> Option<usize> {
    if f.u8()? != tag {
        return None;
    }
    let mut len = 0;
    for _ in 0..4 {
        let byte = f.u8()?;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(len)
}

fn mpeg4_audio(esds: &[u8]) -> Result<SampleCodec, ConfigError> {
    let esds = parse_esds(esds).ok_or(ConfigError::Malformed("esds"))?;
    match esds.object_type_indication {
        0x40 | 0x66..=0x68 => {
            let asc = esds
                .decoder_specific
                .ok_or(ConfigError::Malformed("esds"))?;
            AacConfig::parse(asc).map(SampleCodec::Aac)
        }
        0x69 | 0x6b => Ok(SampleCodec::Mp3),
        _ => Err(ConfigError::Unsupported(FourCc(*b"mp4a"))),
    }
}

/// Full-range channels by `acmod` (ETSI TS 102 366 table 4.3).
const AC3_CHANNELS: [u16; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

/// ETSI TS 102 366 annex F.4.
fn ac3_channels(body: &[u8]) -> Option<u16> {
    let mut f = Fields::new(body);
    let bits = f.u16()?;
    Some(AC3_CHANNELS[usize::from(bits >> 3 & 7)] + (bits >> 2 & 1))
}

/// The channels of the first independent substream and what depends on it (annex F.6).
fn eac3_channels(body: &[u8]) -> Option<u16> {
    let mut f = Fields::new(body);
    f.skip(3)?;
    let bits = f.u16()?;
    // acmod 3 bits, lfeon 1, reserved 3, num_dep_sub 4 and chan_loc 9 follow asvc and bsmod.
    let main = AC3_CHANNELS[usize::from(bits >> 9 & 7)] + (bits >> 8 & 1);
    let dependent = bits >> 1 & 0xf;
    if dependent == 0 {
        return Some(main);
    }
    let locations = (bits & 1) << 8 | u16::from(f.u8()?);
    // Bit n of chan_loc, least significant first, is a pair or a single speaker.
    let extra = [2, 2, 1, 1, 2, 2, 2, 1, 1].iter().enumerate();
    Some(
        main + extra
            .filter(|(n, _)| locations >> n & 1 == 1)
            .map(|(_, c)| c)
            .sum::<u16>(),
    )
}

/// The entry without what differs between runs that decode alike.
fn stable_entry(head: &[u8], boxes: &[BoxRef<'_>]) -> Bytes {
    let mut out = BytesMut::from(head);
    for child in boxes {
        match &child.kind.0 {
            b"btrt" => {}
            b"esds" => {
                let at = out.len() + child.raw.len() - child.body.len();
                out.put_slice(child.raw);
                if let Some(esds) = parse_esds(child.body) {
                    out[at + esds.rates_at..][..11].fill(0);
                }
            }
            b"hvcC" => match hvcc_without_settings(child.body) {
                Some(body) => put_box(&mut out, b"hvcC", |o| o.put_slice(&body)),
                None => out.put_slice(child.raw),
            },
            _ => out.put_slice(child.raw),
        }
    }
    let size = (out.len() as u32).to_be_bytes();
    out[..4].copy_from_slice(&size);
    out.freeze()
}

/// An `hvcC` body without the unregistered user data in which x265 writes down its settings and the
/// processor it ran on. Other SEI messages (HDR metadata) stay.
fn hvcc_without_settings(body: &[u8]) -> Option<BytesMut> {
    const PREFIX_SEI: u8 = 39;
    const USER_DATA_UNREGISTERED: u8 = 5;
    let mut f = Fields::new(body);
    let mut out = BytesMut::from(f.take(22)?);
    let arrays = f.u8()?;
    let count_at = out.len();
    out.put_u8(0);
    for _ in 0..arrays {
        let head = f.u8()?;
        let mut kept = Vec::new();
        for _ in 0..f.u16()? {
            let len = f.u16()?;
            let unit = f.take(usize::from(len))?;
            if head & 0x3f != PREFIX_SEI || unit.get(2) != Some(&USER_DATA_UNREGISTERED) {
                kept.push(unit);
            }
        }
        if !kept.is_empty() {
            out[count_at] += 1;
            out.put_u8(head);
            out.put_u16(kept.len() as u16);
            for unit in kept {
                out.put_u16(unit.len() as u16);
                out.put_slice(unit);
            }
        }
    }
    out.put_slice(f.rest());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use proptest::prelude::*;

    fn parse(raw: &[u8]) -> Result<ParsedEntry, ConfigError> {
        parse_sample_entry(children(raw).next().unwrap().unwrap(), 48000)
    }

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

    #[test]
    fn bitrates_do_not_matter() {
        let mut other = testing::aac_entry(64_000).to_vec();
        put_btrt(&mut other);
        let a = parse(&testing::aac_entry(192_000)).unwrap();
        let b = parse(&other).unwrap();
        assert_eq!((a.entry, a.codec), (b.entry, b.codec));
    }

    fn put_btrt(entry: &mut Vec<u8>) {
        let mut btrt = BytesMut::new();
        put_box(&mut btrt, b"btrt", |o| o.put_bytes(1, 12));
        entry.extend_from_slice(&btrt);
        let size = (entry.len() as u32).to_be_bytes();
        entry[..4].copy_from_slice(&size);
    }

    #[test]
    fn settings_leave_hvcc_and_hdr_metadata_stays() {
        let mut body = vec![1u8; 22];
        let vps = [0xa0, 0, 1, 0, 3, 0x40, 1, 9];
        let hdr = [0, 5, 0x4e, 1, 137, 24, 0];
        let settings = [0, 4, 0x4e, 1, 5, 1];
        body.push(2);
        body.extend_from_slice(&vps);
        body.extend_from_slice(&[0xa7, 0, 2]);
        body.extend_from_slice(&hdr);
        body.extend_from_slice(&settings);
        let out = hvcc_without_settings(&body).unwrap();
        assert_eq!(out[22], 2);
        assert_eq!(out[23..], [&vps[..], &[0xa7, 0, 1], &hdr].concat());
    }

    #[test]
    fn dolby_channels_come_from_their_own_boxes() {
        assert_eq!(ac3_channels(&[0x10, 0x08, 0xc0]), Some(1));
        assert_eq!(ac3_channels(&[0x10, 0x3d, 0xe0]), Some(6));
        assert_eq!(eac3_channels(&[0x03, 0, 0x20, 0x02, 0]), Some(1));
        assert_eq!(eac3_channels(&[0x18, 0, 0x20, 0x0f, 0]), Some(6));
        // 5.1 with one dependent substream that adds the rear pair.
        assert_eq!(eac3_channels(&[0x18, 0, 0x20, 0x0f, 0x02, 0x02]), Some(8));
    }

    proptest! {
        #[test]
        fn damaged_entries_never_panic(
            seed in 0usize..2,
            cut in 0usize..200,
            edits in proptest::collection::vec((0usize..200, any::<u8>()), 0..6),
        ) {
            let mut raw = match seed {
                0 => testing::avc_entry().to_vec(),
                _ => testing::aac_entry(1).to_vec(),
            };
            for (at, value) in edits {
                if let Some(b) = raw.get_mut(at.max(8)) {
                    *b = value;
                }
            }
            raw.truncate(cut.max(8));
            let size = (raw.len() as u32).to_be_bytes();
            raw[..4].copy_from_slice(&size);
            if let Ok(p) = parse(&raw) {
                prop_assert!(p.entry.len() <= raw.len());
                prop_assert!(!p.codec.codec_string().is_empty());
            }
        }
    }
}
