//! Whole plans and playlists, as texts in `tests/golden` that a change of a recipe must change too.
//!
//! With `GHOSTSTREAM_TEST_GOLDEN=write` the texts are written anew, to be read before they are
//! committed.

use std::fmt::Write;
use std::path::Path;

use ghoststream::base::MediaTime;
use ghoststream::hardware::Hardware;
use ghoststream::hls::{MediaPlaylist, PlaylistKind};
use ghoststream::media::{AudioChoice, MaxResolution, SourceProbe, StreamRequest, VideoChoice};
use ghoststream::plan::{
    AudioRun, Invocation, Padding, PlanSettings, Preroll, StreamPlan, VideoRun, plan_stream,
};

/// What ffprobe says of a source with these streams.
fn source(format: &str, start: &str, length: &str, streams: &str) -> SourceProbe {
    let format = format!(
        r#""format":{{"format_name":"{format}","start_time":"{start}","duration":"{length}"}}"#
    );
    SourceProbe::from_ffprobe(&format!(r#"{{"streams":[{streams}],{format}}}"#)).unwrap()
}

const FILM: &str = r#"{"index":0,"codec_type":"video","codec_name":"h264","profile":"High","width":1920,
    "height":1080,"pix_fmt":"yuv420p","field_order":"progressive","r_frame_rate":"24000/1001",
    "avg_frame_rate":"24000/1001","start_time":"0.021","duration":"21.021","disposition":{"default":1}}"#;
const SOUND: &str = r#"{"index":1,"codec_type":"audio","codec_name":"aac","profile":"LC","sample_rate":"48000",
    "channels":6,"time_base":"1/1000","start_time":"0.000","duration":"21.000","disposition":{"default":1}}"#;
const FIELDS: &str = r#"{"index":0,"codec_type":"video","codec_name":"mpeg2video","width":720,"height":576,
    "sample_aspect_ratio":"64:45","pix_fmt":"yuv420p","field_order":"tt","r_frame_rate":"25/1",
    "avg_frame_rate":"25/1","start_time":"1.4","duration":"20","disposition":{"default":1}}"#;
const PHONE: &str = r#"{"index":0,"codec_type":"video","codec_name":"hevc","width":1920,"height":1080,
    "pix_fmt":"yuv420p10le","field_order":"progressive","r_frame_rate":"90000/1","avg_frame_rate":"2997/100",
    "color_transfer":"arib-std-b67","start_time":"0","duration":"12.3","disposition":{"default":1},
    "side_data_list":[{"rotation":-90}]}"#;
const OLD: &str = r#"{"index":0,"codec_type":"video","codec_name":"mpeg4","width":640,"height":352,
    "pix_fmt":"yuv420p","r_frame_rate":"25/1","avg_frame_rate":"25/1","start_time":"0","duration":"14",
    "disposition":{"default":1}}"#;
const VORBIS: &str = r#"{"index":0,"codec_type":"audio","codec_name":"vorbis","sample_rate":"44100","channels":2,
    "time_base":"1/44100","start_time":"0","duration":"30","disposition":{"default":1}}"#;

fn request(change: impl FnOnce(&mut StreamRequest)) -> StreamRequest {
    let mut request = StreamRequest::default();
    change(&mut request);
    request
}

fn machine() -> Hardware {
    let names = |n: &[&str]| n.iter().map(|s| (*s).to_owned()).collect();
    Hardware {
        ffmpeg_version: "5.1".into(),
        encoders: names(&[
            "libx264",
            "libx265",
            "libvpx-vp9",
            "libsvtav1",
            "aac",
            "libopus",
        ]),
        decoders: names(&["h264"]),
        filters: names(&["zscale", "tonemap"]),
        accelerators: Vec::new(),
    }
}

fn plan(probe: &SourceProbe, request: &StreamRequest) -> StreamPlan {
    let keys: Vec<_> = (0..5)
        .map(|i| MediaTime::from_micros(21_000 + i * 4_800_000))
        .collect();
    let settings = PlanSettings::default();
    plan_stream(probe, Some(&keys), request, &machine(), &settings).unwrap()
}

