use super::*;
use crate::base::Bitrate;
use crate::hardware::Hardware;
use crate::media::query::{Parameters, PreviewQuery, StoryboardQuery, ThumbQuery, WebmQuery};
use crate::media::{ColorInfo, KeyframeIndex, MaxResolution};
use crate::plan::stream::tests::{probe, video};
use crate::plan::{Invocation, PlanSettings};

fn hardware() -> Hardware {
    let encoders = "mjpeg png libwebp libwebp_anim libaom-av1 libvpx libvpx-vp9 libsvtav1 libx264 gif \
                    libopus libvorbis";
    Hardware {
        encoders: encoders.split(' ').map(str::to_owned).collect(),
        filters: ["zscale", "tonemap"].map(str::to_owned).into(),
        ..Hardware::default()
    }
}

fn settings() -> PlanSettings {
    PlanSettings {
        segment_seconds: 4.0,
        max_resolution: MaxResolution::R4k,
        max_bitrate: Bitrate::kbit(50_000),
        tone_map: true,
        video_preset: "veryfast".into(),
        ..PlanSettings::default()
    }
}

/// A film of 1280x720 and `seconds`.
fn film(seconds: f64) -> SourceProbe {
    let length = Some(MediaTime::from_secs_f64(seconds));
    let mut film = SourceProbe {
        duration: length,
        ..probe()
    };
    film.video[0].coded = Resolution {
        width: 1280,
        height: 720,
    };
    film.video[0].duration = length;
    film
}

fn thumb(probe: &SourceProbe, query: &str) -> Result<PictureRun, QueryPlanError> {
    let query = ThumbQuery::read(&Parameters::parse(query)).unwrap();
    let mark = query.watermark.as_ref().map(watermark_plan);
    picture_runs(probe, &query, mark, false, &hardware(), &settings())
}

fn line(invocation: &Invocation) -> String {
    [&invocation.input[..], &invocation.output[..]]
        .concat()
        .join(" ")
}

fn res(width: u32, height: u32) -> Resolution {
    Resolution { width, height }
}

#[test]
fn pictures_fit_their_box_and_are_not_made_larger() {
    let fit = |width, height, upscale| Fit {
        width,
        height,
        upscale,
    };
    let hd = res(1280, 720);
    assert_eq!(
        fit_size(hd, fit(Some(426), Some(240), false)),
        res(426, 240)
    );
    assert_eq!(fit_size(hd, fit(Some(100), None, false)), res(100, 56));
    assert_eq!(fit_size(hd, fit(None, Some(100), false)), res(178, 100));
    assert_eq!(fit_size(hd, fit(Some(4000), Some(4000), false)), hd);
    assert_eq!(fit_size(hd, fit(Some(2560), None, true)), res(2560, 1440));
    assert_eq!(fit_size(hd, fit(None, None, true)), hd);
    assert_eq!(
        fit_size(res(720, 1280), fit(Some(426), Some(240), false)),
        res(135, 240)
    );
    assert_eq!(
        fit_size(res(1, 8000), fit(Some(8192), None, true)),
        res(1, 8192)
    );
    assert_eq!(
        fit_size(res(30_000, 2), fit(None, None, false)),
        res(8192, 1)
    );
    assert_eq!(
        fit_even(res(641, 361), fit(None, None, false)),
        res(640, 360)
    );
}

