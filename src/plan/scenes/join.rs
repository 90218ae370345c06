//! Joining encoded scenes, and putting sound, text and chapters of the source beside them.

use crate::base::{FrameRate, MediaTime};
use crate::media::{ColorInfo, OnComplete, SceneEncoder, SourceProbe, VideoStream};
use crate::plan::Invocation;
use crate::plan::run::strings;
use crate::plan::subtitle::is_text;

/// What a joined file says of its pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Joining {
    pub encoder: SceneEncoder,
    pub color: ColorInfo,
    /// Width to height of the shown picture, when the source's pixels are not square.
    pub display_aspect: Option<(u64, u64)>,
}

impl Joining {
    /// Name of the joined file.
    pub fn file(&self) -> &'static str {
        match self.encoder.keeps_order() {
            true => "completed.webm",
            false => "completed.mkv",
        }
    }

    /// Colours of the source, in the container and in the pictures: pipes of raw pictures, which workers
    /// use, do not tell them.
    fn colours(&self) -> Vec<String> {
        let color = &self.color;
        let named = [
            ("-color_primaries", &color.primaries),
            ("-color_trc", &color.transfer),
            ("-colorspace", &color.matrix),
            ("-color_range", &color.range),
        ];
        let mut out = Vec::new();
        for (option, value) in named {
            if let Some(value) = value {
                out.extend(strings(&[option, value]));
            }
        }
        if let Some(filter) = self.stream_colours() {
            out.extend(["-bsf:v".to_owned(), filter]);
        }
        out
    }

    /// The filter that writes them into the stream of the codec; VP9 knows a matrix only.
    fn stream_colours(&self) -> Option<String> {
        let color = &self.color;
        let code = |name: &Option<String>, table: &[(&str, u8)]| {
            let name = name.as_deref()?;
            table.iter().find(|row| row.0 == name).map(|row| row.1)
        };
        let primaries = code(&color.primaries, PRIMARIES);
        let transfer = code(&color.transfer, TRANSFERS);
        let matrix = code(&color.matrix, MATRICES);
        let full = color.range.as_deref().map(|r| r == "pc");
        let (filter, names) = match self.encoder.codec() {
            "av1" => (
                "av1_metadata",
                [
                    "color_primaries",
                    "transfer_characteristics",
                    "matrix_coefficients",
                ],
            ),
            "h264" => (
                "h264_metadata",
                [
                    "colour_primaries",
                    "transfer_characteristics",
                    "matrix_coefficients",
                ],
            ),
            "h265" => (
                "hevc_metadata",
                [
                    "colour_primaries",
                    "transfer_characteristics",
                    "matrix_coefficients",
                ],
            ),
            _ => {
                // ffmpeg's numbers for VP9's own list.
                let matrix = match color.matrix.as_deref()? {
                    "bt470bg" => "bt601",
                    "smpte170m" => "smpte170",
                    "bt709" => "bt709",
                    "smpte240m" => "smpte240",
                    "bt2020nc" => "bt2020",
                    _ => return None,
                };
                return Some(format!("vp9_metadata=color_space={matrix}"));
            }
        };
        let codes = names.into_iter().zip([primaries, transfer, matrix]);
        let mut options: Vec<String> = codes
            .filter_map(|(name, code)| Some(format!("{name}={}", code?)))
            .collect();
        if let Some(full) = full {
            let range = match self.encoder.codec() {
                "av1" => format!("color_range={}", if full { "pc" } else { "tv" }),
                _ => format!("video_full_range_flag={}", u8::from(full)),
            };
            options.push(range);
        }
        (!options.is_empty()).then(|| format!("{filter}={}", options.join(":")))
    }
}