fn line(out: &mut String, what: &str, run: &Invocation) {
    let words = |w: &[String]| w.join(" ");
    let _ = writeln!(
        out,
        "{what}: {} -i SOURCE {}",
        words(&run.input),
        words(&run.output)
    );
}

/// The runs from the beginning and from the third segment on.
fn describe(out: &mut String, plan: &StreamPlan) {
    let _ = writeln!(out, "{:?}, origin {} s", plan.packaging, plan.origin);
    let timeline = &plan.timeline;
    let (preroll, padding) = (Preroll::Near, Padding::Short);
    for segment in [0, 2.min(timeline.len() - 1)] {
        let run = VideoRun {
            from: timeline.start(segment),
            until: timeline.start(timeline.len()),
            preroll,
            padding,
            software: false,
        };
        if let Some(run) = plan.video_run(0, run) {
            line(out, &format!("video from {segment}"), &run);
        }
        let Some(audio) = plan.main_audio() else {
            continue;
        };
        let unit = |segment| match audio.encode {
            Some(_) => timeline
                .grid()
                .ceil_in(timeline.start(segment), audio.grid()),
            None => timeline.start(segment),
        };
        let run = AudioRun {
            from: unit(segment),
            until: unit(timeline.len()),
            preroll,
            padding,
        };
        if let Some(run) = plan.audio_run(0, run) {
            line(out, &format!("audio from {segment}"), &run);
        }
    }
    let playlist = MediaPlaylist {
        timeline,
        kind: PlaylistKind::Vod,
        init_uri: None,
        segment_prefix: "segment_",
        extension: ".ts",
        longest_hint: 0.0,
    };
    out.push_str(&playlist.text());
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var("GHOSTSTREAM_TEST_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(&path, text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = known.lines().zip(text.lines());
    let differs = lines.clone().position(|(old, new)| old != new);
    assert!(
        known == text,
        "{name} differs in line {}:\n{:#?}",
        differs.unwrap_or_else(|| known.lines().count()) + 1,
        differs.and_then(|i| lines.clone().nth(i))
    );
}

#[test]
fn plans_are_as_they_were_read_and_found_good() {
    let both = [FILM, SOUND].join(",");
    let film = source("matroska,webm", "0.000", "21.042", &both);
    let mut out = String::new();
    let mut add = |name: &str, probe: &SourceProbe, request: StreamRequest| {
        let _ = writeln!(out, "## {name}");
        describe(&mut out, &plan(probe, &request));
    };
    add(
        "a film, small",
        &film,
        request(|r| r.output.resolution = MaxResolution::R720),
    );
    add(
        "from its middle",
        &film,
        request(|r| r.start_time = MediaTime::from_micros(10_000_000)),
    );
    add(
        "as HEVC with Opus",
        &film,
        request(|r| {
            r.output.video = VideoChoice::H265;
            r.output.audio = AudioChoice::Opus;
        }),
    );
    add(
        "as AV1",
        &film,
        request(|r| r.output.video = VideoChoice::Av1),
    );
    add(
        "copied",
        &film,
        request(|r| {
            r.output.video = VideoChoice::Copy;
            r.output.audio = AudioChoice::Copy;
        }),
    );
    let fields = source("mpegts", "1.400", "20.000", FIELDS);
    add("interlaced, no square samples", &fields, request(|_| {}));
    let phone = source("mov,mp4,m4a,3gp,3g2,mj2", "0.000", "12.300", PHONE);
    add("HDR, turned, variable rate", &phone, request(|_| {}));
    let old = source("avi", "0.000", "14.000", OLD);
    add("a decoder that makes pictures up", &old, request(|_| {}));
    let song = source("ogg", "0.000", "30.000", VORBIS);
    add("sound alone", &song, request(|_| {}));
    check("plans.txt", &out);
}
