//! What is wrong with a request is told exactly, and the gateway goes on as before.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{Answer, TestApp};
use crate::file_server::{FileServer, Spoilt};
use crate::progress::Socket;
use crate::resilience::clip;

const SOON: Duration = Duration::from_secs(60);

async fn start(app: &TestApp, body: Value) -> Answer {
    app.post("/api/transcode/start", body).await
}

/// Refused fields are told as the original tells them.
fn told(kind: &str, place: &[&str], text: &str, input: Value) -> Value {
    let mut told = json!({"type": kind, "loc": place, "msg": text, "input": input});
    if kind == "enum" {
        told["ctx"] = json!({"expected": text.trim_start_matches("Input should be ")});
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_field_is_told_exactly() {
    let app = TestApp::start().await;
    clip(app.folder.path(), "clip.mkv", 4);
    let output = |field: &str, value: &str| json!({"source": "clip.mkv", "output": {field: value}});
    let names = |place: &[&str], text: &str, input: &str| told("enum", place, text, json!(input));
    let cases = [
        (
            json!({}),
            told(
                "missing",
                &["body", "source"],
                "Field required",
                json!(null),
            ),
        ),
        (
            json!({"source": "clip.mkv", "mode": "fast"}),
            names(
                &["body", "mode"],
                "Input should be 'stream', 'abr' or 'batch'",
                "fast",
            ),
        ),
        (
            output("video_codec", "mpeg2"),
            names(
                &["body", "output", "video_codec"],
                "Input should be 'h264', 'h265', 'vp9', 'av1', 'copy' or 'auto'",
                "mpeg2",
            ),
        ),
        (
            output("audio_codec", "dts"),
            names(
                &["body", "output", "audio_codec"],
                "Input should be 'aac', 'opus', 'mp3', 'flac', 'ac3', 'copy' or 'auto'",
                "dts",
            ),
        ),
        (
            output("format", "avi"),
            names(
                &["body", "output", "format"],
                "Input should be 'hls', 'dash', 'mp4', 'webm' or 'mkv'",
                "avi",
            ),
        ),
        (
            output("resolution", "8k"),
            names(
                &["body", "output", "resolution"],
                "Input should be '360p', '480p', '720p', '1080p', '1440p', '4k' or 'original'",
                "8k",
            ),
        ),
        (
            output("bitrate", "lots"),
            told(
                "value_error",
                &["body", "output", "bitrate"],
                "Value error, 'lots' is not a bitrate",
                json!("lots"),
            ),
        ),
        (
            json!({"source": "clip.mkv", "start_time": -1}),
            told(
                "greater_than_equal",
                &["body", "start_time"],
                "Input should be greater than or equal to 0",
                json!(-1.0),
            ),
        ),
        (
            json!([{"source": "clip.mkv"}]),
            told(
                "model_attributes_type",
                &["body"],
                "Input should be a valid dictionary or object to extract fields from",
                json!(null),
            ),
        ),
    ];
    for (body, wanted) in cases {
        let answer = start(&app, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.json(), json!({"detail": [wanted]}), "{body}");
    }
    for (source, status, text) in [
        ("", 400, "Source URL is required"),
        ("nothing.mkv", 404, "no such file under sources.roots"),
        (
            "ftp://h/film.mkv",
            400,
            "scheme 'ftp' is not served; use http, https, rtmp, rtsp, srt or a file under sources.roots",
        ),
    ] {
        for mode in ["stream", "abr", "batch"] {
            let answer = start(&app, json!({"source": source, "mode": mode})).await;
            assert_eq!(answer.status.as_u16(), status, "{source} {mode}");
            assert_eq!(answer.json(), json!({"detail": text}), "{source} {mode}");
        }
    }
    let health = app.get("/api/health").await;
    assert_eq!(health.json()["current_jobs"], 0, "{}", health.text());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_beyond_the_end_is_the_jobs_error() {
    let app = TestApp::start().await;
    clip(app.folder.path(), "clip.mkv", 4);
    for mode in ["stream", "abr", "batch"] {
        let body = json!({"source": "clip.mkv", "mode": mode, "start_time": 4000.5});
        let answer = start(&app, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{mode}: {}", answer.text());
        let job = answer.json()["job_id"].as_str().unwrap().to_owned();
        let failed = |s: &Value| s["status"] == "error";
        let status = app.status_until(&job, SOON, failed).await;
        let text = status["error_message"].as_str().unwrap();
        let told = "start_time 4000.500 s is not before the end of the source at 4.0";
        assert!(text.starts_with(told), "{mode}: {text}");
    }
    app.stop().await;
}

/// A body that is far too large is refused while it is sent, and its sender hears so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_are_refused_and_nothing_else_suffers() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let large = json!({"source": "x".repeat(10 << 20)}).to_string();
    let headers = [("content-type", "application/json")];
    let text = "the request's body is larger than 1048576 bytes";
    for _ in 0..3 {
        let path = "/api/transcode/start";
        let body = Bytes::from(large.clone());
        let answer = app.request(Method::POST, path, &headers, body).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.json(), json!({"detail": text}));
    }
    let job = app.stream(&source, json!({})).await;
    app.file(&job, "segment_00000.ts").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subtitles_that_cannot_be_reached_are_left_out_and_told() {
    let app = TestApp::start().await;
    clip(app.folder.path(), "clip.mkv", 4);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let server = FileServer::start(app.folder.path()).await;
    server.spoil(Spoilt::Reset, usize::MAX);
    let urls = [
        format!("http://127.0.0.1:{port}/s.vtt"),
        "http://no-such-host.invalid/s.vtt".to_owned(),
        server.url("/file/clip.mkv"),
    ];
    let subtitles: Vec<Value> = urls
        .iter()
        .enumerate()
        .map(|(nth, url)| json!({"url": url, "label": format!("Text {nth}")}))
        .collect();
    let answer = start(&app, json!({"source": "clip.mkv", "subtitles": subtitles})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let job = answer.json()["job_id"].as_str().unwrap().to_owned();
    // Without them it is a plain stream, and plays.
    app.file(&job, "segment_00000.ts").await;
    let list = app.file(&job, "master.m3u8").await;
    assert!(!String::from_utf8_lossy(&list).contains("SUBTITLES"));
    let status = app.status(&job).await;
    for (nth, why) in [
        (0, "refuses the connection"),
        (1, "is not known"),
        (2, "closed"),
    ] {
        let begins = format!("subtitles 'Text {nth}' are left out: ");
        let warnings = status["warnings"].as_array().unwrap().iter();
        let own: Vec<_> = warnings
            .filter_map(Value::as_str)
            .filter(|w| w.starts_with(&begins) && w.contains(why))
            .collect();
        assert_eq!(own.len(), 1, "{status}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_ids_are_read_to_the_last() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let job = app.stream(&source, json!({})).await;
    let id = |i| format!("00000000-0000-4000-8000-{i:012}");
    let mut ids: Vec<String> = (1..10_000).map(id).collect();
    ids.push(job.clone());
    let mut socket = Socket::open(&app).await;
    let words = json!({"type": "subscribe", "job_ids": ids});
    socket.say(words.to_string()).await;
    loop {
        let event = socket.hear().await;
        assert_ne!(event["type"], "error", "{event}");
        assert_eq!(event["job_id"], job.as_str(), "{event}");
        if event["data"]["status"] == "ready" {
            break;
        }
    }
    app.stop().await;
}

/// What comes on a socket after its handshake, until it is closed.
async fn answer_to(app: &TestApp, frame: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(app.gateway.address()).await.unwrap();
    let head = "GET /ws/progress HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\n") {
        all.push(socket.read_u8().await.unwrap());
    }
    assert!(all.starts_with(b"HTTP/1.1 101"));
    socket.write_all(frame).await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, socket.read_to_end(&mut rest)).await;
    // A reset is an end too.
    let _ = read.expect("the connection is closed");
    rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_none_close_their_connection_with_a_reason() {
    let app = TestApp::start().await;
    let mask = [0; 4];
    let masked = |first: u8, payload: &[u8]| {
        let head = [first, 0x80 | payload.len() as u8];
        [&head[..], &mask, payload].concat()
    };
    // Whoever listens beside them hears nothing of it.
    let mut other = Socket::open(&app).await;
    for (frame, code, what) in [
        (masked(0xC1, b"{}"), 1002, "a reserved bit"),
        (masked(0x83, b"{}"), 1002, "an unknown kind"),
        (vec![0x81, 2, b'{', b'}'], 1002, "no mask"),
        (masked(0x09, b"x"), 1002, "a ping in parts"),
        (masked(0x81, b"\xff\xfe"), 1007, "no UTF-8"),
    ] {
        let answer = answer_to(&app, &frame).await;
        // A close frame of the server, with its code.
        assert_eq!(answer.first(), Some(&0x88), "{what}: {answer:?}");
        let told = u16::from_be_bytes([answer[2], answer[3]]);
        assert_eq!(told, code, "{what}");
    }
    other.say(json!({"type": "ping"}).to_string()).await;
    assert_eq!(other.hear().await["type"], "pong");
    app.stop().await;
}
