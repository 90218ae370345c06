//! Samples of an encoder whose headers are not those of the track: what a decoder must know of them
//! goes before their key frames, among the samples themselves.

use bytes::{BufMut, Bytes, BytesMut};

use super::boxes::{Fields, children};
use super::codec::SampleCodec;
use super::sample::{Sample, TrackConfig};

/// Bytes of a `VisualSampleEntry` before its boxes, header included (ISO/IEC 14496-12 section 12.1.3).
const VISUAL_ENTRY_BYTES: usize = 86;

impl TrackConfig {
    /// What to put before the key frames of a run with the headers `other`, so that its samples can
    /// follow those of this track; empty when nothing is needed, `None` when they never fit.
    pub fn in_band(&self, other: &TrackConfig) -> Option<Bytes> {
        if self == other {
            return Some(Bytes::new());
        }
        if !self.is_video() || self.timescale != other.timescale || self.media != other.media {
            return None;
        }
        match (&self.codec, &other.codec) {
            (SampleCodec::Avc(own), SampleCodec::Avc(avc))
                if own.nal_length_bytes == 4 && avc.nal_length_bytes == 4 =>
            {
                Some(units(avc.sps.iter().chain(&avc.pps).map(|b| &b[..])))
            }
            (SampleCodec::Hevc(_), SampleCodec::Hevc(_)) => hevc_sets(&other.sample_entry),
            // Their key frames carry all that is needed.
            (SampleCodec::Av1(_), SampleCodec::Av1(_))
            | (SampleCodec::Vp9(_), SampleCodec::Vp9(_)) => Some(Bytes::new()),
            _ => None,
        }
    }
}

impl Sample {
    /// The sample with `sets` before it, if a decoder may start here.
    pub fn with_in_band(mut self, sets: &Bytes) -> Sample {
        if self.sync && !sets.is_empty() {
            let mut data = BytesMut::with_capacity(sets.len() + self.data.len());
            data.put_slice(sets);
            data.put_slice(&self.data);
            self.data = data.freeze();
        }
        self
    }
}

fn units<'a>(units: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    for unit in units {
        out.put_u32(unit.len() as u32);
        out.put_slice(unit);
    }
    out.freeze()
}

/// The parameter sets of an `hvcC` (ISO/IEC 14496-15 section 8.3.3.1).
fn hevc_sets(sample_entry: &[u8]) -> Option<Bytes> {
    let boxes = sample_entry.get(VISUAL_ENTRY_BYTES..)?;
    let mut boxes = children(boxes).filter_map(Result::ok);
    let mut f = Fields::new(boxes.find(|b| b.is(b"hvcC"))?.body);
    f.skip(21)?;
    if f.u8()? & 3 != 3 {
        return None;
    }
    let mut sets = Vec::new();
    for _ in 0..f.u8()? {
        f.u8()?;
        for _ in 0..f.u16()? {
            let len = f.u16()?;
            sets.push(f.take(usize::from(len))?);
        }
    }
    Some(units(sets.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn other_headers_go_before_key_frames_only() {
        let track = testing::avc_config();
        let mut other = track.clone();
        let SampleCodec::Avc(avc) = &mut other.codec else {
            panic!("not H.264");
        };
        avc.sps = vec![Bytes::from_static(&[0x67, 1])];
        avc.pps = vec![Bytes::from_static(&[0x68])];
        assert_eq!(track.in_band(&track), Some(Bytes::new()));
        let sets = track.in_band(&other).unwrap();
        assert_eq!(&sets[..], [0, 0, 0, 2, 0x67, 1, 0, 0, 0, 1, 0x68]);
        let sample = |sync| Sample {
            dts: 0,
            pts: 0,
            duration: 1,
            sync,
            data: Bytes::from_static(&[0, 0, 0, 1, 0x65]),
        };
        assert_eq!(sample(true).with_in_band(&sets).data.len(), 16);
        assert_eq!(sample(false).with_in_band(&sets), sample(false));
        assert_eq!(track.in_band(&testing::aac_config()), None);
    }
}
