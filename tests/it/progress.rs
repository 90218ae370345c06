//! `/ws/progress` of a whole gateway, with a client over TCP.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::app::TestApp;
use crate::fake::FakeFfmpeg;
use crate::resilience::clip;

const LIMIT: Duration = Duration::from_secs(45);

pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn open(app: &TestApp) -> Socket {
        Socket::try_open(app, "/ws/progress").await.unwrap()
    }

    /// The status of the refusal, if it is one.
    pub(crate) async fn try_open(app: &TestApp, path: &str) -> Result<Socket, StatusCode> {
        let address = app.gateway.address();
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}{path}");
        match tokio_tungstenite::client_async(url, stream).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(LIMIT, self.0.next()).await;
        next.expect("something is said")?.ok()
    }

    pub(crate) async fn say(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Ping(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, job: &str) {
        let words = json!({"type": "subscribe", "job_ids": [job]});
        self.say(words.to_string()).await;
    }

    async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Message::Close(Some(f))) => return (f.code.into(), f.reason.to_string()),
                Some(Message::Text(_) | Message::Ping(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn status(event: &Value) -> Option<&str> {
    event["data"]["status"].as_str()
}

/// What a subscriber hears of a job until it has ended.
async fn life(socket: &mut Socket) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let event = socket.hear().await;
        let over = matches!(status(&event), Some("ready" | "error" | "cancelled"));
        events.push(event);
        if over {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_rises_to_a_hundred_and_late_subscribers_hear_the_end() {
    // Slow enough that there is something to follow.
    let fake = FakeFfmpeg::with("track=video slow=40000");
    let app = TestApp::with(|config| fake.use_in(config)).await;
    let source = clip(app.folder.path(), "clip.mkv", 10);
    let mut everybody = Socket::open(&app).await;
    let job = app.stream(&source, json!({"resolution": "360p"})).await;
    let mut socket = Socket::open(&app).await;
    socket.subscribe(&job).await;
    let first = socket.hear().await;
    assert_eq!(
        (first["job_id"].as_str(), status(&first)),
        (Some(&*job), Some("processing"))
    );
    let events = life(&mut socket).await;
    assert_eq!(status(events.last().unwrap()), Some("ready"));
    let numbers = |field: &str| -> Vec<f64> {
        let progress = events.iter().filter(|e| e["type"] == "progress");
        progress
            .map(|e| e["data"][field].as_f64().unwrap())
            .collect()
    };
    for field in ["progress", "frame", "time"] {
        assert!(numbers(field).is_sorted(), "{field}: {:?}", numbers(field));
    }
    let progress = numbers("progress");
    assert_eq!(progress.last(), Some(&100.0));
    let moving = progress.iter().filter(|p| **p > 0.0 && **p < 100.0).count();
    assert!(moving >= 2, "{progress:?}");
    assert!(numbers("frame").iter().any(|f| *f > 0.0));
    assert_eq!(
        status(&life(&mut everybody).await.pop().unwrap()),
        Some("ready")
    );

    let mut late = Socket::open(&app).await;
    late.subscribe(&job).await;
    assert_eq!(status(&late.hear().await), Some("ready"));
    let status = app.status(&job).await;
    assert!(
        status["completed_at"]
            .as_str()
            .is_some_and(|t| t.ends_with('Z'))
    );
    let stats = app.get("/api/stats").await.json();
    assert_eq!(stats["successful_jobs"], 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_ends_are_told_and_outlive_their_jobs() {
    let app = TestApp::start().await;
    std::fs::write(app.folder.path().join("text.mkv"), "no film").unwrap();
    let mut socket = Socket::open(&app).await;
    let bad = app.stream("text.mkv", json!({})).await;
    let events = life(&mut socket).await;
    let states: Vec<_> = events.iter().filter_map(status).collect();
    assert_eq!(states, ["processing", "error"]);

    let source = clip(app.folder.path(), "clip.mkv", 20);
    let deleted = app.stream(&source, json!({})).await;
    app.delete(&format!("/api/transcode/{deleted}")).await;
    let events = life(&mut socket).await;
    assert_eq!(status(events.last().unwrap()), Some("cancelled"));
    app.delete(&format!("/api/transcode/{bad}")).await;
    for (job, end) in [(deleted, "cancelled"), (bad, "error")] {
        let mut late = Socket::open(&app).await;
        late.subscribe(&job).await;
        assert_eq!(status(&late.hear().await), Some(end));
    }
    app.stop().await;
}

/// Nobody plays it, and it is longer than an encoder runs ahead of nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_end_is_awaited_is_made_to_the_end() {
    let app = TestApp::with(|config| {
        config.transcoding.buffer_ahead_seconds = 2;
        config.transcoding.idle_timeout_seconds = 1;
    })
    .await;
    let source = clip(app.folder.path(), "clip.mkv", 40);
    let job = app.stream(&source, json!({})).await;
    // Somebody plays it: asking how far it is means no more.
    app.file(&job, "segment_00000.ts").await;
    app.status_until(&job, LIMIT, |s| s["phase"] == "idle")
        .await;
    let mut socket = Socket::open(&app).await;
    socket.subscribe(&job).await;
    let events = life(&mut socket).await;
    assert_eq!(status(events.last().unwrap()), Some("ready"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_mean_nothing_do_no_harm() {
    let app = TestApp::start().await;
    let mut socket = Socket::open(&app).await;
    socket.say(vec![0u8, 159, 146, 150]).await;
    for odd in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{\"type\":7}",
        "{\"type\":\"dance\"}",
    ] {
        socket.say(odd).await;
    }
    for odd in [
        json!(null),
        json!("x"),
        json!({"a": 1}),
        json!([1, null, {}, "x"]),
    ] {
        let words = json!({"type": "subscribe", "job_ids": odd});
        socket.say(words.to_string()).await;
        socket
            .say(words.to_string().replacen("sub", "unsub", 1))
            .await;
    }
    let ids = |n: usize| -> Vec<String> {
        let id = |i| format!("00000000-0000-4000-8000-{i:012}");
        (0..n).map(id).collect()
    };
    socket
        .say(json!({"type": "subscribe", "job_ids": ids(12_000)}).to_string())
        .await;
    socket.say(json!({"type": "ping"}).to_string()).await;
    let mut told = Vec::new();
    loop {
        let event = socket.hear().await;
        if event["type"] == "pong" {
            assert!(event["ts"].is_f64());
            break;
        }
        told.push(event["data"]["error"].as_str().unwrap().to_owned());
    }
    let unknown = "none of these jobs is known";
    let cut = "only the first 10000 job ids of a message are read";
    assert_eq!(told, [unknown, unknown, cut]);
    socket.say("x".repeat(1 << 20)).await;
    assert_eq!(socket.closed().await.0, 1009);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_is_told_to_try_again() {
    let app = TestApp::with(|config| config.server.max_websocket_connections = 2).await;
    let (first, mut second) = (Socket::open(&app).await, Socket::open(&app).await);
    let mut third = Socket::open(&app).await;
    assert_eq!(third.closed().await.0, 1013);
    drop(first);
    let limit = tokio::time::Instant::now() + LIMIT;
    loop {
        let mut next = Socket::open(&app).await;
        next.say(json!({"type": "ping"}).to_string()).await;
        if matches!(next.next().await, Some(Message::Text(_))) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < limit,
            "no place was given back"
        );
    }
    let ((), farewell) = tokio::join!(app.stop(), second.closed());
    assert_eq!(farewell, (1000, "server_shutdown".into()));
}

/// As many as may listen, over TCP: everybody hears of every job how it begins and ends, and nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscribers_hear_every_change_of_state() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    std::fs::write(app.folder.path().join("text.mkv"), "no film").unwrap();
    let mut sockets = Vec::new();
    for _ in 0..1000 {
        let mut socket = Socket::open(&app).await;
        // It is there when it has been answered.
        socket.say(json!({"type": "ping"}).to_string()).await;
        assert_eq!(socket.hear().await["type"], "pong");
        sockets.push(socket);
    }
    let made = app.stream(&source, json!({})).await;
    let bad = app.stream("text.mkv", json!({})).await;
    let left = app.stream(&source, json!({"resolution": "360p"})).await;
    app.delete(&format!("/api/transcode/{left}")).await;
    let segments = app.file(&made, "master.m3u8").await;
    let segments = String::from_utf8(segments.to_vec()).unwrap();
    for name in segments.lines().filter(|l| l.ends_with(".ts")) {
        app.file(&made, name).await;
    }
    let wanted = [(&made, "ready"), (&bad, "error"), (&left, "cancelled")];
    for (nth, socket) in sockets.iter_mut().enumerate() {
        let mut heard: Vec<(String, String)> = Vec::new();
        while heard.len() < 2 * wanted.len() {
            let event = socket.hear().await;
            if let Some(status) = status(&event) {
                heard.push((event["job_id"].as_str().unwrap().into(), status.into()));
            }
        }
        for (job, end) in wanted {
            let of_job = heard.iter().filter(|(id, _)| id == job);
            let states: Vec<&str> = of_job.map(|(_, state)| state.as_str()).collect();
            assert_eq!(states, ["processing", end], "listener {nth}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_no_handshake_are_told_why() {
    let app = TestApp::start().await;
    let upgrade = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
    ];
    let version = ("sec-websocket-version", "13");
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let [up, to] = upgrade;
    let cases: [(&[(&str, &str)], u16); 6] = [
        (&[], 426),
        (&[up, to, key], 426),
        (&[up, to, key, ("sec-websocket-version", "8")], 426),
        (&[up, to, version], 400),
        (&[up, to, version, ("sec-websocket-key", "short")], 400),
        (&[version, key], 426),
    ];
    for (headers, status) in cases {
        let answer = app
            .request(Method::GET, "/ws/progress", headers, Default::default())
            .await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}");
        assert!(answer.json()["detail"].is_string());
    }
    let posted = app.post("/ws/progress", json!({})).await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_listed_by_the_names_they_give() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let mut socket = Socket::open(&app).await;
    socket
        .say(json!({"type": "identify", "client": "tv"}).to_string())
        .await;
    socket.say(json!({"type": "ping"}).to_string()).await;
    socket.hear().await;
    let headers = [("x-ghoststream-client", "phone")];
    app.request(Method::GET, "/api/health", &headers, Default::default())
        .await;
    let body = json!({"source": source, "client_name": "pi"});
    app.post("/api/transcode/start", body).await;
    let listed = app.get("/api/clients").await.json();
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            (
                c["transport"].as_str().unwrap(),
                c["client"].as_str().unwrap(),
            )
        })
        .collect();
    for client in [
        ("ws", "tv"),
        ("http", "phone"),
        ("http", "pi"),
        ("http", "127.0.0.1"),
    ] {
        assert!(names.contains(&client), "{client:?}: {names:?}");
    }
    app.stop().await;
}
