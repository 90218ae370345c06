//! H.264 in MP4: the configuration record and length-prefixed NAL units (ISO/IEC 14496-15 section 5).

use bytes::Bytes;

use super::boxes::Fields;
use super::codec::ConfigError;

/// NAL unit types of H.264 (ITU-T H.264 table 7-1) that packaging looks at.
pub(super) mod nal {
    pub(in crate::package) const IDR: u8 = 5;
    pub(in crate::package) const SPS: u8 = 7;
    pub(in crate::package) const PPS: u8 = 8;
    pub(in crate::package) const AUD: u8 = 9;
    pub(in crate::package) const SPS_EXTENSION: u8 = 13;
    pub(in crate::package) const SUBSET_SPS: u8 = 15;
}

/// The decoder configuration of an `avc1` track (`avcC`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub nal_length_bytes: u8,
    /// Sequence parameter sets, without length or start code.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, without length or start code.
    pub pps: Vec<Bytes>,
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags as one byte.
    pub compat: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
}

impl AvcConfig {
    /// Reads the body of an `avcC` box (ISO/IEC 14496-15 section 5.3.3.1).
    pub(super) fn parse(body: &[u8]) -> Result<Self, ConfigError> {
        parse_record(body).ok_or(ConfigError::Malformed("avcC"))
    }
}

fn parse_record(body: &[u8]) -> Option<AvcConfig> {
    let mut f = Fields::new(body);
    let [version, profile, compat, level, lengths] = f.array()?;
    let nal_length_bytes = (lengths & 3) + 1;
    if version != 1 || nal_length_bytes == 3 {
        return None;
    }
    let sps_count = f.u8()? & 0x1f;
    let sps = parameter_sets(&mut f, sps_count)?;
    let pps_count = f.u8()?;
    let pps = parameter_sets(&mut f, pps_count)?;
    Some(AvcConfig {
        nal_length_bytes,
        sps,
        pps,
        profile,
        compat,
        level,
    })
}

fn parameter_sets(f: &mut Fields<'_>, count: u8) -> Option<Vec<Bytes>> {
    (0..count)
        .map(|_| {
            let len = f.u16()?;
            f.take(usize::from(len))
                .filter(|s| !s.is_empty())
                .map(Bytes::copy_from_slice)
        })
        .collect()
}

/// The NAL units of a sample. An item is `None` when a length points outside the sample; iteration
/// ends there. Empty units are left out.
pub(super) fn nal_units(data: &[u8], nal_length_bytes: u8) -> NalUnits<'_> {
    NalUnits {
        rest: data,
        length_bytes: usize::from(nal_length_bytes),
    }
}

pub(super) struct NalUnits<'a> {
    rest: &'a [u8],
    length_bytes: usize,
}

impl<'a> NalUnits<'a> {
    fn split_first(&mut self) -> Option<&'a [u8]> {
        let (prefix, rest) = self.rest.split_at_checked(self.length_bytes)?;
        let len = prefix.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let (unit, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(unit)
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.split_first() {
                Some([]) => {}
                Some(unit) => return Some(Some(unit)),
                None => {
                    self.rest = &[];
                    return Some(None);
                }
            }
        }
        None
    }
}

/// The type of a NAL unit that is not empty.
pub(super) fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |b| b & 0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_x264_writes() {
        let body = [
            &[1, 0x64, 0, 0x0c, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x0c][..],
            &[1, 0, 3, 0x68, 0xef, 0x8f, 0xfd, 0xf8, 0xf8, 0],
        ]
        .concat();
        let c = AvcConfig::parse(&body).unwrap();
        assert_eq!(
            (c.nal_length_bytes, c.profile, c.compat, c.level),
            (4, 0x64, 0, 0x0c)
        );
        assert_eq!(c.sps, [Bytes::from_static(&[0x67, 0x64, 0, 0x0c])]);
        assert_eq!(c.pps, [Bytes::from_static(&[0x68, 0xef, 0x8f])]);
        for cut in 0..body.len() - 4 {
            assert!(AvcConfig::parse(&body[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn nal_units_stop_at_a_length_that_does_not_fit() {
        let data = [0, 2, 0x65, 1, 0, 0, 0, 1, 0x09, 0, 9, 1];
        let units: Vec<_> = nal_units(&data, 2).collect();
        assert_eq!(units, [Some(&[0x65, 1][..]), Some(&[0x09][..]), None]);
    }
}
