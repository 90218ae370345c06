//! AAC: the configuration MP4 carries and the header MPEG-TS wants in front of each frame.

use bytes::Bytes;

use super::codec::ConfigError;

/// Sampling rates by index (ISO/IEC 14496-3 table 1.18).
const SAMPLE_RATES: [u32; 13] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];

/// Speakers by `channelConfiguration` (ISO/IEC 14496-3 table 1.19); 0 where there is no such layout.
const CHANNELS: [u16; 16] = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8, 0];

/// The length of an ADTS header without CRC.
pub(super) const ADTS_HEADER_BYTES: usize = 7;

/// The largest frame, header included, that the 13-bit length of an ADTS header can express.
const MAX_ADTS_FRAME_BYTES: usize = 0x1fff;

/// An `AudioSpecificConfig` (ISO/IEC 14496-3 section 1.6.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AacConfig {
    /// The whole record.
    pub bytes: Bytes,
    /// The object type of the core layer: 2 for AAC-LC, also below SBR.
    pub object_type: u8,
    /// The index of the core layer's sampling rate; `None` for a rate that has no index.
    pub rate_index: Option<u8>,
    /// The core layer's sampling rate in Hz: half the output rate when SBR doubles it.
    pub core_rate: u32,
    /// The output sampling rate in Hz.
    pub output_rate: u32,
    /// `channelConfiguration`; 0 when a program config element describes the layout instead.
    pub channel_config: u8,
    /// Speakers; 0 when not known.
    pub channels: u16,
    /// Samples of the core layer in a frame: 1024 or 960.
    pub frame_length: u16,
    /// Spectral band replication is announced (HE-AAC).
    pub sbr: bool,
    /// Parametric stereo is announced (HE-AAC v2).
    pub ps: bool,
}

impl AacConfig {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        parse_config(bytes).ok_or(ConfigError::Malformed("AudioSpecificConfig"))
    }

    /// The object type as RFC 6381 names it: 29 and 5 for HE-AAC with and without parametric stereo.
    pub(super) fn announced_object_type(&self) -> u8 {
        match (self.ps, self.sbr) {
            (true, _) => 29,
            (false, true) => 5,
            (false, false) => self.object_type,
        }
    }
}

fn parse_config(bytes: &[u8]) -> Option<AacConfig> {
    let mut b = Bits { bytes, pos: 0 };
    let mut object_type = object_type(&mut b)?;
    let (rate_index, core_rate) = sampling_rate(&mut b)?;
    let channel_config = b.get(4)? as u8;
    let (mut sbr, mut ps, mut output_rate) = (false, false, core_rate);
    if object_type == 5 || object_type == 29 {
        sbr = true;
        ps = object_type == 29;
        (_, output_rate) = sampling_rate(&mut b)?;
        object_type = self::object_type(&mut b)?;
    }
    let mut channels = CHANNELS[usize::from(channel_config)];
    let mut frame_length = 1024;
    if matches!(object_type, 1..=4 | 6 | 7) {
        if b.get(1)? == 1 {
            frame_length = 960;
        }
        if b.get(1)? == 1 {
            b.get(14)?;
        }
        let _extension_flag = b.get(1)?;
        if channel_config == 0 {
            channels = program_config_channels(&mut b)?;
        }
        if !sbr {
            // An older decoder stops before this extension and plays the core layer alone.
            if let Some(rate) = sbr_extension(&mut b) {
                sbr = true;
                output_rate = rate;
                ps = b.get(11) == Some(0x548) && b.get(1) == Some(1);
            }
        }
    }
    if ps && channels == 1 {
        channels = 2;
    }
    Some(AacConfig {
        bytes: Bytes::copy_from_slice(bytes),
        object_type,
        rate_index,
        core_rate,
        output_rate,
        channel_config,
        channels,
        frame_length,
        sbr,
        ps,
    })
}

fn object_type(b: &mut Bits<'_>) -> Option<u8> {
    match b.get(5)? {
        31 => Some(32 + b.get(6)? as u8),
        n => Some(n as u8),
    }
}

/// The index (if there is one) and the rate, which is never 0.
fn sampling_rate(b: &mut Bits<'_>) -> Option<(Option<u8>, u32)> {
    let index = b.get(4)?;
    if index == 15 {
        let rate = b.get(24).filter(|r| *r > 0)?;
        let known = SAMPLE_RATES.iter().position(|r| *r == rate);
        return Some((known.map(|i| i as u8), rate));
    }
    SAMPLE_RATES
        .get(index as usize)
        .map(|rate| (Some(index as u8), *rate))
}

/// The output rate of a backward compatible SBR announcement, when there is one that says yes.
fn sbr_extension(b: &mut Bits<'_>) -> Option<u32> {
    if b.get(11)? != 0x2b7 || object_type(b)? != 5 || b.get(1)? == 0 {
        return None;
    }
    sampling_rate(b).map(|(_, rate)| rate)
}

