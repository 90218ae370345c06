//! Playlists of a live stream, as a runner sends them: out of order, and without an end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::uploaded::{UploadedError, attribute, extinf};

/// Name of a live segment: `VARIANT-NUMBER.ts`, the variant one digit.
pub fn is_chunk_name(name: &str) -> bool {
    let Some((variant, number)) = name.strip_suffix(".ts").and_then(|n| n.split_once('-')) else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    variant.len() == 1 && digits(variant) && (1..=12).contains(&number.len()) && digits(number)
}

/// Name of a live rendition's playlist: one digit and `.m3u8`.
pub fn is_list_name(name: &str) -> bool {
    let variant = name.strip_suffix(".m3u8").unwrap_or_default();
    variant.len() == 1 && variant.bytes().all(|b| b.is_ascii_digit())
}

/// The playlist of one rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveList {
    pub target_seconds: u32,
    pub first: u64,
    pub segments: Vec<(f64, String)>,
    pub ended: bool,
}

const MOST_SEGMENTS: usize = 100_000;

impl LiveList {
    /// Reads what a runner sent; segments may only have names of segments.
    pub fn parse(text: &str) -> Result<LiveList, UploadedError> {
        let mut lines = text.lines().map(str::trim).enumerate();
        if lines.next().map(|(_, first)| first) != Some("#EXTM3U") {
            return Err(UploadedError::NoPlaylist);
        }
        let mut list = LiveList {
            target_seconds: 1,
            first: 0,
            segments: Vec::new(),
            ended: false,
        };
        let mut seconds = None;
        for (nth, line) in lines {
            let bad = || UploadedError::Line(nth + 1);
            if let Some(rest) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                list.target_seconds = rest.parse().map_err(|_| bad())?;
            } else if let Some(rest) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
                list.first = rest.parse().map_err(|_| bad())?;
            } else if let Some(rest) = line.strip_prefix("#EXTINF:") {
                seconds = Some(extinf(rest).ok_or_else(bad)?);
            } else if line == "#EXT-X-ENDLIST" {
                list.ended = true;
            } else if !line.is_empty() && !line.starts_with('#') {
                let seconds = seconds.take().filter(|_| is_chunk_name(line));
                list.segments
                    .push((seconds.ok_or_else(bad)?, line.to_owned()));
            }
        }
        match list.segments.len() {
            0 => Err(UploadedError::Empty),
            1..=MOST_SEGMENTS => Ok(list),
            _ => Err(UploadedError::TooLong),
        }
    }

    /// Number behind the last segment's.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.segments.len() as u64)
    }

    /// Whether players may see this one after `before`: a list only ever moves on.
    pub fn follows(&self, before: &LiveList) -> bool {
        let further = (self.end(), self.first) > (before.end(), before.first);
        !before.ended && self.first >= before.first && (further || self.ended)
    }

    /// The same up to the first segment that is not there yet (`is_there`); `None`: none is.
    pub fn up_to_missing(&self, is_there: impl Fn(&str) -> bool) -> Option<LiveList> {
        let there = self.segments.iter().take_while(|(_, name)| is_there(name));
        let segments: Vec<_> = there.cloned().collect();
        let ended = self.ended && segments.len() == self.segments.len();
        (!segments.is_empty()).then_some(LiveList {
            target_seconds: self.target_seconds,
            first: self.first,
            segments,
            ended,
        })
    }

    pub fn lists(&self, chunk: &str) -> bool {
        self.segments.iter().any(|(_, name)| name == chunk)
    }

    pub fn text(&self) -> String {
        let mut out = format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n",
            self.target_seconds.max(1),
            self.first
        );
        for (seconds, name) in &self.segments {
            let _ = writeln!(out, "#EXTINF:{seconds:.6},\n{name}");
        }
        if self.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        out
    }
}

/// A runner's master playlist, with the rates of pictures that it leaves out: `fps_of` by the
/// shorter side. Other lines than those of renditions are dropped.
pub fn live_master(text: &str, fps_of: &BTreeMap<u32, u32>) -> Result<String, UploadedError> {
    let mut lines = text.lines().map(str::trim).enumerate();
    if lines.next().map(|(_, first)| first) != Some("#EXTM3U") {
        return Err(UploadedError::NoPlaylist);
    }
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let (mut variants, mut waits) = (0, false);
    for (nth, line) in lines {
        let bad = || UploadedError::Line(nth + 1);
        if let Some(attributes) = line.strip_prefix("#EXT-X-MEDIA:") {
            let uri = attribute(attributes, "URI");
            uri.filter(|u| is_list_name(u)).ok_or_else(bad)?;
            let _ = writeln!(out, "{line}");
        } else if let Some(attributes) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            out.push_str(line);
            if attribute(attributes, "FRAME-RATE").is_none()
                && let Some(fps) = shorter_side(attributes).and_then(|s| nearest(fps_of, s))
            {
                let _ = write!(out, ",FRAME-RATE={fps}.000");
            }
            out.push('\n');
            waits = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            if !waits || !is_list_name(line) {
                return Err(bad());
            }
            let _ = writeln!(out, "{line}");
            (variants, waits) = (variants + 1, false);
        }
    }
    match variants {
        0 => Err(UploadedError::Empty),
        _ => Ok(out),
    }
}