/// Code points of ITU-T H.273, by ffmpeg's names.
const PRIMARIES: &[(&str, u8)] = &[
    ("bt709", 1),
    ("bt470m", 4),
    ("bt470bg", 5),
    ("smpte170m", 6),
    ("smpte240m", 7),
    ("film", 8),
    ("bt2020", 9),
    ("smpte428", 10),
    ("smpte431", 11),
    ("smpte432", 12),
];
const TRANSFERS: &[(&str, u8)] = &[
    ("bt709", 1),
    ("bt470m", 4),
    ("gamma22", 4),
    ("bt470bg", 5),
    ("gamma28", 5),
    ("smpte170m", 6),
    ("smpte240m", 7),
    ("linear", 8),
    ("iec61966-2-4", 11),
    ("iec61966-2-1", 13),
    ("bt2020-10", 14),
    ("bt2020-12", 15),
    ("smpte2084", 16),
    ("smpte428", 17),
    ("arib-std-b67", 18),
];
const MATRICES: &[(&str, u8)] = &[
    ("bt709", 1),
    ("fcc", 4),
    ("bt470bg", 5),
    ("smpte170m", 6),
    ("smpte240m", 7),
    ("ycgco", 8),
    ("bt2020nc", 9),
    ("bt2020c", 10),
];

/// From all pictures in one file with their times (or a list of files) to the joined file `to`.
pub fn join_run(joining: &Joining, rate: FrameRate, to: &str) -> Invocation {
    // The rate is what players are told; the times stay.
    let rate = rate.to_string();
    let mut output = strings(&["-map", "0:v:0", "-c", "copy", "-r", &rate]);
    output.extend(joining.colours());
    if let Some((width, height)) = joining.display_aspect {
        output.extend(["-aspect".to_owned(), format!("{width}:{height}")]);
    }
    let format = if joining.encoder.keeps_order() {
        "webm"
    } else {
        "matroska"
    };
    output.extend(strings(&["-f", format, to]));
    Invocation {
        input: strings(&["-copyts"]),
        output,
    }
}

/// Puts scenes with reordered pictures behind each other in `to`, whose times are going to be written
/// over: each in a cluster of its own, large enough a number that any other has room there, and without an
/// index.
pub fn line_up_run(to: &str) -> Invocation {
    let mut output = strings(&["-map", "0:v:0", "-c", "copy", "-output_ts_offset", "20000"]);
    output.extend(strings(&["-f", "matroska", "-live", "1"]));
    output.extend(strings(&[
        "-cluster_time_limit",
        "0",
        "-cluster_size_limit",
        "1",
        to,
    ]));
    Invocation {
        input: Vec::new(),
        output,
    }
}

/// The run that merges, and what of the source does not come through as it is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merging {
    pub run: Invocation,
    pub notes: Vec<String>,
}