#[test]
fn a_moment_is_sought_exactly_then_by_key_frame_then_not_at_all() {
    let run = thumb(&film(60.0), "t=30").unwrap();
    let inputs: Vec<String> = run.attempts.iter().map(|a| a.input.join(" ")).collect();
    assert_eq!(
        inputs,
        [
            "-threads 2 -ss 30.000000",
            "-threads 2 -noaccurate_seek -ss 30.000000",
            "-threads 2"
        ]
    );
    let seek = |probe: &SourceProbe, query: &str| {
        let run = thumb(probe, query).unwrap();
        run.attempts[0].input[2..].join(" ")
    };
    assert_eq!(seek(&film(60.0), ""), "-ss 2.000000");
    assert_eq!(seek(&film(1.0), ""), "-ss 0.500000");
    assert_eq!(seek(&film(60.0), "t=50%"), "-ss 30.000000");
    assert_eq!(seek(&film(60.0), "t=0"), "");
    let beyond = QueryPlanError::BeyondEnd {
        t: 60.0,
        duration: 60.0,
    };
    assert_eq!(thumb(&film(60.0), "t=60"), Err(beyond));
    let endless = SourceProbe {
        duration: None,
        ..film(60.0)
    };
    assert_eq!(
        thumb(&endless, "t=5%"),
        Err(QueryPlanError::ShareWithoutLength)
    );
    assert!(thumb(&endless, "t=5").is_ok());
}

#[test]
fn sound_gives_its_cover_or_nothing() {
    let mut sound = film(60.0);
    sound.video.clear();
    assert_eq!(thumb(&sound, ""), Err(QueryPlanError::NoPicture));
    sound.covers = vec![VideoStream {
        index: 7,
        ..video()
    }];
    let run = thumb(&sound, "").unwrap();
    assert_eq!(run.attempts.len(), 1);
    assert!(line(&run.attempts[0]).starts_with("-threads 2 -map 0:7 "));
    assert!(matches!(
        thumb(&sound, "t=99"),
        Err(QueryPlanError::BeyondEnd { .. })
    ));
}

#[test]
fn hdr_is_mapped_and_odd_sizes_only_come_after_it() {
    let mut hdr = film(60.0);
    hdr.video[0].color = ColorInfo {
        transfer: Some("smpte2084".into()),
        ..ColorInfo::default()
    };
    let text = line(&thumb(&hdr, "width=101").unwrap().attempts[0]);
    assert!(text.contains("zscale=w=102:h=58:t=linear"), "{text}");
    assert!(
        text.contains("scale=101:57:flags=bicubic:in_color_matrix=bt709"),
        "{text}"
    );
}

#[test]
fn a_watermark_is_numbers_only() {
    let run = thumb(
        &film(60.0),
        "watermark=a'b[0:v];movie=/etc/passwd&alpha=0.25&scale=0.5",
    )
    .unwrap();
    let text = line(&run.attempts[0]);
    assert!(!text.contains("passwd"), "{text}");
    assert!(
        text.contains("scale=360:360:") && text.contains("aa=0.2500"),
        "{text}"
    );
    assert!(text.contains("main_w-overlay_w-72"), "{text}");
}

#[test]
fn formats_without_an_encoder_are_named() {
    let query = ThumbQuery::read(&Parameters::parse("format=avif")).unwrap();
    let none = Hardware::default();
    let error = picture_runs(&film(9.0), &query, None, false, &none, &settings()).unwrap_err();
    assert!(error.to_string().starts_with("format: "), "{error}");
}

fn preview(probe: &SourceProbe, keys: Option<&KeyframeIndex>, query: &str) -> SampledPlan {
    let query = PreviewQuery::read(&Parameters::parse(query)).unwrap();
    plan_preview(probe, keys, &query, &hardware(), &settings()).unwrap()
}

/// Key frames every `step` seconds.
fn keys(step: usize, seconds: usize) -> KeyframeIndex {
    let at = |s| MediaTime::from_secs_f64(s as f64);
    KeyframeIndex::new((0..seconds).step_by(step).map(at).collect()).unwrap()
}

#[test]
fn few_key_frames_of_a_short_film_are_not_enough() {
    let plan = preview(&film(12.0), Some(&keys(10, 12)), "");
    assert_eq!((plan.samples.count, plan.samples.runs.len()), (3, 1));
    let text = line(&plan.samples.runs[0][0]);
    assert!(
        !text.contains("nokey") && text.contains("fps=1000000/4000000"),
        "{text}"
    );
}

