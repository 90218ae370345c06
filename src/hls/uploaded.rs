//! Playlists that others made: read strictly, and written anew, so that nothing of theirs reaches
//! players but numbers and names that were checked.

use std::fmt::Write as _;

/// Bytes of a file: how many, from where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSpan {
    pub length: u64,
    pub offset: u64,
}

/// A segment of a single file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanSegment {
    pub seconds: f64,
    pub bytes: ByteSpan,
}

/// A whole rendition in one file of fragmented MP4 (contract `peertube-runner`, section 6).
#[derive(Debug, Clone, PartialEq)]
pub struct SingleFile {
    pub init: ByteSpan,
    pub segments: Vec<SpanSegment>,
}

/// A playlist that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadedError {
    #[error("the playlist does not begin with #EXTM3U")]
    NoPlaylist,
    #[error("line {0} of the playlist is not understood")]
    Line(usize),
    #[error("the playlist names no segments")]
    Empty,
    #[error("the playlist names bytes that the file does not have")]
    Beyond,
    #[error("the playlist has more than {MOST_SEGMENTS} segments")]
    TooLong,
}

/// Two weeks in segments of four seconds.
const MOST_SEGMENTS: usize = 300_000;

impl SingleFile {
    /// Reads the playlist of a file with `file_bytes` bytes.
    pub fn parse(text: &str, file_bytes: u64) -> Result<SingleFile, UploadedError> {
        let mut lines = text.lines().map(str::trim).enumerate();
        if lines.next().map(|(_, first)| first) != Some("#EXTM3U") {
            return Err(UploadedError::NoPlaylist);
        }
        let (mut init, mut segments) = (None, Vec::new());
        let (mut seconds, mut span) = (None, None);
        let mut end = 0;
        for (nth, line) in lines {
            let bad = || UploadedError::Line(nth + 1);
            if let Some(attributes) = line.strip_prefix("#EXT-X-MAP:") {
                let range = attribute(attributes, "BYTERANGE").ok_or_else(bad)?;
                let found = byte_range(range, 0).ok_or_else(bad)?;
                end = found.offset.saturating_add(found.length);
                init = Some(found);
            } else if let Some(rest) = line.strip_prefix("#EXTINF:") {
                seconds = Some(extinf(rest).ok_or_else(bad)?);
            } else if let Some(rest) = line.strip_prefix("#EXT-X-BYTERANGE:") {
                span = Some(byte_range(rest, end).ok_or_else(bad)?);
            } else if !line.is_empty() && !line.starts_with('#') {
                let (seconds, bytes) = seconds.take().zip(span.take()).ok_or_else(bad)?;
                end = bytes.offset.saturating_add(bytes.length);
                segments.push(SpanSegment { seconds, bytes });
                if segments.len() > MOST_SEGMENTS {
                    return Err(UploadedError::TooLong);
                }
            }
        }
        let init = init.filter(|_| !segments.is_empty());
        let init = init.ok_or(UploadedError::Empty)?;
        let within = |s: &ByteSpan| {
            let end = s.offset.checked_add(s.length);
            s.length > 0 && end.is_some_and(|end| end <= file_bytes)
        };
        let holds = within(&init) && segments.iter().all(|s| within(&s.bytes));
        match holds {
            true => Ok(SingleFile { init, segments }),
            false => Err(UploadedError::Beyond),
        }
    }

