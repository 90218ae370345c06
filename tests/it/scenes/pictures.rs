//! That every picture of a source reaches encoders once, and comes back at its time, whatever the source.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::film::{RATE, likeness, picture_times};
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

/// As an unmodified worker hands the pictures of a segment to its encoder.
fn piped(given: &Given, folder: &Path) -> Vec<String> {
    let (segment, pipe) = (folder.join("seen.mkv"), folder.join("seen.y4m"));
    std::fs::write(&segment, &given.answer.body).unwrap();
    ffmpeg(&[
        "-i",
        segment.to_str().unwrap(),
        "-strict",
        "-1",
        "-pix_fmt",
        "yuv420p",
        "-vf",
        "select=gte(n\\,0)",
        "-vframes",
        &given.header("frames"),
        "-f",
        "yuv4mpegpipe",
        pipe.to_str().unwrap(),
    ]);
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
        let seen: Vec<String> = given.iter().flat_map(|g| piped(g, folder)).collect();
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