/// Puts sound, text and chapters of the source (first input) beside the joined pictures (second input). All
/// times count from the source's beginning.
pub fn merge_run(probe: &SourceProbe, action: OnComplete, start: MediaTime, to: &str) -> Merging {
    let mut notes = Vec::new();
    let holder = match action {
        OnComplete::Matroska | OnComplete::Join => "Matroska",
        OnComplete::Mp4 => "MP4",
        OnComplete::Webm => "WebM",
    };
    let back = (MediaTime::ZERO - start).to_string();
    let mut output = strings(&["-map", "1:v:0", "-c:v", "copy"]);
    for (nth, audio) in probe.audio.iter().enumerate() {
        let (held, instead): (&[&str], _) = match action {
            OnComplete::Matroska | OnComplete::Join => (&MATROSKA_SOUND, "flac"),
            OnComplete::Mp4 => (&MP4_SOUND, "aac"),
            OnComplete::Webm => (&["opus", "vorbis"], "libopus"),
        };
        let codec = match held.contains(&audio.codec.as_str()) {
            true => "copy",
            false => {
                let name = instead.trim_start_matches("lib");
                let what = described("sound", audio.index, &audio.codec, &audio.language);
                notes.push(format!(
                    "{what} is encoded as {name}: {holder} does not hold it"
                ));
                instead
            }
        };
        output.extend(["-map".to_owned(), format!("0:{}", audio.index)]);
        output.extend([format!("-c:a:{nth}"), codec.to_owned()]);
    }
    let mut texts = 0;
    for subtitle in &probe.subtitles {
        let (held, instead): (&[&str], _) = match action {
            OnComplete::Matroska | OnComplete::Join => (&MATROSKA_TEXT, "srt"),
            OnComplete::Mp4 => (&["mov_text"], "mov_text"),
            OnComplete::Webm => (&["webvtt"], "webvtt"),
        };
        let what = described("text", subtitle.index, &subtitle.codec, &subtitle.language);
        let codec = match held.contains(&subtitle.codec.as_str()) {
            true => "copy",
            false if is_text(&subtitle.codec) => {
                if matches!(subtitle.codec.as_str(), "ass" | "ssa") {
                    notes.push(format!(
                        "{what} loses its styles: {holder} does not hold them"
                    ));
                }
                instead
            }
            // Pictures of text, for example.
            false => {
                notes.push(format!("{what} is left out: {holder} does not hold it"));
                continue;
            }
        };
        output.extend(["-map".to_owned(), format!("0:{}", subtitle.index)]);
        output.extend([format!("-c:s:{texts}"), codec.to_owned()]);
        texts += 1;
    }
    if action == OnComplete::Matroska {
        output.extend(strings(&["-map", "0:t?", "-c:t", "copy"]));
    }
    output.extend(strings(&["-map_metadata", "0", "-map_chapters", "0"]));
    match action {
        OnComplete::Mp4 => {
            output.extend(strings(&[
                "-movflags",
                "+faststart",
                "-strict",
                "-2",
                "-f",
                "mp4",
            ]));
        }
        OnComplete::Webm => output.extend(strings(&["-f", "webm"])),
        OnComplete::Join | OnComplete::Matroska => output.extend(strings(&["-f", "matroska"])),
    }
    output.push(to.to_owned());
    Merging {
        run: Invocation {
            input: strings(&["-copyts", "-itsoffset", &back]),
            output,
        },
        notes,
    }
}

fn described(kind: &str, index: u32, codec: &str, language: &Option<String>) -> String {
    let language = language.as_deref().map(|l| format!(", {l}"));
    format!(
        "{kind} (stream {index}, {codec}{})",
        language.unwrap_or_default()
    )
}

/// What Matroska, as ffmpeg writes it, holds without being encoded again.
const MATROSKA_SOUND: [&str; 24] = [
    "aac",
    "mp3",
    "mp2",
    "ac3",
    "eac3",
    "dts",
    "truehd",
    "mlp",
    "flac",
    "alac",
    "opus",
    "vorbis",
    "tta",
    "wavpack",
    "pcm_u8",
    "pcm_s16le",
    "pcm_s24le",
    "pcm_s32le",
    "pcm_s16be",
    "pcm_s24be",
    "pcm_s32be",
    "pcm_f32le",
    "pcm_f64le",
    "cook",
];
const MATROSKA_TEXT: [&str; 9] = [
    "subrip",
    "srt",
    "text",
    "ass",
    "ssa",
    "webvtt",
    "hdmv_pgs_subtitle",
    "dvd_subtitle",
    "dvb_subtitle",
];
/// What MP4 holds without being encoded again.
const MP4_SOUND: [&str; 8] = ["aac", "mp3", "ac3", "eac3", "opus", "flac", "alac", "mp2"];

