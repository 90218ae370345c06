//! Playlist text (RFC 8216).

use std::fmt::Write;

use super::timeline::SegmentTimeline;

/// Whether the list of segments is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaylistKind {
    /// Every segment of the stream, from the first moment (`VOD` and `ENDLIST`).
    Vod,
    /// The first `complete` segments of a source without a known end; `ended` closes the list.
    Event { complete: u32, ended: bool },
}

/// A media playlist over a timeline.
pub struct MediaPlaylist<'a> {
    pub timeline: &'a SegmentTimeline,
    pub kind: PlaylistKind,
    /// URI of the initialisation section (CMAF); `None` for transport streams.
    pub init_uri: Option<&'a str>,
    /// Segment URIs are this, the five-digit index, and `extension`.
    pub segment_prefix: &'a str,
    pub extension: &'a str,
    /// Upper bound for a segment's length while more may follow, seconds.
    pub longest_hint: f64,
}

impl MediaPlaylist<'_> {
    /// The playlist's text. `EXT-X-TARGETDURATION` is the longest segment rounded up, so no
    /// rounded `EXTINF` exceeds it (RFC 8216 section 4.3.3.1).
    pub fn text(&self) -> String {
        let (count, type_tag, ended) = match self.kind {
            PlaylistKind::Vod => (self.timeline.len(), "VOD", true),
            PlaylistKind::Event { complete, ended } => (complete, "EVENT", ended),
        };
        let mut longest = (0..count)
            .map(|i| self.timeline.seconds(i))
            .fold(0.0, f64::max);
        if !matches!(self.kind, PlaylistKind::Vod) {
            longest = longest.max(self.longest_hint);
        }
        let version = if self.init_uri.is_some() { 7 } else { 3 };
        let mut out = String::with_capacity(count as usize * 40 + 256);
        let _ = write!(
            out,
            "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}\n\
             #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:{type_tag}\n#EXT-X-INDEPENDENT-SEGMENTS\n",
            (longest.ceil() as u64).max(1)
        );
        if let Some(uri) = self.init_uri {
            let _ = writeln!(out, "#EXT-X-MAP:URI=\"{uri}\"");
        }
        for i in 0..count {
            let _ = writeln!(
                out,
                "#EXTINF:{:.6},\n{}{i:05}{}",
                self.timeline.seconds(i),
                self.segment_prefix,
                self.extension
            );
        }
        if ended {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        out
    }
}

/// One line of a master playlist.
#[derive(Debug, Clone, PartialEq)]
pub enum MasterEntry {
    /// `EXT-X-MEDIA:TYPE=AUDIO`.
    Audio {
        group: String,
        name: String,
        language: Option<String>,
        default: bool,
        channels: u32,
        uri: String,
    },
    /// `EXT-X-MEDIA:TYPE=SUBTITLES`.
    Subtitles {
        group: String,
        name: String,
        language: Option<String>,
        default: bool,
        forced: bool,
        uri: String,
    },
    /// `EXT-X-STREAM-INF`.
    Variant {
        bandwidth: u64,
        average_bandwidth: u64,
        codecs: String,
        resolution: Option<crate::base::Resolution>,
        frame_rate: Option<f64>,
        audio_group: Option<String>,
        subtitle_group: Option<String>,
        uri: String,
    },
}

/// The multivariant playlist that lists `entries` in their order.
pub fn master_playlist(entries: &[MasterEntry]) -> String {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for entry in entries {
        match entry {
            MasterEntry::Audio {
                group,
                name,
                language,
                default,
                channels,
                uri,
            } => {
                put_media(&mut out, "AUDIO", group, name, language.as_deref());
                let _ = writeln!(
                    out,
                    ",DEFAULT={},AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"{}\"",
                    yes(*default),
                    quoted(uri)
                );
            }
            MasterEntry::Subtitles {
                group,
                name,
                language,
                default,
                forced,
                uri,
            } => {
                put_media(&mut out, "SUBTITLES", group, name, language.as_deref());
                let _ = writeln!(
                    out,
                    ",DEFAULT={},AUTOSELECT=YES,FORCED={},URI=\"{}\"",
                    yes(*default),
                    yes(*forced),
                    quoted(uri)
                );
            }
            MasterEntry::Variant {
                bandwidth,
                average_bandwidth,
                codecs,
                resolution,
                frame_rate,
                audio_group,
                subtitle_group,
                uri,
            } => {
                let _ = write!(
                    out,
                    "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average_bandwidth},\
                     CODECS=\"{}\"",
                    quoted(codecs)
                );
                if let Some(r) = resolution {
                    let _ = write!(out, ",RESOLUTION={r}");
                }
                if let Some(rate) = frame_rate {
                    let _ = write!(out, ",FRAME-RATE={rate:.3}");
                }
                if let Some(group) = audio_group {
                    let _ = write!(out, ",AUDIO=\"{}\"", quoted(group));
                }
                if let Some(group) = subtitle_group {
                    let _ = write!(out, ",SUBTITLES=\"{}\"", quoted(group));
                }
                let _ = writeln!(out, "\n{uri}");
            }
        }
    }
    out
}

