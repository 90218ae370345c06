//! That every picture of a source reaches encoders once, and comes back at its time, whatever the source.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::engines::has_encoder;
use super::film::{RATE, likeness, picture_times, probed};
use super::worker::*;
use crate::app::{TestApp, ffmpeg};

/// A checksum of each picture; of `args` behind the input.
fn pictures(path: &Path, args: &[&str]) -> Vec<String> {
    let input = ["-i", path.to_str().unwrap(), "-map", "0:v:0"];
    let output = ["-pix_fmt", "yuv420p", "-f", "framemd5", "-"];
    let text = ffmpeg(&[&input[..], args, &output].concat());
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|l| l.rsplit(',').next().unwrap().trim().to_owned())
        .collect()
}

/// What the encoder of an unmodified worker sees of a segment.
fn seen(given: &Given, folder: &Path) -> Vec<String> {
    let pipe = piped(given, folder);
    pictures(&pipe, &["-fps_mode", "passthrough"])
}

fn source(folder: &Path, name: &str, filters: &str, encoder: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let picture = format!("testsrc2=s=160x90:r={RATE}:d=7");
    let input = ["-f", "lavfi", "-i", &picture, "-vf", filters];
    let output = ["-fps_mode", "passthrough", "-frames:v", "150"];
    ffmpeg(&[&input[..], &output, encoder, &[path.to_str().unwrap()]].concat());
    path
}

