//! The tables at the start of a segment: PAT and PMT (ISO/IEC 13818-1 section 2.4.4).

use bytes::{BufMut, BytesMut};

use super::packet::{Adaptation, PACKET_BYTES, put_packet};

const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
pub(super) const VIDEO_PID: u16 = 0x100;
pub(super) const AUDIO_PID: u16 = 0x101;
const PROGRAM: u16 = 1;

/// `stream_type` values (table 2-34).
const H264: u8 = 0x1b;
const AAC_ADTS: u8 = 0x0f;

/// Appends one packet each of PAT and PMT with this continuity counter.
pub(super) fn put_tables(out: &mut BytesMut, has_video: bool, has_audio: bool, counter: u8) {
    let pat = section(0, 1, |o| {
        o.put_u16(PROGRAM);
        o.put_u16(0xe000 | PMT_PID);
    });
    let pmt = section(2, PROGRAM, |o| {
        o.put_u16(0xe000 | if has_video { VIDEO_PID } else { AUDIO_PID });
        o.put_u16(0xf000);
        for (present, stream_type, pid) in [
            (has_video, H264, VIDEO_PID),
            (has_audio, AAC_ADTS, AUDIO_PID),
        ] {
            if present {
                o.put_u8(stream_type);
                o.put_u16(0xe000 | pid);
                o.put_u16(0xf000);
            }
        }
    });
    for (pid, section) in [(PAT_PID, pat), (PMT_PID, pmt)] {
        put_packet(out, pid, true, counter, Adaptation::default(), &section);
    }
}

/// A section behind its pointer field, padded to fill a packet.
fn section(table_id: u8, id_extension: u16, body: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::with_capacity(PACKET_BYTES);
    out.put_slice(&[0, table_id, 0, 0]);
    out.put_u16(id_extension);
    out.put_slice(&[0xc1, 0, 0]); // version 0, current, section 0 of 0
    body(&mut out);
    // Behind the length field, checksum included.
    let len = (out.len() + 4 - 4) as u16;
    out[2..4].copy_from_slice(&(0xb000 | len).to_be_bytes());
    let crc = crc32(&out[1..]);
    out.put_u32(crc);
    out.resize(PACKET_BYTES - 4, 0xff);
    out
}

/// The CRC of annex A: polynomial 0x04c11db7, most significant bit first, no final inversion.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_of_a_section_with_its_crc_is_zero() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
        let mut out = BytesMut::new();
        put_tables(&mut out, true, true, 5);
        assert_eq!(out.len(), 2 * PACKET_BYTES);
        for packet in out.chunks(PACKET_BYTES) {
            assert_eq!(packet[3], 0x15);
            let len = usize::from(u16::from_be_bytes([packet[6], packet[7]]) & 0xfff);
            assert_eq!(crc32(&packet[5..8 + len]), 0);
        }
    }
}
