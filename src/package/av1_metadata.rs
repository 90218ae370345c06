//! HDR10's metadata in a stream of AV1: units that follow every sequence header (AV1 specification, sections
//! 5.3 and 5.8).

use crate::media::{HdrMetadata, LightLevel, MasteringDisplay};

const SEQUENCE_HEADER: u8 = 1;
const METADATA: u8 = 5;
const LIGHT_LEVEL: u8 = 1;
const MASTERING_DISPLAY: u8 = 2;
/// The bit that ends a unit, and what fills its byte.
const TRAILING: u8 = 0x80;

/// The units that say `hdr`.
pub fn hdr_units(hdr: &HdrMetadata) -> Vec<u8> {
    let mastering = hdr.mastering.as_ref().map(mastering_display);
    let light = hdr.light.as_ref().map(light_level);
    let units = [(MASTERING_DISPLAY, mastering), (LIGHT_LEVEL, light)];
    let mut out = Vec::new();
    for (kind, said) in units {
        let Some(said) = said else { continue };
        // A unit with a length, which is below 128 here: one byte.
        out.extend([METADATA << 3 | 2, said.len() as u8 + 2, kind]);
        out.extend(said);
        out.push(TRAILING);
    }
    out
}

/// A number with `bits` behind the point, as far as it fits.
fn fixed(value: f64, bits: u32) -> f64 {
    (value * f64::from(1_u32 << bits)).round()
}

fn mastering_display(display: &MasteringDisplay) -> Vec<u8> {
    let points = display.primaries.iter().chain([&display.white]);
    // The casts saturate.
    let coordinates = points.flat_map(|(x, y)| [fixed(*x, 16) as u16, fixed(*y, 16) as u16]);
    let mut out: Vec<u8> = coordinates.flat_map(u16::to_be_bytes).collect();
    out.extend((fixed(display.brightest, 8) as u32).to_be_bytes());
    out.extend((fixed(display.darkest, 14) as u32).to_be_bytes());
    out
}

fn light_level(light: &LightLevel) -> Vec<u8> {
    [light.content.to_be_bytes(), light.average.to_be_bytes()].concat()
}

/// Puts `units` behind the first sequence header of `picture`, a temporal unit. `None`: it has none, says
/// such things itself, or is not understood.
pub(super) fn with_units(picture: &[u8], units: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0;
    let mut behind = None;
    while at < picture.len() {
        let (kind, length) = unit(&picture[at..])?;
        at += length;
        match kind {
            SEQUENCE_HEADER => behind = behind.or(Some(at)),
            METADATA => return None,
            _ => {}
        }
    }
    let (before, after) = picture.split_at(behind?);
    Some([before, units, after].concat())
}

/// Kind and whole length of the first unit.
fn unit(bytes: &[u8]) -> Option<(u8, usize)> {
    let head = *bytes.first()?;
    let (has_extension, has_size) = (head & 4 != 0, head & 2 != 0);
    let mut at = 1 + usize::from(has_extension);
    let kind = head >> 3 & 15;
    if !has_size {
        return Some((kind, bytes.len()));
    }
    let mut size = 0_usize;
    for nth in 0..4 {
        let byte = *bytes.get(at)?;
        at += 1;
        size |= usize::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            let end = at.checked_add(size)?;
            return (end <= bytes.len()).then_some((kind, end));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HDR: HdrMetadata = HdrMetadata {
        mastering: Some(MasteringDisplay {
            primaries: [(0.68, 0.32), (0.265, 0.69), (0.15, 0.06)],
            white: (0.3127, 0.329),
            darkest: 0.005,
            brightest: 1000.0,
        }),
        light: Some(LightLevel {
            content: 1000,
            average: 400,
        }),
    };

    #[test]
    fn units_have_the_form_of_the_specification() {
        let units = hdr_units(&HDR);
        let light = [0x2a, 6, 1, 0x03, 0xe8, 0x01, 0x90, 0x80];
        assert!(units.ends_with(&light), "{units:x?}");
        assert_eq!(units[..3], [0x2a, 26, 2]);
        // 0.68 and 0.32 in steps of 1/65536, 1000 in steps of 1/256, 0.005 in steps of 1/16384.
        assert_eq!(units[3..7], [0xae, 0x14, 0x51, 0xec]);
        assert_eq!(units[19..27], [0, 3, 0xe8, 0, 0, 0, 0, 82]);
        assert_eq!(units.len(), 28 + light.len());
        assert_eq!(unit(&units), Some((METADATA, 28)));
        assert!(hdr_units(&HdrMetadata::default()).is_empty());
    }

    #[test]
    fn units_follow_the_sequence_header() {
        let key = [0x12, 0, 0x0a, 2, 7, 7, 0x32, 1, 9];
        let made = with_units(&key, &[1, 2, 3]).unwrap();
        assert_eq!(made, [0x12, 0, 0x0a, 2, 7, 7, 1, 2, 3, 0x32, 1, 9]);
        // A picture that is no key, one that says it itself, and what is broken off.
        assert_eq!(with_units(&[0x12, 0, 0x32, 1, 9], &[1]), None);
        let told = [&key[..6], &[0x2a, 1, 0x80], &key[6..]].concat();
        assert_eq!(with_units(&told, &[1]), None);
        assert_eq!(with_units(&key[..5], &[1]), None);
        assert_eq!(with_units(&[], &[1]), None);
    }
}