    /// The same as a playlist of ours, over the file `name`.
    pub fn text(&self, name: &str) -> String {
        let longest = self.segments.iter().map(|s| s.seconds).fold(0.0, f64::max);
        let mut out = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MAP:URI=\"{name}\",BYTERANGE=\"{}@{}\"\n",
            (longest.round() as u64).max(1),
            self.init.length,
            self.init.offset
        );
        for s in &self.segments {
            let (length, offset) = (s.bytes.length, s.bytes.offset);
            let _ = writeln!(
                out,
                "#EXTINF:{:.6},\n#EXT-X-BYTERANGE:{length}@{offset}\n{name}",
                s.seconds
            );
        }
        out.push_str("#EXT-X-ENDLIST\n");
        out
    }

    pub fn seconds(&self) -> f64 {
        self.segments.iter().map(|s| s.seconds).sum()
    }

    /// Highest and average rate, bits per second (RFC 8216 section 4.3.4.2).
    pub fn bandwidth(&self) -> (u64, u64) {
        let rate =
            |bytes: u64, seconds: f64| (bytes as f64 * 8.0 / seconds.max(0.001)).ceil() as u64;
        let bytes = self.segments.iter().map(|s| s.bytes.length).sum();
        let average = rate(bytes, self.seconds());
        // A segment far shorter than the target says nothing of what a player must fetch in time.
        let longest = self.segments.iter().map(|s| s.seconds).fold(0.0, f64::max);
        let whole = self.segments.iter().filter(|s| s.seconds * 2.0 >= longest);
        let peak = whole.map(|s| rate(s.bytes.length, s.seconds)).max();
        (peak.unwrap_or(average).max(average), average)
    }
}

/// Value of a quoted attribute.
pub(super) fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if key.trim() == name {
            return Some(value);
        }
        rest = next.strip_prefix(',')?;
    }
}

/// `LENGTH@OFFSET`; without an offset it goes on where the last one ended.
fn byte_range(text: &str, end: u64) -> Option<ByteSpan> {
    let (length, offset) = match text.split_once('@') {
        Some((length, offset)) => (length, offset.parse().ok()?),
        None => (text, end),
    };
    let length = length.parse().ok()?;
    Some(ByteSpan { length, offset })
}

/// `SECONDS,TITLE`, the title being dropped.
pub(super) fn extinf(text: &str) -> Option<f64> {
    let seconds: f64 = text.split(',').next()?.trim().parse().ok()?;
    (seconds.is_finite() && (0.0..=86_400.0).contains(&seconds)).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n\
        #EXT-X-MAP:URI=\"x-360-fragmented.mp4\",BYTERANGE=\"1353@0\"\n\
        #EXTINF:4.000000,\n#EXT-X-BYTERANGE:223234@1353\nx-360-fragmented.mp4\n\
        #EXTINF:2.000000,\n#EXT-X-BYTERANGE:1000\nx-360-fragmented.mp4\n#EXT-X-ENDLIST\n";

    #[test]
    fn a_runners_playlist_is_written_anew_with_our_name() {
        let read = SingleFile::parse(TEXT, 225_587).unwrap();
        assert_eq!(read.segments[1].bytes.offset, 224_587);
        let text = read.text("ours.mp4");
        assert!(!text.contains("fragmented") && text.ends_with("#EXT-X-ENDLIST\n"));
        assert!(
            text.contains("#EXT-X-BYTERANGE:1000@224587\nours.mp4\n"),
            "{text}"
        );
        assert_eq!(SingleFile::parse(&text, 225_587), Ok(read.clone()));
        assert_eq!(read.bandwidth(), (446_468, 298_979));
    }

    #[test]
    fn what_is_not_in_the_file_is_refused() {
        assert_eq!(SingleFile::parse(TEXT, 225_586), Err(UploadedError::Beyond));
        let bad = |text: &str| SingleFile::parse(text, 1 << 30).unwrap_err();
        assert_eq!(bad("<html>"), UploadedError::NoPlaylist);
        assert_eq!(bad("#EXTM3U\n#EXT-X-ENDLIST"), UploadedError::Empty);
        assert_eq!(bad("#EXTM3U\na.mp4"), UploadedError::Line(2));
        let whole_files = "#EXTM3U\n#EXTINF:1,\na.ts\n";
        assert_eq!(bad(whole_files), UploadedError::Line(3));
        assert_eq!(bad("#EXTM3U\n#EXTINF:nan,"), UploadedError::Line(2));
    }

    #[test]
    fn attributes_are_found_between_others() {
        let line = "TYPE=AUDIO,NAME=\"a,b=c\",URI=\"0.m3u8\",X=1";
        assert_eq!(attribute(line, "NAME"), Some("a,b=c"));
        assert_eq!(attribute(line, "URI"), Some("0.m3u8"));
        assert_eq!(attribute(line, "X"), Some("1"));
        assert_eq!(attribute(line, "Y"), None);
    }
}
