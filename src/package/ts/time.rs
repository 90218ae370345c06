//! The 90 kHz clock of MPEG-TS.

/// Where the timeline's zero lies on the clock of the transport stream: 10 s in ticks of 1/90000 s,
/// which keeps everything before it (reorder delay, PCR lead) positive.
pub const TS_ORIGIN: i64 = 900_000;

/// `ticks / timescale` seconds on the clock of the transport stream, to the nearest tick, not yet
/// wrapped. Saturates far outside of anything that 33 bits can tell apart.
pub(super) fn to_90k(ticks: i64, timescale: u32) -> i64 {
    let scale = i128::from(timescale.max(1));
    let scaled = i128::from(ticks) * 90_000;
    let half = scale / 2;
    let rounded = if scaled >= 0 {
        (scaled + half) / scale
    } else {
        (scaled - half) / scale
    };
    let limit = i128::from(i64::MAX / 4);
    rounded.clamp(-limit, limit) as i64 + TS_ORIGIN
}

/// The 33 bits that a time stamp has room for.
pub(super) fn wrap33(t: i64) -> u64 {
    t.cast_unsigned() & 0x1_ffff_ffff
}

/// A PTS or DTS field (section 2.4.3.7): `prefix` is 2 for a PTS alone, 3 and 1 for PTS and DTS.
pub(super) fn timestamp(prefix: u8, t: i64) -> [u8; 5] {
    let t = wrap33(t);
    [
        prefix << 4 | (t >> 29) as u8 & 0x0e | 1,
        (t >> 22) as u8,
        (t >> 14) as u8 | 1,
        (t >> 7) as u8,
        (t << 1) as u8 | 1,
    ]
}

/// A program clock reference (section 2.4.3.5) that falls on a tick of 90 kHz.
pub(super) fn pcr(t: i64) -> [u8; 6] {
    let base = wrap33(t);
    let [_, _, _, b3, b4, b5, b6, b7] = (base << 7).to_be_bytes();
    // Six reserved bits and the extension's top bit share the fifth byte with the base's last bit.
    [b3, b4, b5, b6, b7 | 0x7e, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_the_nearest_tick() {
        assert_eq!(to_90k(512, 12800), TS_ORIGIN + 3600);
        assert_eq!(to_90k(1024, 44100), TS_ORIGIN + 2090); // 2089.8
        assert_eq!(to_90k(-1024, 44100), TS_ORIGIN - 2090);
        assert_eq!(to_90k(1, 3), TS_ORIGIN + 30000);
    }

    #[test]
    fn fields_have_their_marker_bits() {
        assert_eq!(timestamp(2, 0), [0x21, 0, 1, 0, 1]);
        assert_eq!(timestamp(3, -1), [0x3f, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(timestamp(1, 0x1_2345_6789), [0x19, 0x8d, 0x15, 0xcf, 0x13]);
        assert_eq!(pcr(0), [0, 0, 0, 0, 0x7e, 0]);
        assert_eq!(pcr(-1), [0xff, 0xff, 0xff, 0xff, 0xfe, 0]);
    }
}
