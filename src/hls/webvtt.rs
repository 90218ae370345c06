//! WebVTT: the cues of a subtitle track, and the segments that carry them (W3C WebVTT; RFC 8216
//! section 3.5).

use std::fmt::Write;

use crate::base::MediaTime;

/// One text and the time during which it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    pub start: MediaTime,
    /// Not before `start`.
    pub end: MediaTime,
    /// Position and alignment, as they follow the times; often empty.
    pub settings: String,
    /// Without blank lines.
    pub text: String,
}

/// Reads the cues of a WebVTT file, in their order. Whatever is no cue, or is damaged, is left out.
pub fn parse_webvtt(text: &str) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().peekable();
    while let Some(line) = lines.next() {
        let Some((start, end, settings)) = timing(line) else {
            continue;
        };
        let mut body = String::new();
        while let Some(line) = lines.next_if(|l| !l.trim().is_empty()) {
            if !body.is_empty() {
                body.push('\n');
            }
            body.push_str(line);
        }
        if end >= start && !body.is_empty() {
            cues.push(Cue {
                start,
                end,
                settings: settings.to_owned(),
                text: body,
            });
        }
    }
    cues
}

/// `00:01:02.345 --> 00:01:04.000 align:start`
fn timing(line: &str) -> Option<(MediaTime, MediaTime, &str)> {
    let (start, rest) = line.split_once("-->")?;
    let rest = rest.trim_start();
    let (end, settings) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some((clock(start.trim())?, clock(end)?, settings.trim()))
}

/// `hh:mm:ss.mmm` with hours optional.
fn clock(text: &str) -> Option<MediaTime> {
    let (whole, thousandths) = text.split_once('.')?;
    let digits = |s: &str| (!s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())).then_some(());
    let mut seconds: i64 = 0;
    let mut parts = 0;
    for part in whole.split(':') {
        digits(part)?;
        let part: i64 = part.parse().ok()?;
        seconds = seconds.checked_mul(60)?.checked_add(part)?;
        parts += 1;
    }
    digits(thousandths)?;
    let within = thousandths.len() == 3 && (2..=3).contains(&parts) && seconds < 1_000_000;
    let thousandths: i64 = thousandths.parse().ok()?;
    within.then(|| MediaTime::from_micros(seconds * 1_000_000 + thousandths * 1000))
}

/// The segment of a subtitle rendition from `from` to `until`: every cue that is shown in between,
/// with its whole time, since a player may begin anywhere.
///
/// `media_origin` is the time of the timeline's zero in the media segments, in ticks of 90 kHz.
pub fn webvtt_segment(
    cues: &[Cue],
    from: MediaTime,
    until: MediaTime,
    media_origin: i64,
) -> String {
    let mut out = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{media_origin},LOCAL:00:00:00.000\n");
    for cue in cues.iter().filter(|c| c.start < until && c.end > from) {
        // Times before the timeline's zero cannot be written.
        let start = cue.start.max(MediaTime::ZERO);
        let _ = write!(out, "\n{} --> {}", Clock(start), Clock(cue.end));
        if !cue.settings.is_empty() {
            let _ = write!(out, " {}", cue.settings);
        }
        let _ = writeln!(out, "\n{}", cue.text);
    }
    out
}

struct Clock(MediaTime);

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = (self.0.as_micros() + 500) / 1000;
        let (s, ms) = (ms / 1000, ms % 1000);
        write!(
            f,
            "{:02}:{:02}:{:02}.{ms:03}",
            s / 3600,
            s / 60 % 60,
            s % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: i64) -> MediaTime {
        MediaTime::from_micros(ms * 1000)
    }

    fn cue(start: i64, end: i64, text: &str) -> Cue {
        Cue {
            start: ms(start),
            end: ms(end),
            settings: String::new(),
            text: text.into(),
        }
    }

    #[test]
    fn cues_are_read_and_all_else_is_left_out() {
        let text = "\u{feff}WEBVTT - made up\n\nNOTE a --> b\n\n1\n00:01.500 --> 00:02.000 align:start\n\
                    <i>one</i>\ntwo\n\n01:00:00.000 --> 01:00:00.001\r\nlate\r\n\r\n\
                    00:05.000 --> 00:04.000\nbackwards\n\n00:00:1.0000 --> 00:02.000\nodd\n";
        let mut first = cue(1500, 2000, "<i>one</i>\ntwo");
        first.settings = "align:start".into();
        assert_eq!(
            parse_webvtt(text),
            [first, cue(3_600_000, 3_600_001, "late")]
        );
    }

    #[test]
    fn a_segment_holds_what_is_shown_in_it_with_its_whole_time() {
        let cues = [
            cue(-500, 1000, "a"),
            cue(1000, 5000, "b"),
            cue(4000, 4500, "c"),
        ];
        let text = webvtt_segment(&cues, ms(1000), ms(4000), 900_000);
        assert_eq!(
            text,
            "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n\
             00:00:01.000 --> 00:00:05.000\nb\n"
        );
        let first = webvtt_segment(&cues, ms(0), ms(1000), 0);
        assert!(first.contains("00:00:00.000 --> 00:00:01.000\na\n") && !first.contains("\nb"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(times in prop::collection::vec((0i64..50_000_000, 1i64..100_000), 0..20)) {
            let cues: Vec<Cue> = times.iter().map(|(s, d)| cue(*s, s + d, "x")).collect();
            let text = webvtt_segment(&cues, ms(0), ms(i64::from(u32::MAX)), 0);
            prop_assert_eq!(parse_webvtt(&text), cues);
        }

        #[test]
        fn nothing_panics(text in "(\\PC|\n|-->|:|\\.){0,200}") {
            let _ = parse_webvtt(&text);
        }
    }
}
