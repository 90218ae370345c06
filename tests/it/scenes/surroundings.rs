//! Scenes that begin and end between key frames: what our own engines encode is not stored anew for them.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::film::{film, is_the_film};
use super::worker::*;
use crate::app::{TestApp, ffmpeg};

/// The film with key frames only where none of its scenes begins but the first.
fn film_of_few_keys(folder: &Path) -> PathBuf {
    let (usual, path) = (film(folder, "usual.mkv"), folder.join("few.mkv"));
    ffmpeg(&[
        "-i",
        usual.to_str().unwrap(),
        "-map",
        "0",
        "-c",
        "copy",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "12",
        "-sc_threshold",
        "0",
        "-g",
        "100",
        "-bf",
        "3",
        path.to_str().unwrap(),
    ]);
    path
}

/// Files of segments below `folder` whose names end with `ending`.
fn segments(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(segments(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenes_between_key_frames_need_no_copies_of_their_own() {
    let app = TestApp::with(|c| c.local_engine.patience_seconds = 0).await;
    let source = film_of_few_keys(app.folder.path());
    let body = json!({"input": ["few.mkv"], "encoder": "x264", "id": "few", "max_frames": 100,
        "encoder_params": "--preset ultrafast --crf 20 --bframes 3"});
    add(&app, body).await;
    until_status(&app, "few", "complete").await;
    let artifacts = app.folder.path().join("data");
    // 72..144 begins and ends between the key frames 0, 100, 200; so do the others, at one end at least.
    assert_eq!(segments(&artifacts, ".around.mkv").len(), 4);
    is_the_film(&completed(&app, "few").await, &source, 0.9);
    // Measured against the right pictures, behind the same ones.
    let body = json!({"input": ["few.mkv"], "encoder": "x264", "encoder_params": "--preset ultrafast",
        "id": "good", "max_frames": 100, "quality": {"ssim": 0.95}});
    add(&app, body).await;
    let done = until_status(&app, "good", "complete").await;
    for (name, scene) in done["scenes"].as_object().unwrap() {
        let value = scene["quality"]["value"].as_f64().unwrap();
        assert!(value >= 0.945, "{name}: {scene}");
    }
    is_the_film(&completed(&app, "good").await, &source, 0.9);
    // Workers elsewhere know nothing of surroundings.
    let body = json!({"input": ["few.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "theirs",
        "max_frames": 100});
    let before = segments(&artifacts, ".around.mkv").len();
    add(&app, body).await;
    until(&app, "theirs", |p| {
        p["status"] != "starting" && p["status"] != "splitting"
    })
    .await;
    until(&app, "theirs", |p| p["status"] == "ready" || p["jobs"] == 0).await;
    assert_eq!(segments(&artifacts, ".around.mkv").len(), before);
    app.stop().await;
}

/// What a copy holds is only known when it is decoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_does_not_hold_its_scene_is_replaced() {
    let idle = TestApp::with(|c| c.local_engine.enabled = false).await;
    let source = film_of_few_keys(idle.folder.path());
    let body = json!({"input": ["few.mkv"], "encoder": "x264", "id": "few", "max_frames": 100,
        "encoder_params": "--preset ultrafast --crf 20"});
    add(&idle, body).await;
    until_status(&idle, "few", "ready").await;
    let (gateway, folder) = idle.apart();
    gateway.stop().await;
    let copies = segments(&folder.path().join("data"), "00001.around.mkv");
    let short = folder.path().join("short.mkv");
    ffmpeg(&[
        "-i",
        copies[0].to_str().unwrap(),
        "-c",
        "copy",
        "-frames:v",
        "100",
        short.to_str().unwrap(),
    ]);
    std::fs::copy(short, &copies[0]).unwrap();
    let app = TestApp::within(folder, |c| {
        c.local_engine.patience_seconds = 0;
        c.grav1.max_attempts = 2;
    })
    .await;
    until_status(&app, "few", "complete").await;
    let data = app.folder.path().join("data");
    assert!(segments(&data, "00001.around.mkv").is_empty());
    assert_eq!(segments(&data, "00001.mkv").len(), 1);
    is_the_film(&completed(&app, "few").await, &source, 0.9);
    app.stop().await;
}

/// A gateway that was killed between taking a scene out of the queue and putting it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scene_that_is_missing_in_the_queue_is_queued_again() {
    let idle = TestApp::with(|c| c.local_engine.enabled = false).await;
    let source = film_of_few_keys(idle.folder.path());
    let body = json!({"input": ["few.mkv"], "encoder": "x264", "id": "few", "max_frames": 100,
        "encoder_params": "--preset ultrafast --crf 20"});
    add(&idle, body).await;
    until_status(&idle, "few", "ready").await;
    let (gateway, folder) = idle.apart();
    gateway.stop().await;
    let database = folder.path().join("data/ghoststream.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let gone = sqlx::query("DELETE FROM jobs WHERE id LIKE '%-00001'");
    assert_eq!(gone.execute(&pool).await.unwrap().rows_affected(), 1);
    pool.close().await;
    let app = TestApp::within(folder, |c| c.local_engine.patience_seconds = 0).await;
    until_status(&app, "few", "complete").await;
    is_the_film(&completed(&app, "few").await, &source, 0.9);
    app.stop().await;
}
