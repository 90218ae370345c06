//! `/meta`: what ffprobe says, without what it should not repeat, or a short form of it.

use serde::Serialize;
use url::Url;

use crate::media::query::MetaFields;
use crate::media::{SourceLocator, SourceProbe, Transfer};
use crate::source::InputOptions;

/// Words in the names of query parameters whose values open doors.
const SECRET_NAMES: &[&str] = &[
    "token", "key", "sig", "auth", "pass", "pwd", "secret", "cred", "jwt", "session", "policy",
    "hash", "hmac", "code", "ticket",
];

/// The answer in bytes of JSON; `None` when ffprobe's JSON cannot be read.
pub(super) fn answer(
    json: &str,
    input: &InputOptions,
    locator: &SourceLocator,
    fields: MetaFields,
) -> Option<Vec<u8>> {
    match fields {
        MetaFields::All => Some(renamed(json, input, locator).into_bytes()),
        MetaFields::Summary => {
            let probe = SourceProbe::from_ffprobe(json).ok()?;
            serde_json::to_vec(&Summary::of(&probe, locator)).ok()
        }
    }
}

/// The source as it may be repeated: no user name, no password, no parameters that look like keys; a
/// local file relative to its root.
fn shown(locator: &SourceLocator) -> String {
    let text = locator.display();
    let Some(mut url) = locator.url().and_then(|_| Url::parse(&text).ok()) else {
        return text;
    };
    let pairs = url.query_pairs();
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET_NAMES.iter().any(|s| name.contains(s))
    };
    if !pairs.clone().any(|(name, _)| secret(&name)) {
        return text;
    }
    let kept: Vec<(String, String)> = pairs
        .filter(|(name, _)| !secret(name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    url.into()
}

/// ffprobe's text as it is, but for the name of the source.
fn renamed(json: &str, input: &InputOptions, locator: &SourceLocator) -> String {
    let given = input.url.to_string_lossy();
    let shown = shown(locator);
    let mut out = String::with_capacity(json.len());
    for line in json.split_inclusive('\n') {
        match filename(line) {
            Some((before, value, after)) if value == given => {
                let name = serde_json::Value::String(shown.clone());
                out.push_str(&format!("{before}{name}{after}"));
            }
            _ => out.push_str(line),
        }
    }
    out
}

/// The line `"filename": "value",` taken apart. Attachments have file names too.
fn filename(line: &str) -> Option<(&str, String, &str)> {
    const FIELD: &str = "\"filename\": ";
    let start = line.find(FIELD)? + FIELD.len();
    if !line[..start - FIELD.len()].trim().is_empty() {
        return None;
    }
    let end = line.rfind('"')? + 1;
    let value = serde_json::from_str(line.get(start..end)?).ok()?;
    Some((&line[..start], value, &line[end..]))
}

/// A description of a source whose shape does not depend on ffprobe.
#[derive(Debug, Serialize)]
struct Summary {
    url: String,
    /// Demuxer names.
    format: String,
    /// `null` when the source does not say, and for live ones.
    duration_seconds: Option<f64>,
    size_bytes: Option<u64>,
    video: Option<SummaryVideo>,
    audio: Vec<SummaryAudio>,
    subtitles: usize,
    cover: bool,
}

/// The video stream that is played.
#[derive(Debug, Serialize)]
pub struct SummaryVideo {
    codec: String,
    /// On a display with square pixels, after rotation.
    width: u32,
    height: u32,
    fps: Option<f64>,
    /// Clockwise degrees that the pictures are turned by.
    rotation: u16,
    hdr: bool,
    bit_rate: Option<u64>,
}

/// A sound stream.
#[derive(Debug, Serialize)]
pub struct SummaryAudio {
    codec: String,
    channels: u32,
    sample_rate: u32,
    language: Option<String>,
    bit_rate: Option<u64>,
}

impl Summary {
    fn of(probe: &SourceProbe, locator: &SourceLocator) -> Summary {
        let video = probe.main_video().map(|v| {
            let size = v.display_size();
            let rate = v.average_rate.or(v.base_rate);
            SummaryVideo {
                codec: v.codec.clone(),
                width: size.width,
                height: size.height,
                fps: rate.map(|r| (r.as_f64() * 1000.0).round() / 1000.0),
                rotation: v.rotation,
                hdr: v.color.transfer_kind() != Transfer::Sdr,
                bit_rate: v.bit_rate,
            }
        });
        let audio = probe.audio.iter().map(|a| SummaryAudio {
            codec: a.codec.clone(),
            channels: a.channels,
            sample_rate: a.sample_rate,
            language: a.language.clone(),
            bit_rate: a.bit_rate,
        });
        Summary {
            url: shown(locator),
            format: probe.format.clone(),
            duration_seconds: probe.duration.map(|d| d.as_secs_f64()),
            size_bytes: probe.size_bytes,
            video,
            audio: audio.collect(),
            subtitles: probe.subtitles.len(),
            cover: !probe.covers.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> SourceLocator {
        SourceLocator::Http(Url::parse(text).unwrap())
    }

    #[test]
    fn keys_are_not_repeated() {
        for (url, wanted) in [
            ("http://h/a.mp4", "http://h/a.mp4"),
            ("http://u:p@h/a?x=1&y=%20", "http://h/a?x=1&y=%20"),
            ("https://h/a?X-Amz-Signature=5&x=1", "https://h/a?x=1"),
            ("https://h/a?access_token=5", "https://h/a"),
        ] {
            assert_eq!(shown(&http(url)), wanted);
        }
    }

    #[test]
    fn only_the_sources_own_name_is_replaced() {
        let url = "http://u:p@h/a%22.mp4?token=s";
        let input = crate::source::ffmpeg_input_options(&http(url), None);
        let json = "{\n    \"tags\": {\n        \"filename\": \"cover.jpg\"\n    },\n    \
            \"filename\": \"http://u:p@h/a%22.mp4?token=s\",\n    \"x\": 1\n}\n";
        let wanted = json.replace("u:p@", "").replace("?token=s", "");
        assert_eq!(renamed(json, &input, &http(url)), wanted);
    }
}