#[test]
fn key_frames_are_enough_where_they_are_many() {
    let plan = preview(&film(100.0), Some(&keys(2, 100)), "");
    assert_eq!((plan.samples.count, plan.samples.runs.len()), (25, 1));
    assert!(line(&plan.samples.runs[0][0]).contains("-skip_frame nokey -noaccurate_seek"));
}

#[test]
fn a_long_film_is_sought_picture_by_picture() {
    let plan = preview(&film(7200.0), Some(&keys(5, 7200)), "frames=4");
    let seeks: Vec<String> = plan
        .samples
        .runs
        .iter()
        .map(|r| r[0].input.join(" "))
        .collect();
    assert_eq!(seeks.len(), 4);
    assert!(
        seeks[1].ends_with("-noaccurate_seek -ss 2700.000000"),
        "{seeks:?}"
    );
    let plan = preview(&film(7200.0), None, "");
    assert_eq!(plan.samples.count, 40);
    assert!(plan.encode.input.join(" ").ends_with("-framerate 5/2"));
}

#[test]
fn a_storyboard_names_every_moment_and_sheet_once() {
    let query =
        StoryboardQuery::read(&Parameters::parse("interval=10&columns=5&width=100")).unwrap();
    let board = plan_storyboard(&film(605.0), &query).unwrap();
    let text = board.vtt(|n| format!("s{n}"));
    assert!(text.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:10.000\ns0#xywh=0,0,100,56\n"));
    assert_eq!(text.matches(" --> ").count(), 61);
    assert!(
        text.contains("00:04:20.000 --> 00:04:30.000\ns1#xywh=100,0,100,56\n"),
        "{text}"
    );
    assert!(
        text.ends_with("00:10:00.000 --> 00:10:05.000\ns2#xywh=0,112,100,56\n"),
        "{text}"
    );
    let sheet = |n| plan_sheet(&film(605.0), None, &query, n, &hardware(), &settings());
    let last = sheet(2).unwrap();
    assert_eq!(last.samples.count, 11);
    assert!(last.encode.output.join(" ").starts_with("-vf tile=5x3,"));
    assert_eq!(sheet(3), Err(QueryPlanError::NoSuchSheet { last: 2 }));
    let dense = StoryboardQuery::read(&Parameters::parse("interval=1")).unwrap();
    let error = plan_storyboard(&film(100_000.0), &dense).unwrap_err();
    assert_eq!(error, QueryPlanError::IntervalTooShort { least: 5 });
}

#[test]
fn webm_obeys_what_is_asked_and_the_limits() {
    let plan = |query: &str| {
        let query = WebmQuery::read(&Parameters::parse(query)).unwrap();
        let settings = PlanSettings {
            max_bitrate: Bitrate::kbit(1000),
            max_resolution: MaxResolution::R480,
            ..settings()
        };
        plan_webm(&film(60.0), &query, false, &hardware(), &settings).map(|i| line(&i))
    };
    let text = plan("t=5&duration=2.5&bitrate=300k").unwrap();
    assert!(
        text.starts_with("-ss 5.000000 -t 2.500000 -map 0:0"),
        "{text}"
    );
    assert!(
        text.contains("scale=426:240") && text.contains("-b:v 300000"),
        "{text}"
    );
    assert!(
        text.contains("-c:v libvpx-vp9") && text.contains("-c:a libopus"),
        "{text}"
    );
    let text = plan("video_codec=vp8&width=1280&bitrate=9M").unwrap();
    assert!(text.contains("-c:v libvpx -b:v 1000000"), "{text}");
    assert!(
        text.contains("scale=852:480") && text.contains("libvorbis"),
        "{text}"
    );
    assert!(!plan("audio_codec=none").unwrap().contains("-c:a"));
    assert!(matches!(
        plan("t=60"),
        Err(QueryPlanError::BeyondEnd { .. })
    ));
}