/// The speakers that a program config element lists (ISO/IEC 14496-3 section 4.4.1.1).
fn program_config_channels(b: &mut Bits<'_>) -> Option<u16> {
    b.get(10)?;
    let counts = [b.get(4)?, b.get(4)?, b.get(4)?];
    let lfe = b.get(2)?;
    b.get(7)?;
    for bits in [4, 4, 3] {
        if b.get(1)? == 1 {
            b.get(bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..counts.iter().sum::<u32>() {
        channels += 1 + b.get(1)?;
        b.get(4)?;
    }
    // The rest of the element (associated data, coupling, comment) says nothing about speakers, and
    // no SBR announcement is looked for behind it.
    b.pos = b.bytes.len() * 8;
    Some(channels as u16)
}

/// Why a configuration has no ADTS form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAdtsForm;

/// The fixed part of the ADTS headers of a track (ISO/IEC 14496-3 section 1.A.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct AdtsHeader {
    profile: u8,
    rate_index: u8,
    channel_config: u8,
}

impl AdtsHeader {
    /// ADTS can name the object types 1 to 4, the thirteen indexed rates and the layouts 1 to 7. SBR
    /// is announced implicitly: the header describes the core layer.
    pub(super) fn new(config: &AacConfig) -> Result<Self, NoAdtsForm> {
        let rate_index = config.rate_index.ok_or(NoAdtsForm)?;
        if !(1..=4).contains(&config.object_type) || !(1..=7).contains(&config.channel_config) {
            return Err(NoAdtsForm);
        }
        Ok(AdtsHeader {
            profile: config.object_type - 1,
            rate_index,
            channel_config: config.channel_config,
        })
    }

    /// Whether a raw frame of this size fits.
    pub(super) fn fits(frame_bytes: usize) -> bool {
        frame_bytes <= MAX_ADTS_FRAME_BYTES - ADTS_HEADER_BYTES
    }

    /// The header of a raw frame for which [`fits`](Self::fits) holds.
    pub(super) fn bytes(self, frame_bytes: usize) -> [u8; ADTS_HEADER_BYTES] {
        let len = frame_bytes + ADTS_HEADER_BYTES;
        [
            0xff,
            0xf1,
            self.profile << 6 | self.rate_index << 2 | self.channel_config >> 2,
            (self.channel_config & 3) << 6 | (len >> 11) as u8 & 3,
            (len >> 3) as u8,
            (len << 5) as u8 | 0x1f,
            0xfc,
        ]
    }
}

/// Bits from the most significant end.
struct Bits<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl Bits<'_> {
    /// The next `n` bits (at most 32), or `None` when fewer are left.
    fn get(&mut self, n: usize) -> Option<u32> {
        if self.pos + n > self.bytes.len() * 8 {
            return None;
        }
        let mut v = 0;
        for i in self.pos..self.pos + n {
            v = v << 1 | u32::from(self.bytes[i / 8] >> (7 - i % 8) & 1);
        }
        self.pos += n;
        Some(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_lc_with_a_negative_sbr_announcement() {
        let c = AacConfig::parse(&[0x11, 0x90, 0x56, 0xe5, 0x00]).unwrap();
        assert_eq!(
            (c.object_type, c.rate_index, c.core_rate, c.output_rate),
            (2, Some(3), 48000, 48000)
        );
        assert_eq!(
            (
                c.channel_config,
                c.channels,
                c.sbr,
                c.announced_object_type()
            ),
            (2, 2, false, 2)
        );
    }

    #[test]
    fn he_aac_in_both_spellings() {
        // 5, 24 kHz, stereo, extension 48 kHz, core 2.
        let explicit = AacConfig::parse(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        // 2, 24 kHz, stereo, then 0x2b7, 5, present, 48 kHz.
        let compatible = AacConfig::parse(&[0x13, 0x10, 0x56, 0xe5, 0x98]).unwrap();
        for c in [explicit, compatible] {
            assert_eq!(
                (c.object_type, c.core_rate, c.output_rate, c.sbr),
                (2, 24000, 48000, true)
            );
            assert_eq!(c.announced_object_type(), 5);
            assert!(AdtsHeader::new(&c).is_ok());
        }
    }

    #[test]
    fn escaped_rates_and_object_types() {
        // 2, escape, 44100 Hz, stereo.
        let c = AacConfig::parse(&[0x17, 0x80, 0x56, 0x22, 0x10]).unwrap();
        assert_eq!((c.core_rate, c.rate_index, c.channels), (44100, Some(4), 2));
        // 31 + 10 = 42 (xHE-AAC), 48 kHz, stereo: known by name, not as ADTS.
        let c = AacConfig::parse(&[0xf9, 0x46, 0x40]).unwrap();
        assert_eq!((c.object_type, c.core_rate, c.channels), (42, 48000, 2));
        assert!(AdtsHeader::new(&c).is_err());
    }

    #[test]
    fn adts_header_fields() {
        let h = AdtsHeader::new(&AacConfig::parse(&[0x11, 0x90]).unwrap()).unwrap();
        assert_eq!(h.bytes(0x1ff8), [0xff, 0xf1, 0x4c, 0x83, 0xff, 0xff, 0xfc]);
        assert_eq!(h.bytes(1), [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x1f, 0xfc]);
        assert!(AdtsHeader::fits(0x1ff8) && !AdtsHeader::fits(0x1ff9));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(c) = AacConfig::parse(&bytes) {
                prop_assert!(c.core_rate > 0 && c.output_rate > 0);
            }
        }
    }
}