fn put_media(out: &mut String, kind: &str, group: &str, name: &str, language: Option<&str>) {
    let (group, name) = (quoted(group), quoted(name));
    let _ = write!(
        out,
        "#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",NAME=\"{name}\""
    );
    if let Some(language) = language {
        let _ = write!(out, ",LANGUAGE=\"{}\"", quoted(language));
    }
}

fn yes(flag: bool) -> &'static str {
    if flag { "YES" } else { "NO" }
}

/// A quoted-string holds no quote, line feed or carriage return (RFC 8216 section 4.2).
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| if c == '"' || c.is_control() { '\'' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{FrameRate, Resolution};
    use crate::hls::Grid;

    fn timeline(frames: i64) -> SegmentTimeline {
        let rate = FrameRate::new(24000, 1001).unwrap();
        SegmentTimeline::fixed(Grid::frames(rate), frames, 4.0, &[])
    }

    #[test]
    fn a_vod_playlist_is_whole_from_the_start() {
        let t = timeline(240);
        let text = MediaPlaylist {
            timeline: &t,
            kind: PlaylistKind::Vod,
            init_uri: None,
            segment_prefix: "segment_",
            extension: ".ts",
            longest_hint: 5.0,
        }
        .text();
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXTINF:1.001000,\nsegment_00000.ts\n#EXTINF:1.001000,\nsegment_00001.ts\n\
             #EXTINF:2.002000,\nsegment_00002.ts\n#EXTINF:4.004000,\nsegment_00003.ts\n\
             #EXTINF:2.002000,\nsegment_00004.ts\n#EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn an_event_playlist_grows_and_closes() {
        let t = timeline(100_000);
        let at = |complete, ended| {
            MediaPlaylist {
                timeline: &t,
                kind: PlaylistKind::Event { complete, ended },
                init_uri: Some("video_init.mp4"),
                segment_prefix: "video_",
                extension: ".m4s",
                longest_hint: 5.0,
            }
            .text()
        };
        assert!(!at(2, false).contains("ENDLIST") && at(2, false).contains("TARGETDURATION:5"));
        assert!(at(3, true).ends_with("video_00002.m4s\n#EXT-X-ENDLIST\n"));
        assert!(at(3, true).starts_with(&at(2, false)));
    }

    #[test]
    fn a_master_names_codecs_and_groups() {
        let text = master_playlist(&[
            MasterEntry::Audio {
                group: "audio".into(),
                name: "the \"best\"".into(),
                language: Some("de".into()),
                default: true,
                channels: 2,
                uri: "audio_0.m3u8".into(),
            },
            MasterEntry::Subtitles {
                group: "text".into(),
                name: "Deutsch".into(),
                language: Some("de".into()),
                default: false,
                forced: false,
                uri: "text.m3u8".into(),
            },
            MasterEntry::Variant {
                bandwidth: 5_000_000,
                average_bandwidth: 4_000_000,
                codecs: "hvc1.1.6.L93.B0,mp4a.40.2".into(),
                resolution: Some(Resolution {
                    width: 1280,
                    height: 720,
                }),
                frame_rate: Some(23.976_023),
                audio_group: Some("audio".into()),
                subtitle_group: Some("text".into()),
                uri: "video.m3u8".into(),
            },
        ]);
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"the 'best'\",LANGUAGE=\"de\",\
             DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio_0.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"text\",NAME=\"Deutsch\",LANGUAGE=\"de\",\
             DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI=\"text.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=5000000,AVERAGE-BANDWIDTH=4000000,\
             CODECS=\"hvc1.1.6.L93.B0,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=23.976,AUDIO=\"audio\",\
             SUBTITLES=\"text\"\n\
             video.m3u8\n"
        );
    }
}
