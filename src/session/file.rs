//! The names of a stream's files.

use super::rendition::{TrackId, TrackKind};

/// A file of a stream, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFile {
    Master,
    /// Both tracks of a plain stream.
    TransportSegment(u32),
    Playlist(TrackId),
    Init(TrackId),
    Segment(TrackId, u32),
    SubtitlePlaylist(usize),
    SubtitleSegment(usize, u32),
}

impl StreamFile {
    /// The file that `name` (the path below `/stream/{job}/`) means.
    pub fn parse(name: &str) -> Option<StreamFile> {
        if name == "master.m3u8" {
            return Some(StreamFile::Master);
        }
        if let Some(rest) = name.strip_prefix("segment_") {
            return number(rest.strip_suffix(".ts")?).map(StreamFile::TransportSegment);
        }
        if let Some(rest) = name.strip_prefix("subtitles") {
            let (nth, rest) = counted(rest)?;
            if rest == ".m3u8" {
                return Some(StreamFile::SubtitlePlaylist(nth));
            }
            let segment = number(rest.strip_prefix('_')?.strip_suffix(".vtt")?)?;
            return Some(StreamFile::SubtitleSegment(nth, segment));
        }
        let (kind, rest) = match name.strip_prefix("video") {
            Some(rest) => (TrackKind::Video, rest),
            None => (TrackKind::Audio, name.strip_prefix("audio")?),
        };
        let (nth, rest) = counted(rest)?;
        let track = TrackId { kind, nth };
        match rest {
            ".m3u8" => Some(StreamFile::Playlist(track)),
            "_init.mp4" => Some(StreamFile::Init(track)),
            _ => {
                let segment = number(rest.strip_prefix('_')?.strip_suffix(".m4s")?)?;
                Some(StreamFile::Segment(track, segment))
            }
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            StreamFile::Master | StreamFile::Playlist(_) | StreamFile::SubtitlePlaylist(_) => {
                "application/vnd.apple.mpegurl"
            }
            StreamFile::TransportSegment(_) => "video/mp2t",
            StreamFile::Init(track) | StreamFile::Segment(track, _) => match track.kind {
                TrackKind::Video => "video/mp4",
                TrackKind::Audio => "audio/mp4",
            },
            StreamFile::SubtitleSegment(..) => "text/vtt; charset=utf-8",
        }
    }
}

/// The number of a segment: five digits, or more where five are too few.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The number of a rendition and what follows it.
fn counted(text: &str) -> Option<(usize, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let plain = (1..=3).contains(&end) && (end == 1 || !text.starts_with('0'));
    plain.then(|| Some((text[..end].parse().ok()?, &text[end..])))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        use StreamFile::*;
        let (video, audio) = (TrackId::video(0), TrackId::audio(12));
        for (name, file) in [
            ("master.m3u8", Master),
            ("segment_00007.ts", TransportSegment(7)),
            ("segment_100000.ts", TransportSegment(100_000)),
            ("video0.m3u8", Playlist(video)),
            ("video0_init.mp4", Init(video)),
            ("video0_00000.m4s", Segment(video, 0)),
            ("audio12_00003.m4s", Segment(audio, 3)),
            ("subtitles2.m3u8", SubtitlePlaylist(2)),
            ("subtitles2_00010.vtt", SubtitleSegment(2, 10)),
        ] {
            assert_eq!(StreamFile::parse(name), Some(file), "{name}");
        }
        for bad in [
            "segment_7.ts",
            "segment_-0001.ts",
            "../master.m3u8",
            "segment_00001.m4s",
            "",
            "segment_99999999999.ts",
            "segment_+0001.ts",
            "video.m3u8",
            "video00.m3u8",
            "video1234_init.mp4",
            "video0_00000.ts",
            "audio0",
            "subtitles0_00000.m4s",
        ] {
            assert_eq!(StreamFile::parse(bad), None, "{bad}");
        }
    }
}
