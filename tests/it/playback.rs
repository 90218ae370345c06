//! A stream from start to end, as a player sees it.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::app::{TestApp, ffmpeg};

/// A clip of `seconds` with picture and sound in the app's folder; gives its name.
fn clip(app: &TestApp, name: &str, seconds: u32) -> String {
    let path = app.folder.path().join(name);
    let video = format!("testsrc2=s=320x180:r=25:d={seconds}");
    let audio = format!("sine=f=440:r=48000:d={seconds}");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &video,
        "-f",
        "lavfi",
        "-i",
        &audio,
        "-c:v",
        "mpeg4",
        "-c:a",
        "mp2",
        path.to_str().unwrap(),
    ]);
    name.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_segment_of_the_playlist_is_there_in_any_order() {
    let app = TestApp::start().await;
    let source = clip(&app, "clip.mkv", 30);
    let job = app.stream(&source, json!({})).await;
    let answer = app.get(&format!("/stream/{job}/master.m3u8")).await;
    assert_eq!(
        answer.headers["content-type"],
        "application/vnd.apple.mpegurl"
    );
    let playlist = answer.text();
    assert!(playlist.contains("#EXT-X-PLAYLIST-TYPE:VOD") && playlist.contains("#EXT-X-ENDLIST"));
    let names: Vec<&str> = playlist.lines().filter(|l| l.ends_with(".ts")).collect();
    assert_eq!(names.len(), 10);
    for i in [7, 2, 9, 0, 5, 1, 8, 3, 6, 4] {
        let bytes = app.file(&job, names[i]).await;
        assert!(bytes.len() % 188 == 0 && bytes[0] == 0x47, "{}", names[i]);
    }
    assert_eq!(
        app.get(&format!("/stream/{job}/segment_00010.ts"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let done = app
        .status_until(&job, Duration::from_secs(20), |s| s["status"] == "ready")
        .await;
    assert_eq!(done["progress"], 100.0);
    assert_eq!(
        app.delete(&format!("/api/transcode/{job}")).await.status,
        StatusCode::OK
    );
    assert_eq!(
        app.get(&format!("/api/transcode/{job}/status"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    app.stop().await;
}

/// Clients of the original wait for the end of streams by asking for their status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_only_asked_for_is_made_to_the_end() {
    let app = TestApp::with(|c| c.transcoding.buffer_ahead_seconds = 1).await;
    let source = clip(&app, "clip.mkv", 25);
    let job = app.stream(&source, json!({})).await;
    let done = app
        .status_until(&job, Duration::from_secs(60), |s| s["status"] == "ready")
        .await;
    assert_eq!(done["progress"], 100.0);
    app.stop().await;
}
