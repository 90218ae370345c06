//! Transport packets (ISO/IEC 13818-1 section 2.4.3).

use bytes::{BufMut, BytesMut};

use super::time::pcr;

pub(super) const PACKET_BYTES: usize = 188;
const BODY_BYTES: usize = PACKET_BYTES - 4;

/// What the adaptation field of a PES packet's first transport packet says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Adaptation {
    pub(super) random_access: bool,
    /// On the clock of the transport stream, not yet wrapped.
    pub(super) pcr: Option<i64>,
}

impl Adaptation {
    /// Bytes of the field, its length included.
    fn bytes(self) -> usize {
        match (self.pcr, self.random_access) {
            (Some(_), _) => 8,
            (None, true) => 2,
            (None, false) => 0,
        }
    }
}

/// Continuity of one elementary stream within a segment: counted from 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Continuity {
    payload_packets: u64,
}

impl Continuity {
    fn next(&mut self) -> u8 {
        let counter = (self.payload_packets & 0xf) as u8;
        self.payload_packets += 1;
        counter
    }

    /// The counter of the last payload packet, which a packet without payload repeats.
    fn last(self) -> u8 {
        (self.payload_packets.wrapping_sub(1) & 0xf) as u8
    }

    /// How many packets more than `packets` bring the count to a multiple of 16.
    fn up_to_sixteen(self, packets: usize) -> usize {
        (16 - (self.payload_packets as usize + packets) % 16) % 16
    }
}

/// Writes one PES packet. When it is the `last` of its stream in the segment, it is spread over as
/// many packets as bring their number to a multiple of 16; it must then have at least 16 bytes.
pub(super) fn put_pes(
    out: &mut BytesMut,
    pid: u16,
    continuity: &mut Continuity,
    adaptation: Adaptation,
    pes: &[u8],
    last: bool,
) {
    let first_room = BODY_BYTES - adaptation.bytes();
    let mut packets = 1 + pes.len().saturating_sub(first_room).div_ceil(BODY_BYTES);
    if last {
        packets += continuity.up_to_sixteen(packets);
    }
    out.reserve(packets * PACKET_BYTES);
    let mut rest = pes;
    for left in (0..packets).rev() {
        let is_first = left + 1 == packets;
        let adaptation = if is_first {
            adaptation
        } else {
            Adaptation::default()
        };
        // At least one byte for each packet still to come.
        let n = (BODY_BYTES - adaptation.bytes()).min(rest.len().saturating_sub(left));
        let (payload, tail) = rest.split_at(n);
        rest = tail;
        put_packet(out, pid, is_first, continuity.next(), adaptation, payload);
    }
}

/// Writes a packet that carries a PCR and nothing else.
pub(super) fn put_pcr_only(out: &mut BytesMut, pid: u16, continuity: Continuity, time: i64) {
    let adaptation = Adaptation {
        random_access: false,
        pcr: Some(time),
    };
    put_packet(out, pid, false, continuity.last(), adaptation, &[]);
}

/// Writes one packet. What payload and adaptation field leave of it is stuffed.
pub(super) fn put_packet(
    out: &mut BytesMut,
    pid: u16,
    unit_start: bool,
    counter: u8,
    adaptation: Adaptation,
    payload: &[u8],
) {
    let field = BODY_BYTES - payload.len();
    let control = u8::from(field > 0) << 5 | u8::from(!payload.is_empty()) << 4;
    let [pid_high, pid_low] = pid.to_be_bytes();
    out.put_slice(&[
        0x47,
        u8::from(unit_start) << 6 | pid_high,
        pid_low,
        control | counter,
    ]);
    if field > 0 {
        out.put_u8((field - 1) as u8);
    }
    if field > 1 {
        let has_pcr = adaptation.pcr.is_some();
        out.put_u8(u8::from(adaptation.random_access) << 6 | u8::from(has_pcr) << 4);
        let mut stuffing = field - 2;
        if let Some(time) = adaptation.pcr {
            out.put_slice(&pcr(time));
            stuffing -= 6;
        }
        out.put_bytes(0xff, stuffing);
    }
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payloads(ts: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut data = Vec::new();
        let mut counters = Vec::new();
        for p in ts.chunks(PACKET_BYTES) {
            assert_eq!((p.len(), p[0]), (PACKET_BYTES, 0x47));
            let start = if p[3] & 0x20 == 0 {
                4
            } else {
                5 + usize::from(p[4])
            };
            assert!(start < PACKET_BYTES, "a payload packet has payload");
            data.extend_from_slice(&p[start..]);
            counters.push(p[3] & 0xf);
        }
        (data, counters)
    }

    #[test]
    fn a_pcr_packet_repeats_the_counter() {
        let mut continuity = Continuity::default();
        let mut out = BytesMut::new();
        put_pes(
            &mut out,
            0x100,
            &mut continuity,
            Adaptation::default(),
            &[7; 400],
            false,
        );
        put_pcr_only(&mut out, 0x100, continuity, 0);
        let p = &out[3 * PACKET_BYTES..];
        assert_eq!((p.len(), p[3], p[4], p[5]), (PACKET_BYTES, 0x22, 183, 0x10));
    }

    proptest! {
        #[test]
        fn payload_survives_and_the_last_one_fills_sixteen(
            before in 0usize..3000,
            len in 16usize..4000,
            random_access: bool,
            with_pcr: bool,
        ) {
            let adaptation = Adaptation { random_access, pcr: with_pcr.then_some(5) };
            let data: Vec<u8> = (0..before + len).map(|i| i as u8).collect();
            let mut out = BytesMut::new();
            let mut continuity = Continuity::default();
            if before > 0 {
                put_pes(&mut out, 1, &mut continuity, adaptation, &data[..before], false);
            }
            put_pes(&mut out, 1, &mut continuity, adaptation, &data[before..], true);
            let (read, counters) = payloads(&out);
            prop_assert_eq!(read, data);
            prop_assert_eq!(counters.len() % 16, 0);
            prop_assert!(counters.iter().zip((0..16).cycle()).all(|(a, b)| *a == b));
        }
    }
}
