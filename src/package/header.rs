//! What the header of a fragmented MP4 says of its tracks, however many there are.

use super::boxes::{BoxRef, Fields, children};
use super::codec::SampleCodec;
use super::sample::TrackMedia;
use super::sample_entry::parse_sample_entry;

/// The tracks that the `moov` box in `header` describes, in their order; `None` when there is none,
/// or one that is damaged or of a codec that players are not told of.
pub fn header_tracks(header: &[u8]) -> Option<Vec<(TrackMedia, SampleCodec)>> {
    let moov = first(header, b"moov")?;
    let traks = children(moov.body).filter_map(Result::ok);
    let tracks: Option<Vec<_>> = traks.filter(|b| b.is(b"trak")).map(track).collect();
    tracks.filter(|t| !t.is_empty())
}

fn first<'a>(body: &'a [u8], kind: &[u8; 4]) -> Option<BoxRef<'a>> {
    children(body).filter_map(Result::ok).find(|b| b.is(kind))
}

fn track(trak: BoxRef<'_>) -> Option<(TrackMedia, SampleCodec)> {
    let mdia = first(trak.body, b"mdia")?;
    let mut mdhd = Fields::new(first(mdia.body, b"mdhd")?.body);
    let (version, _) = mdhd.version_flags()?;
    mdhd.skip(if version == 1 { 16 } else { 8 })?;
    let timescale = mdhd.u32()?;
    let stbl = first(first(mdia.body, b"minf")?.body, b"stbl")?;
    let stsd = first(stbl.body, b"stsd")?;
    let entry = children(stsd.body.get(8..)?).next()?.ok()?;
    let parsed = parse_sample_entry(entry, timescale).ok()?;
    Some((parsed.media, parsed.codec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_header_says_nothing() {
        assert_eq!(header_tracks(b""), None);
        assert_eq!(header_tracks(b"\0\0\0\x08moov"), None);
        assert_eq!(header_tracks(b"\0\0\0\x10moov\0\0\0\x08trak"), None);
        assert_eq!(header_tracks(b"<html>not a film</html>"), None);
    }
}
