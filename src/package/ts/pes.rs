//! PES packets (ISO/IEC 13818-1 section 2.4.3.6) and the elementary streams inside them.

use bytes::Bytes;

use super::super::adts::{ADTS_HEADER_BYTES, AdtsHeader};
use super::super::avc::{AvcConfig, nal, nal_type, nal_units};
use super::time::timestamp;

const VIDEO_STREAM_ID: u8 = 0xe0;
const AUDIO_STREAM_ID: u8 = 0xc0;
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// An access unit delimiter that admits every slice type.
const AUD: [u8; 6] = [0, 0, 0, 1, nal::AUD, 0xf0];

/// A length prefix of a sample points outside the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadNalLength;

/// What has to be known of a picture before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PictureScan {
    pub(super) idr: bool,
    has_sps: bool,
    has_pps: bool,
}

/// Looks at the NAL units of a picture; after this it can be written without failing.
pub(super) fn scan_picture(data: &[u8], avc: &AvcConfig) -> Result<PictureScan, BadNalLength> {
    let mut scan = PictureScan {
        idr: false,
        has_sps: false,
        has_pps: false,
    };
    for unit in nal_units(data, avc.nal_length_bytes) {
        match nal_type(unit.ok_or(BadNalLength)?) {
            nal::IDR => scan.idr = true,
            nal::SPS => scan.has_sps = true,
            nal::PPS => scan.has_pps = true,
            _ => {}
        }
    }
    Ok(scan)
}

/// Replaces `out` by the PES packet of a picture in Annex B form (ITU-T H.264 annex B): a delimiter
/// first, and before a `key` picture the parameter sets that it does not bring along.
pub(super) fn video_pes(
    out: &mut Vec<u8>,
    avc: &AvcConfig,
    scan: PictureScan,
    key: bool,
    pts90: i64,
    dts90: i64,
    data: &[u8],
) {
    out.clear();
    // Length 0, which is allowed for video: a picture may be longer than 16 bits can say.
    out.extend_from_slice(&[0, 0, 1, VIDEO_STREAM_ID, 0, 0]);
    put_header_tail(out, pts90, dts90);
    out.extend_from_slice(&AUD);
    if key && !scan.has_sps {
        avc.sps.iter().for_each(|s| put_unit(out, s));
    }
    let mut pps_missing = key && !scan.has_pps;
    for unit in nal_units(data, avc.nal_length_bytes).flatten() {
        let kind = nal_type(unit);
        if kind == nal::AUD {
            continue;
        }
        if pps_missing && !matches!(kind, nal::SPS | nal::SPS_EXTENSION | nal::SUBSET_SPS) {
            avc.pps.iter().for_each(|p| put_unit(out, p));
            pps_missing = false;
        }
        put_unit(out, unit);
    }
}

fn put_unit(out: &mut Vec<u8>, unit: &[u8]) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(unit);
}

/// Replaces `out` by the PES packet of some AAC frames, each behind its ADTS header.
pub(super) fn audio_pes(out: &mut Vec<u8>, adts: AdtsHeader, pts90: i64, frames: &[Bytes]) {
    out.clear();
    let data_bytes: usize = frames.iter().map(|f| f.len() + ADTS_HEADER_BYTES).sum();
    let length = (data_bytes + 8) as u16;
    out.extend_from_slice(&[0, 0, 1, AUDIO_STREAM_ID]);
    out.extend_from_slice(&length.to_be_bytes());
    put_header_tail(out, pts90, pts90);
    for frame in frames {
        out.extend_from_slice(&adts.bytes(frame.len()));
        out.extend_from_slice(frame);
    }
}

/// Flags and time stamps. The data alignment indicator is set: the payload starts with an access unit.
fn put_header_tail(out: &mut Vec<u8>, pts90: i64, dts90: i64) {
    if pts90 == dts90 {
        out.extend_from_slice(&[0x84, 0x80, 5]);
        out.extend_from_slice(&timestamp(2, pts90));
    } else {
        out.extend_from_slice(&[0x84, 0xc0, 10]);
        out.extend_from_slice(&timestamp(3, pts90));
        out.extend_from_slice(&timestamp(1, dts90));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn avc() -> AvcConfig {
        AvcConfig {
            nal_length_bytes: 4,
            sps: vec![Bytes::from_static(&[0x67, 1])],
            pps: vec![Bytes::from_static(&[0x68, 2])],
            profile: 0x64,
            compat: 0,
            level: 30,
        }
    }

    fn annex_b(units: &[&[u8]], key: bool) -> Vec<u8> {
        let mut data = Vec::new();
        for unit in units {
            data.extend_from_slice(&(unit.len() as u32).to_be_bytes());
            data.extend_from_slice(unit);
        }
        let scan = scan_picture(&data, &avc()).unwrap();
        let mut out = vec![1, 2, 3];
        video_pes(&mut out, &avc(), scan, key, 7, 7, &data);
        out.split_off(14)
    }

    fn with_start_codes(units: &[&[u8]]) -> Vec<u8> {
        units
            .iter()
            .flat_map(|u| [&START_CODE, *u].concat())
            .collect()
    }

    const AUD_UNIT: &[u8] = &[9, 0xf0];

    #[test]
    fn parameter_sets_come_once() {
        let plain = annex_b(&[&[0x06, 5], &[0x65, 3]], true);
        assert_eq!(
            plain,
            with_start_codes(&[AUD_UNIT, &[0x67, 1], &[0x68, 2], &[0x06, 5], &[0x65, 3]])
        );
        let in_band = annex_b(&[&[9, 0x10], &[0x67, 9], &[0x68, 9], &[0x65, 3]], true);
        assert_eq!(
            in_band,
            with_start_codes(&[AUD_UNIT, &[0x67, 9], &[0x68, 9], &[0x65, 3]])
        );
        let half = annex_b(&[&[0x67, 9], &[0x65, 3]], true);
        assert_eq!(
            half,
            with_start_codes(&[AUD_UNIT, &[0x67, 9], &[0x68, 2], &[0x65, 3]])
        );
        assert_eq!(
            annex_b(&[&[0x41, 3]], false),
            with_start_codes(&[AUD_UNIT, &[0x41, 3]])
        );
    }

    #[test]
    fn a_length_that_does_not_fit_is_found_beforehand() {
        assert_eq!(scan_picture(&[0, 0, 0, 3, 1, 2], &avc()), Err(BadNalLength));
        assert_eq!(scan_picture(&[0, 0], &avc()), Err(BadNalLength));
    }
}
