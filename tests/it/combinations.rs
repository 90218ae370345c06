//! Every codec in every container: it works, or is refused at the start with a reason.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::media::{complaints, make, run};

const SOON: Duration = Duration::from_secs(90);
const FORMATS: [&str; 5] = ["hls", "dash", "mp4", "webm", "mkv"];
const VIDEOS: [&str; 5] = ["h264", "h265", "vp9", "av1", "copy"];
const AUDIOS: [&str; 6] = ["aac", "opus", "mp3", "flac", "ac3", "copy"];

fn clip(app: &TestApp) {
    let inputs = ["testsrc2=s=160x90:r=25:d=1", "sine=d=1"];
    make(
        app.folder.path(),
        "film.mkv",
        &inputs,
        "-c:v libx264 -preset ultrafast -g 25 -c:a aac",
    );
}

fn body(mode: &str, format: &str, video: &str, audio: &str) -> Value {
    let output = json!({"format": format, "video_codec": video, "audio_codec": audio});
    json!({"source": "film.mkv", "mode": mode, "output": output})
}

/// Codec names as ffprobe says them, sorted; what is copied stays.
fn wanted(video: &str, audio: &str) -> Vec<String> {
    let video = match video {
        "h265" => "hevc",
        "copy" => "h264",
        other => other,
    };
    let audio = if audio == "copy" { "aac" } else { audio };
    let mut names = vec![video.to_owned(), audio.to_owned()];
    names.sort();
    names
}

/// Those of a file or stream, which playlists name once more for each program.
fn codecs(input: &str) -> Vec<String> {
    let args = [
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name",
        "-of",
        "csv=p=0",
        input,
    ];
    let (out, _) = run("ffprobe", &args);
    let text = String::from_utf8(out).unwrap();
    let mut names: Vec<String> = text
        .split_whitespace()
        .map(|n| n.trim_end_matches(',').to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_container_takes_is_refused_at_the_start() {
    // Nobody works: only what is taken counts here.
    let app = TestApp::with(|c| c.local_engine.enabled = false).await;
    clip(&app);
    for format in FORMATS {
        for video in VIDEOS {
            for audio in AUDIOS {
                let answer = app
                    .post("/api/transcode/start", body("batch", format, video, audio))
                    .await;
                let text = answer.text();
                let bad_video = format == "webm" && !["vp9", "av1", "copy"].contains(&video);
                let bad_audio = format == "webm" && !["opus", "copy"].contains(&audio);
                let refusal = match (format, bad_video, bad_audio) {
                    ("dash", ..) => Some("dash".to_owned()),
                    (_, true, _) => Some(format!("webm does not take {video}")),
                    (_, _, true) => Some(format!("webm does not take {audio}")),
                    _ => None,
                };
                match refusal {
                    None => assert_eq!(
                        answer.status,
                        StatusCode::OK,
                        "{format} {video} {audio}: {text}"
                    ),
                    Some(reason) => {
                        assert_eq!(
                            answer.status,
                            StatusCode::BAD_REQUEST,
                            "{format} {video} {audio}: {text}"
                        );
                        assert!(text.contains(&reason), "{format} {video} {audio}: {text}");
                    }
                }
            }
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_becomes_a_file_of_these_codecs() {
    let app = TestApp::start().await;
    clip(&app);
    let mut pairs: Vec<(&str, &str, &str)> = Vec::new();
    for format in ["hls", "mp4", "mkv"] {
        pairs.extend(VIDEOS.map(|video| (format, video, "aac")));
        pairs.extend(AUDIOS[1..].iter().map(|audio| (format, "h264", *audio)));
    }
    pairs.extend([("webm", "vp9", "opus"), ("webm", "av1", "opus")]);
    let mut jobs = Vec::new();
    for (format, video, audio) in pairs {
        let answer = app
            .post("/api/transcode/start", body("batch", format, video, audio))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        jobs.push((
            format,
            video,
            audio,
            answer.json()["job_id"].as_str().unwrap().to_owned(),
        ));
    }
    for (format, video, audio, job) in jobs {
        let ended = |s: &Value| s["status"] == "ready" || s["status"] == "error";
        let status = app.status_until(&job, SOON, ended).await;
        assert_eq!(
            status["status"], "ready",
            "{format} {video} {audio}: {status}"
        );
        let url = status["download_url"].as_str().unwrap();
        let file = match format {
            "hls" => url.to_owned(),
            _ => {
                let file = app.folder.path().join(format!("made.{format}"));
                std::fs::write(&file, app.get(url).await.body).unwrap();
                assert_eq!(complaints(&file), "", "{format} {video} {audio}");
                file.to_str().unwrap().to_owned()
            }
        };
        let found = tokio::task::spawn_blocking(move || codecs(&file))
            .await
            .unwrap();
        assert_eq!(found, wanted(video, audio), "{format}");
    }
    // A copy can be refused only when it is known of what.
    for (video, audio, named) in [("copy", "opus", "h264"), ("vp9", "copy", "aac")] {
        let answer = app
            .post("/api/transcode/start", body("batch", "webm", video, audio))
            .await;
        let job = answer.json()["job_id"].as_str().unwrap().to_owned();
        let status = app
            .status_until(&job, SOON, |s| s["status"] == "error")
            .await;
        let reason = status["error_message"].as_str().unwrap();
        assert!(
            reason.contains("webm") && reason.contains(named),
            "{status}"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_can_be_streamed() {
    let app = TestApp::start().await;
    clip(&app);
    let pairs = VIDEOS.map(|video| (video, "aac")).into_iter();
    for (video, audio) in pairs.chain(AUDIOS[1..].iter().map(|audio| ("h264", *audio))) {
        let answer = app
            .post("/api/transcode/start", body("stream", "hls", video, audio))
            .await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{video} {audio}: {}",
            answer.text()
        );
        let url = answer.json()["stream_url"].as_str().unwrap().to_owned();
        let found = tokio::task::spawn_blocking(move || codecs(&url))
            .await
            .unwrap();
        assert_eq!(found, wanted(video, audio));
    }
    app.stop().await;
}