impl Joining {
    /// Of the source's video stream.
    pub fn of(encoder: SceneEncoder, video: &VideoStream) -> Joining {
        let mut color = video.color.clone();
        if color.matrix.as_deref() == Some("gbr") {
            // What pipes make of RGB.
            color.matrix = Some("smpte170m".to_owned());
            color.range = Some("tv".to_owned());
        }
        Joining {
            encoder,
            color,
            display_aspect: Some((
                u64::from(video.coded.width) * u64::from(video.sample_aspect.0),
                u64::from(video.coded.height) * u64::from(video.sample_aspect.1),
            ))
            .filter(|_| video.sample_aspect.0 != video.sample_aspect.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_does_not_hold_is_told() {
        let audio = |index, codec: &str| crate::media::AudioStream {
            index,
            codec: codec.into(),
            profile: String::new(),
            sample_rate: 48_000,
            channels: 2,
            start_time: None,
            duration: None,
            time_base: (1, 48_000),
            bit_rate: None,
            language: Some("eng".into()),
            title: None,
            default: true,
        };
        let text = |index, codec: &str| crate::media::SubtitleStream {
            index,
            codec: codec.into(),
            language: None,
            title: None,
            default: false,
            forced: false,
        };
        let probe = SourceProbe {
            format: "mpegts".into(),
            duration: None,
            start_time: MediaTime::ZERO,
            size_bytes: None,
            video: Vec::new(),
            covers: Vec::new(),
            audio: vec![audio(1, "dts"), audio(2, "pcm_bluray")],
            subtitles: vec![
                text(3, "ass"),
                text(4, "hdmv_pgs_subtitle"),
                text(5, "dvb_teletext"),
            ],
        };
        let merged = |action| {
            let Merging { run, notes } = merge_run(&probe, action, MediaTime::ZERO, "/w/m");
            (run.output.join(" "), notes)
        };
        let (run, notes) = merged(OnComplete::Matroska);
        assert!(
            run.contains(
                "-c:a:0 copy -map 0:2 -c:a:1 flac -map 0:3 -c:s:0 copy -map 0:4 -c:s:1 copy"
            ),
            "{run}"
        );
        let wanted = [
            "sound (stream 2, pcm_bluray, eng) is encoded as flac: Matroska does not hold it",
            "text (stream 5, dvb_teletext) is left out: Matroska does not hold it",
        ];
        assert_eq!(notes, wanted);
        let (run, notes) = merged(OnComplete::Mp4);
        assert!(
            run.contains("-c:a:0 aac -map 0:2 -c:a:1 aac -map 0:3 -c:s:0 mov_text -map_metadata"),
            "{run}"
        );
        let wanted = [
            "sound (stream 1, dts, eng) is encoded as aac: MP4 does not hold it",
            "sound (stream 2, pcm_bluray, eng) is encoded as aac: MP4 does not hold it",
            "text (stream 3, ass) loses its styles: MP4 does not hold them",
            "text (stream 4, hdmv_pgs_subtitle) is left out: MP4 does not hold it",
            "text (stream 5, dvb_teletext) is left out: MP4 does not hold it",
        ];
        assert_eq!(notes, wanted);
        let (run, _) = merged(OnComplete::Webm);
        let wanted = "-c:a:0 libopus -map 0:2 -c:a:1 libopus -map 0:3 -c:s:0 webvtt -map_metadata";
        assert!(run.contains(wanted), "{run}");
    }

    #[test]
    fn colours_are_told_twice() {
        let text = |t: &str| Some(t.to_owned());
        let color = ColorInfo {
            primaries: text("bt709"),
            transfer: text("bt709"),
            matrix: text("bt709"),
            range: text("tv"),
            dolby_vision_profile: None,
        };
        let joining = |encoder| Joining {
            encoder,
            color: color.clone(),
            display_aspect: None,
        };
        let run = join_run(&joining(SceneEncoder::Aom), FrameRate::PAL, "/w/c.webm")
            .output
            .join(" ");
        let wanted = "-color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv \
            -bsf:v av1_metadata=color_primaries=1:transfer_characteristics=1:\
            matrix_coefficients=1:color_range=tv -f webm";
        assert!(run.contains(wanted), "{run}");
        let run = join_run(&joining(SceneEncoder::Vpx), FrameRate::PAL, "/w/c.webm")
            .output
            .join(" ");
        assert!(
            run.contains("-bsf:v vp9_metadata=color_space=bt709 -f webm"),
            "{run}"
        );
    }
}
