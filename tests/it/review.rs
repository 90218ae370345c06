//! What only shows when several things meet: stops with bodies under way, more streams than
//! encoders, a cache that holds next to nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use ghoststream::config::ByteSize;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::TestApp;
use crate::fake::{FakeFfmpeg, folder_bytes};
use crate::resilience::clip;

/// A request whose answer has begun and is not read any further.
async fn begun(app: &TestApp, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(app.gateway.address()).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    socket.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    socket
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name();
    entries
        .map(|e| name(e).to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_breaks_bodies_off_and_deletes_the_cache() {
    let fake = FakeFfmpeg::with("track=video slow=4000");
    let app = TestApp::with(|config| fake.use_in(config)).await;
    let source = clip(app.folder.path(), "clip.mkv", 20);
    let job = app.stream(&source, json!({})).await;
    app.file(&job, "segment_00000.ts").await;
    let mut body = begun(&app, &format!("/stream/{job}/segment_00001.ts")).await;
    let TestApp {
        gateway, folder, ..
    } = app;
    let began = Instant::now();
    gateway.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
    assert_eq!(entries(&folder.path().join("cache")), [""; 0]);
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(2), body.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection is closed");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the body looks whole");
    assert!(fake.alive().is_empty());
}

/// Streams that are far enough ahead of their players leave the encoders to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_encoders_do_not_keep_others_waiting() {
    let app = TestApp::with(|config| {
        config.transcoding.max_concurrent_jobs = 1;
        config.transcoding.max_heads_per_session = 2;
        config.transcoding.buffer_ahead_seconds = 5;
    })
    .await;
    let source = clip(app.folder.path(), "clip.mkv", 60);
    let limit = Duration::from_secs(15);
    let first = app.stream(&source, json!({})).await;
    app.file(&first, "segment_00000.ts").await;
    app.status_until(&first, limit, |s| s["phase"] == "paused")
        .await;
    let second = app.stream(&source, json!({"resolution": "480p"})).await;
    let path = format!("/stream/{second}/segment_00003.ts");
    let answer = tokio::time::timeout(limit, app.get(&path)).await;
    assert_eq!(answer.expect("it is served").status, StatusCode::OK);
    // And the first goes on where it was.
    let path = format!("/stream/{first}/segment_00009.ts");
    let answer = tokio::time::timeout(limit, app.get(&path)).await;
    assert_eq!(answer.expect("it is served").status, StatusCode::OK);
    app.stop().await;
}

/// A cache smaller than what is made at one time: everything is served all the same, and a stream
/// of which everything was made once is ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_holds_little_serves_everything() {
    let app = TestApp::with(|config| {
        config.transcoding.cache_max_bytes = ByteSize::mib(1);
        config.transcoding.segment_duration = 2;
    })
    .await;
    let source = clip(app.folder.path(), "clip.mkv", 24);
    let output = json!({"bitrate": "2M"});
    let job = app.stream(&source, output).await;
    let playlist = app.file(&job, "master.m3u8").await;
    let playlist = String::from_utf8(playlist.to_vec()).unwrap();
    let names: Vec<&str> = playlist.lines().filter(|l| l.ends_with(".ts")).collect();
    let all = futures_util::future::join_all(names.iter().map(|name| app.file(&job, name))).await;
    assert!(all.iter().all(|bytes| bytes.len() % 188 == 0));
    for name in names.iter().rev() {
        app.file(&job, name).await;
    }
    assert!(folder_bytes(&app.folder.path().join("cache")) <= 1 << 20);
    app.status_until(&job, Duration::from_secs(5), |s| s["status"] == "ready")
        .await;
    app.stop().await;
}

/// A flood of requests neither starts a flood of processes nor fills the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_jobs_is_turned_away_in_time() {
    // A server that takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = silent.local_addr().unwrap();
    let app = TestApp::start().await;
    let mut refused = 0;
    for i in 0..300 {
        let source = format!("http://{place}/film{i}.mkv");
        let answer = app.post("/api/transcode/start", json!({"source": source}));
        let answer = answer.await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(answer.headers.contains_key("retry-after"));
            refused += 1;
        } else {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
    }
    assert!(refused > 0 && refused <= 44, "{refused}");
    app.stop().await;
}