/// A master playlist of [`live_master`] as far as the playlists that it names are there (`is_there`);
/// `None`: players must wait. A stream that has `ended` goes without the renditions that never came.
pub fn playable_master(text: &str, is_there: impl Fn(&str) -> bool, ended: bool) -> Option<String> {
    let (mut out, mut variants) = (String::new(), 0);
    let mut described = None;
    for line in text.lines() {
        if line.starts_with("#EXT-X-STREAM-INF:") {
            described = Some(line);
        } else if line.starts_with('#') {
            let uri = line.strip_prefix("#EXT-X-MEDIA:");
            let uri = uri.and_then(|attributes| attribute(attributes, "URI"));
            if uri.is_some_and(|uri| !is_there(uri)) {
                return None;
            }
            let _ = writeln!(out, "{line}");
        } else if let Some(described) = described.take() {
            if is_there(line) {
                let _ = writeln!(out, "{described}\n{line}");
                variants += 1;
            } else if !ended {
                return None;
            }
        }
    }
    (variants > 0).then_some(out)
}

fn shorter_side(attributes: &str) -> Option<u32> {
    let (width, height) = attribute(attributes, "RESOLUTION")?.split_once('x')?;
    let (width, height): (u32, u32) = (width.parse().ok()?, height.parse().ok()?);
    Some(width.min(height))
}

/// Runners round sides to even numbers.
fn nearest(fps_of: &BTreeMap<u32, u32>, side: u32) -> Option<u32> {
    let found = fps_of.iter().min_by_key(|(of, _)| of.abs_diff(side));
    found.map(|(_, fps)| *fps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(first: u64, count: u64) -> LiveList {
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
        for n in first..first + count {
            let _ = writeln!(text, "#EXTINF:4.0,\n2-{n:06}.ts");
        }
        LiveList::parse(&text).unwrap()
    }

    #[test]
    fn lists_never_go_backwards() {
        let before = list(3, 5);
        assert!(list(3, 6).follows(&before) && list(4, 5).follows(&before));
        for old in [list(3, 5), list(3, 4), list(2, 6), list(2, 9)] {
            assert!(!old.follows(&before), "{old:?}");
        }
        let ended = LiveList {
            ended: true,
            ..before.clone()
        };
        assert!(ended.follows(&before) && !list(9, 9).follows(&ended));
        assert!(ended.text().ends_with("2-000007.ts\n#EXT-X-ENDLIST\n"));
        assert_eq!(LiveList::parse(&ended.text()), Ok(ended));
    }

    #[test]
    fn segments_are_listed_when_they_are_there() {
        let ended = LiveList {
            ended: true,
            ..list(3, 3)
        };
        assert_eq!(ended.up_to_missing(|_| true), Some(ended.clone()));
        let some = ended.up_to_missing(|name| name != "2-000004.ts").unwrap();
        assert_eq!((some.first, some.segments.len(), some.ended), (3, 1, false));
        assert_eq!(ended.up_to_missing(|_| false), None);
    }

    #[test]
    fn only_names_of_segments_are_taken() {
        for good in ["0-000000.ts", "9-1.ts"] {
            assert!(is_chunk_name(good), "{good}");
        }
        for bad in [
            "",
            "../0-1.ts",
            "0-.ts",
            "10-1.ts",
            "a-1.ts",
            "0-1.mp4",
            "0-1x.ts",
            "-.ts",
        ] {
            assert!(!is_chunk_name(bad), "{bad}");
        }
        assert!(is_list_name("3.m3u8"));
        for bad in [
            "master.m3u8",
            "12.m3u8",
            "a.m3u8",
            ".m3u8",
            "../1.m3u8",
            "1",
        ] {
            assert!(!is_list_name(bad), "{bad}");
        }
        let bad = "#EXTM3U\n#EXTINF:4.0,\n../../etc/passwd\n";
        assert_eq!(LiveList::parse(bad), Err(UploadedError::Line(3)));
    }

    #[test]
    fn a_master_is_given_its_frame_rates() {
        let text = "#EXTM3U\n#EXT-X-VERSION:6\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"audio_0\",DEFAULT=YES,URI=\"0.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1000,RESOLUTION=854x480,CODECS=\"avc1.42,mp4a\",AUDIO=\"a\"\n\
            1.m3u8\n";
        let fps = BTreeMap::from([(480, 25), (720, 50)]);
        let told = live_master(text, &fps).unwrap();
        assert!(
            told.contains("AUDIO=\"a\",FRAME-RATE=25.000\n1.m3u8\n"),
            "{told}"
        );
        assert_eq!(live_master(&told, &fps).unwrap(), told);
        let outside = text.replace("1.m3u8", "http://elsewhere/1.m3u8");
        assert_eq!(live_master(&outside, &fps), Err(UploadedError::Line(5)));
    }
    #[test]
    fn a_master_names_no_playlist_that_is_not_there() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"0.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1\n1.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\n2.m3u8\n";
        let of = |there: &[&str], ended| playable_master(text, |name| there.contains(&name), ended);
        assert_eq!(
            of(&["0.m3u8", "1.m3u8", "2.m3u8"], false).as_deref(),
            Some(text)
        );
        assert_eq!(of(&["0.m3u8", "2.m3u8"], false), None);
        assert_eq!(of(&["1.m3u8", "2.m3u8"], true), None);
        let rest = of(&["0.m3u8", "2.m3u8"], true).unwrap();
        assert!(
            rest.ends_with("BANDWIDTH=2\n2.m3u8\n") && !rest.contains("1.m3u8"),
            "{rest}"
        );
        assert_eq!(of(&["0.m3u8"], true), None);
    }
}