const GOPS: [&str; 10] = [
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-g",
    "50",
    "-bf",
    "3",
    "-sc_threshold",
    "0",
];
/// Every third picture lasts twice as long, and the second half comes five seconds late.
const VARIES: &str = "setpts='PTS+floor(N/3)*0.0417/TB+gte(N,75)*5/TB'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_see_every_picture_once() {
    let app = server(|_| {}).await;
    let folder = app.folder.path();
    let open = [&GOPS[..], &["-x264-params", "open-gop=1"]].concat();
    let sources = [
        // Taken as they are stored, out of both containers with an index.
        (source(folder, "copied.mp4", "null", &GOPS), 50, true),
        (source(folder, "copied.mkv", "null", &GOPS), 50, true),
        (source(folder, "varies.mkv", VARIES, &GOPS), 50, true),
        // Scenes that do not begin where key frames are.
        (source(folder, "between.mp4", "null", &GOPS), 30, false),
        (source(folder, "between.mkv", VARIES, &GOPS), 30, false),
        // Pictures that need what lies before their key frame.
        (source(folder, "open.mkv", "null", &open), 50, false),
    ];
    for (path, length, is_copied) in sources {
        let name = path.file_name().unwrap().to_str().unwrap();
        let body = json!({"input": [name], "encoder": "aom", "encoder_params": "", "id": name,
            "min_frames": length, "max_frames": length, "threshold": 255});
        add(&app, body).await;
        until_status(&app, name, "ready").await;
        let mut given = Vec::new();
        for _ in 0..150 / length {
            let held: Vec<&Given> = given.iter().collect();
            let next = get_job(&app, &held).await.unwrap();
            given.push(next);
        }
        given.sort_by(|a, b| a.scene.cmp(&b.scene));
        let seen: Vec<String> = given.iter().flat_map(|g| seen(g, folder)).collect();
        let wanted = pictures(&path, &["-fps_mode", "passthrough"]);
        assert_eq!(seen.len(), wanted.len(), "{name}");
        let wrong = seen.iter().zip(&wanted).position(|(s, w)| s != w);
        assert_eq!(wrong, None, "{name}: the first picture that is another");
        let bytes: usize = given.iter().map(|g| g.answer.body.len()).sum();
        let of_source = std::fs::metadata(&path).unwrap().len() as usize;
        assert_eq!(
            bytes < of_source + of_source / 4,
            is_copied,
            "{name}: {bytes} bytes of {of_source}"
        );
        app.post(&format!("/api/delete_project/{name}"), json!({}))
            .await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_full_range_of_a_source_is_kept() {
    let app = server(|_| {}).await;
    let full = "scale=out_range=full,format=yuvj420p";
    let path = source(app.folder.path(), "full.mp4", full, &GOPS);
    let body = json!({"input": ["full.mp4"], "encoder": "aom", "encoder_params": "", "id": "f",
        "min_frames": 50, "max_frames": 50, "threshold": 255});
    add(&app, body).await;
    until_status(&app, "f", "ready").await;
    let given = get_job(&app, &[]).await.unwrap();
    assert_eq!(given.scene, "00000");
    let unchanged = "scale=in_range=limited:out_range=limited,format=yuv420p";
    let args = ["-fps_mode", "passthrough", "-vf", unchanged];
    let wanted = pictures(&path, &args);
    assert_eq!(seen(&given, app.folder.path()), wanted[..50]);
    work(&app, app.folder.path(), Generation::Third).await;
    until_status(&app, "f", "complete").await;
    let show = [
        "-select_streams",
        "v:0",
        "-show_entries",
        "stream=color_range",
    ];
    let found = probed(&completed(&app, "f").await, &show);
    assert_eq!(found["streams"][0]["color_range"], "pc", "{found}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reordered_pictures_come_back_at_their_own_times() {
    let app = TestApp::with(|c| c.local_engine.patience_seconds = 0).await;
    let path = source(app.folder.path(), "varies.mkv", VARIES, &GOPS);
    let wanted = picture_times(&path);
    for (encoder, params) in [
        ("x264", "--preset ultrafast --crf 15 --bframes 3"),
        ("x265", "--preset ultrafast --crf 15 --bframes 3"),
    ] {
        let body = json!({"input": ["varies.mkv"], "encoder": encoder, "encoder_params": params, "id": encoder,
            "max_frames": 40});
        add(&app, body).await;
        until_status(&app, encoder, "complete").await;
        let made = completed(&app, encoder).await;
        let times = picture_times(&made);
        assert_eq!(times.len(), wanted.len());
        for (nth, (time, wanted)) in times.iter().zip(&wanted).enumerate() {
            assert!(
                (time - wanted).abs() < 0.0021,
                "{encoder}, picture {nth}: {time} s, not {wanted} s"
            );
        }
        let scores = likeness(&made, &path);
        let worst = scores.iter().copied().fold(1.0, f64::min);
        assert!(worst > 0.9, "{encoder}: a picture has SSIM {worst}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hdr10_says_of_a_film_is_kept_in_av1() {
    if !has_encoder("libx265") || !has_encoder("libaom-av1") {
        return;
    }
    let app = TestApp::with(|c| c.local_engine.patience_seconds = 0).await;
    let path = app.folder.path().join("hdr.mkv");
    let params = "log-level=error:hdr10=1:max-cll=1000,400:\
        master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)";
    let colours = [
        "-color_primaries",
        "bt2020",
        "-color_trc",
        "smpte2084",
        "-colorspace",
        "bt2020nc",
        "-color_range",
        "tv",
    ];
    let input = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=160x90:r=25",
        "-frames:v",
        "24",
    ];
    let encoder = [
        "-pix_fmt",
        "yuv420p10le",
        "-c:v",
        "libx265",
        "-x265-params",
        params,
    ];
    let to = path.to_str().unwrap();
    ffmpeg(&[&input[..], &encoder, &colours, &[to]].concat());
    let body = json!({"input": ["hdr.mkv"], "encoder": "aom", "id": "h", "max_frames": 12,
        "encoder_params": "--cpu-used=8 --end-usage=q --cq-level=30", "ffmpeg_params": "-pix_fmt yuv420p10le"});
    add(&app, body).await;
    until_status(&app, "h", "complete").await;
    let made = completed(&app, "h").await;
    // Once for each scene: whoever enters the film there is told.
    let show = [
        "-select_streams",
        "v:0",
        "-show_frames",
        "-show_entries",
        "frame=key_frame:frame_side_data_list",
    ];
    let said = |path: &Path| {
        let frames = probed(path, &show);
        let frames = frames["frames"].as_array().unwrap().clone();
        let keys = frames.into_iter().filter(|f| f["key_frame"] == 1);
        let of = |frame: &serde_json::Value, kind: &str| {
            let all = frame["side_data_list"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let said = all.into_iter().find(|s| s["side_data_type"] == kind);
            said.unwrap_or_else(|| panic!("{kind}: {frame}"))
        };
        let both = |f| {
            [
                of(&f, "Mastering display metadata"),
                of(&f, "Content light level metadata"),
            ]
        };
        keys.map(both).collect::<Vec<_>>()
    };
    let (of_source, of_made) = (said(&path), said(&made));
    assert_eq!(of_made.len(), 2);
    let number = |value: &serde_json::Value| {
        let (num, den) = value.as_str().unwrap().split_once('/').unwrap();
        num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap()
    };
    for [display, light] in &of_made {
        assert_eq!(
            (&light["max_content"], &light["max_average"]),
            (&json!(1000), &json!(400))
        );
        for field in [
            "red_x",
            "green_y",
            "blue_x",
            "white_point_y",
            "min_luminance",
            "max_luminance",
        ] {
            let (made, wanted) = (number(&display[field]), number(&of_source[0][0][field]));
            assert!(
                (made - wanted).abs() < 1e-4,
                "{field}: {made}, not {wanted}"
            );
        }
    }
    app.stop().await;
}
