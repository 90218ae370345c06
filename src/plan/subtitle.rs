//! Subtitles: which are offered as renditions, and how their text is got out of the source.

use serde::Serialize;

use crate::base::MediaTime;
use crate::media::{SourceProbe, SubtitleRequest, SubtitleStream, VideoStream};

use super::error::PlanError;
use super::run::{Invocation, strings};
use super::video::Burn;

/// A subtitle rendition of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubtitlePlan {
    pub origin: SubtitleOrigin,
    /// What a viewer chooses it by; different for each rendition.
    pub name: String,
    pub language: Option<String>,
    /// Shown unless the viewer chooses otherwise; at most one of a stream's.
    pub default: bool,
    /// Only what must be understood: signs, other languages.
    pub forced: bool,
}

/// Where a rendition's text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubtitleOrigin {
    /// A stream of the source, by its index.
    Embedded { stream: u32 },
    /// A file that the request names, by its place there.
    External { nth: usize },
}

/// A part of a source whose subtitles are read, in the source's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubtitleSpan {
    pub from: MediaTime,
    pub until: MediaTime,
}

/// Codecs of subtitles that are text.
pub(super) fn is_text(codec: &str) -> bool {
    matches!(
        codec,
        "subrip"
            | "srt"
            | "ass"
            | "ssa"
            | "mov_text"
            | "webvtt"
            | "text"
            | "subviewer"
            | "microdvd"
    )
}

/// Codecs of subtitles that are pictures.
fn is_picture(codec: &str) -> bool {
    matches!(
        codec,
        "hdmv_pgs_subtitle" | "dvd_subtitle" | "dvb_subtitle" | "xsub"
    )
}

/// The renditions of a stream: those of the request first, then the source's own.
pub(super) fn plan_subtitles(
    probe: &SourceProbe,
    requested: &[SubtitleRequest],
) -> Vec<SubtitlePlan> {
    let external = requested.iter().enumerate().map(|(nth, r)| SubtitlePlan {
        origin: SubtitleOrigin::External { nth },
        name: r.label.clone().unwrap_or_else(|| r.language.clone()),
        language: Some(r.language.clone()),
        default: r.default,
        forced: false,
    });
    let text = probe.subtitles.iter().filter(|s| is_text(&s.codec));
    let embedded = text.map(|s| SubtitlePlan {
        origin: SubtitleOrigin::Embedded { stream: s.index },
        name: track_name(s.title.as_deref(), s.language.as_deref(), "Subtitles"),
        language: s.language.clone(),
        default: s.default,
        forced: s.forced,
    });
    let mut all: Vec<SubtitlePlan> = external.chain(embedded).collect();
    let mut seen = false;
    for plan in &mut all {
        plan.default &= !seen;
        seen |= plan.default;
    }
    let names = unique(all.iter().map(|s| s.name.clone()));
    for (plan, name) in all.iter_mut().zip(names) {
        plan.name = name;
    }
    all
}

/// What a track is called: by its title, else its language, else `fallback`.
pub(super) fn track_name(title: Option<&str>, language: Option<&str>, fallback: &str) -> String {
    let named = |s: &&str| !s.trim().is_empty();
    let title = title.filter(named);
    title
        .or(language.filter(named))
        .unwrap_or(fallback)
        .to_owned()
}

/// The same names, numbered where two are equal: in a group of renditions each NAME is there once
/// (RFC 8216 section 4.3.4.1.1).
pub(super) fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for name in names {
        let mut candidate = name.clone();
        let mut number = 2;
        while taken.contains(&candidate) {
            candidate = format!("{name} {number}");
            number += 1;
        }
        taken.push(candidate);
    }
    taken
}

/// The subtitle track that is to be drawn into the picture: `wanted` counts the source's subtitle
/// tracks from 0.
pub(super) fn plan_burn(
    probe: &SourceProbe,
    video: Option<&VideoStream>,
    wanted: Option<u32>,
) -> Result<Option<Burn>, PlanError> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let count = probe.subtitles.len();
    let track: Option<&SubtitleStream> = probe.subtitles.get(wanted as usize);
    let track = track.ok_or(PlanError::NoSuchSubtitle { wanted, count })?;
    if !is_picture(&track.codec) {
        let codec = track.codec.clone();
        return Err(PlanError::TextIsNotBurnt { wanted, codec });
    }
    let (Some(video), Some(_)) = (video, probe.duration) else {
        return Err(PlanError::NothingToBurnOn);
    };
    let mut canvas = video.coded;
    if video.rotation % 180 == 90 {
        std::mem::swap(&mut canvas.width, &mut canvas.height);
    }
    Ok(Some(Burn {
        stream: track.index,
        canvas,
    }))
}

/// Arguments that give the text of subtitle stream `stream` as WebVTT on standard output, with the
/// source's own clock; all of it, or that of a span. `charset` is that of a file that is not Unicode.
pub fn subtitle_run(stream: u32, span: Option<SubtitleSpan>, charset: Option<&str>) -> Invocation {
    let mut input = Vec::new();
    if let Some(charset) = charset {
        input.extend(strings(&["-sub_charenc", charset]));
    }
    if let Some(span) = span {
        let from = span.from.to_string();
        input.extend(strings(&["-seek_timestamp", "1", "-ss", &from]));
    }
    let mut output = strings(&["-copyts", "-avoid_negative_ts", "disabled"]);
    output.extend(strings(&[
        "-map",
        &format!("0:{stream}"),
        "-vn",
        "-an",
        "-dn",
    ]));
    if let Some(span) = span {
        output.extend(strings(&["-to", &span.until.to_string()]));
    }
    output.extend(strings(&["-map_metadata", "-1", "-map_chapters", "-1"]));
    output.extend(strings(&["-c:s", "webvtt", "-f", "webvtt", "pipe:1"]));
    Invocation { input, output }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::stream::tests::probe;

    fn track(index: u32, codec: &str, language: Option<&str>) -> SubtitleStream {
        SubtitleStream {
            index,
            codec: codec.into(),
            language: language.map(str::to_owned),
            title: None,
            default: true,
            forced: false,
        }
    }

    #[test]
    fn text_is_offered_once_per_name_with_one_default() {
        let mut source = probe();
        source.subtitles = vec![
            track(2, "subrip", Some("eng")),
            track(3, "hdmv_pgs_subtitle", Some("eng")),
            track(4, "ass", Some("eng")),
            track(5, "mov_text", None),
        ];
        let asked = SubtitleRequest {
            url: "http://a/b.vtt".into(),
            label: Some("eng".into()),
            language: "en".into(),
            default: false,
        };
        let plans = plan_subtitles(&source, &[asked]);
        let names: Vec<_> = plans.iter().map(|p| (p.name.as_str(), p.default)).collect();
        assert_eq!(
            names,
            [
                ("eng", false),
                ("eng 2", true),
                ("eng 3", false),
                ("Subtitles", false)
            ]
        );
        assert_eq!(plans[3].origin, SubtitleOrigin::Embedded { stream: 5 });
    }

    #[test]
    fn only_pictures_are_burnt() {
        let mut source = probe();
        source.subtitles = vec![track(2, "subrip", None), track(3, "dvd_subtitle", None)];
        let video = source.video.first();
        let burn = |n| plan_burn(&source, video, Some(n));
        assert!(matches!(burn(0), Err(PlanError::TextIsNotBurnt { .. })));
        assert_eq!(burn(1).unwrap().unwrap().stream, 3);
        assert!(matches!(
            burn(2),
            Err(PlanError::NoSuchSubtitle { count: 2, .. })
        ));
    }
}
