//! What the page asks beside the protocols: the map of a stream, events, the queue, the configuration.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::TestApp;
use crate::resilience::clip;

/// Queues a job that nobody does.
async fn queue(app: &TestApp) -> String {
    let body = json!({"source_url": "http://h/v.mp4", "target_codec": "h264"});
    let answer = app.post("/jobs/", body).await;
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

async fn idle() -> TestApp {
    TestApp::with(|config| config.local_engine.enabled = false).await
}

/// The events of a gateway, one connection.
struct Events {
    socket: TcpStream,
    read: String,
}

impl Events {
    async fn open(app: &TestApp) -> Events {
        let address = app.gateway.url().trim_start_matches("http://").to_owned();
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let head = format!("GET /api/v2/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        Events {
            socket,
            read: String::new(),
        }
    }

    /// Waits for an event `name` for which `wanted` holds.
    async fn wait(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let find = async {
            loop {
                while let Some(end) = self.read.find("\n\n") {
                    let event: String = self.read.drain(..end + 2).collect();
                    let line = |field| event.lines().find_map(|l| l.strip_prefix(field));
                    if line("event: ") == Some(name) {
                        let data = serde_json::from_str(line("data: ").unwrap()).unwrap();
                        if wanted(&data) {
                            return data;
                        }
                    }
                }
                let mut bytes = [0; 4096];
                let n = self.socket.read(&mut bytes).await.unwrap();
                assert!(n > 0, "the events ended: {}", self.read);
                self.read.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), find).await;
        found.unwrap_or_else(|_| panic!("no event {name}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_map_of_a_stream_fills_up() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "film.mkv", 12);
    let id = app.stream(&source, json!({})).await;
    let mut events = Events::open(&app).await;
    let of_this = |told: &Value| told["streams"][0]["job_id"] == json!(id);
    events.wait("streams", of_this).await;
    // Plays all of it, so that all of it is made.
    let playlist = String::from_utf8(app.file(&id, "master.m3u8").await.to_vec()).unwrap();
    for name in playlist.lines().filter(|l| l.ends_with(".ts")) {
        app.file(&id, name).await;
    }
    let ready = |s: &Value| s["status"] == "ready";
    app.status_until(&id, Duration::from_secs(30), ready).await;
    let told = app.get(&format!("/api/v2/streams/{id}")).await.json();
    assert_eq!(
        (&told["job_id"], &told["state"]),
        (&json!(id), &json!("ready"))
    );
    let map = &told["map"];
    assert_eq!(map["duration"], 12.0);
    assert_eq!(map["open_ended"], false);
    let tracks = map["tracks"].as_array().unwrap();
    let ids: Vec<_> = tracks.iter().map(|t| t["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["video0", "audio0"]);
    for track in tracks {
        assert_eq!(track["ready"], json!([[0.0, 12.0]]), "{track}");
        assert_eq!(track["ready_segments"], map["segments"], "{track}");
    }
    assert_eq!(tracks[0]["encoder"], "libx264");
    assert_eq!(tracks[1]["encoder"], "aac");
    let list = app.get("/api/v2/streams").await.json();
    assert_eq!(list["streams"][0]["job_id"], json!(id));
    events
        .wait("streams", |told| told["streams"][0]["state"] == "ready")
        .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_stream_has_no_map() {
    let app = idle().await;
    for id in ["00000000-0000-4000-8000-000000000000", "x", "..%2f.."] {
        let answer = app.get(&format!("/api/v2/streams/{id}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
    }
    // A source that is not there has no map either, but a reason.
    let id = app.stream("http://127.0.0.1:9/none.mp4", json!({})).await;
    let failed = |s: &Value| s["status"] == "error";
    app.status_until(&id, Duration::from_secs(60), failed).await;
    let told = app.get(&format!("/api/v2/streams/{id}")).await.json();
    assert_eq!(told["map"], Value::Null);
    assert!(told["error"].is_string(), "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_told_of_as_they_change() {
    let app = idle().await;
    let mut events = Events::open(&app).await;
    events.wait("streams", |_| true).await;
    let id = queue(&app).await;
    let with = |state: &'static str| {
        let id = id.clone();
        move |told: &Value| {
            let jobs = told["jobs"].as_array().unwrap();
            jobs.iter()
                .any(|j| j["id"] == json!(id) && j["state"] == state)
        }
    };
    events.wait("jobs", with("ready")).await;
    let cancel = format!("/api/v2/jobs/{id}/cancel");
    assert_eq!(app.post(&cancel, json!({})).await.status, StatusCode::OK);
    events.wait("jobs", with("cancelled")).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_higher_priority_is_done_first() {
    let app = idle().await;
    let (first, second) = (queue(&app).await, queue(&app).await);
    let path = format!("/api/v2/jobs/{second}/priority");
    for bad in [
        json!({}),
        json!({"priority": "high"}),
        json!({"priority": 1e12}),
    ] {
        let answer = app.post(&path, bad.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(answer.text().contains("priority"), "{}", answer.text());
    }
    let answer = app.post(&path, json!({"priority": 5})).await;
    assert_eq!(answer.json()["priority"], 5);
    let claim = json!({"kinds": ["transcode"], "wait_seconds": 5});
    for id in [&second, &first] {
        let claimed = app.post("/api/v2/engines/e/claim", claim.clone()).await;
        assert_eq!(claimed.json()["job_id"], json!(id));
    }
    let unknown = app.post("/api/v2/jobs/none/priority", json!({"priority": 5}));
    assert_eq!(unknown.await.status, StatusCode::NOT_FOUND);
    app.post(&format!("/api/v2/jobs/{first}/cancel"), json!({}))
        .await;
    let late = format!("/api/v2/jobs/{first}/priority");
    let late = app.post(&late, json!({"priority": 5})).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.text());
    let counts = app.get("/api/v2/queue").await.json();
    let expected = json!({"counts": [
        {"kind": "transcode", "state": "cancelled", "jobs": 1},
        {"kind": "transcode", "state": "leased", "jobs": 1},
    ]});
    assert_eq!(counts, expected);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_told_without_its_secrets() {
    let app = TestApp::with(|config| {
        config.security.api_key = Some("open-sesame".into());
        config.security.callback_secret = Some("open-sesame-too".into());
    })
    .await;
    let path = "/api/v2/config";
    assert_eq!(app.get(path).await.status, StatusCode::UNAUTHORIZED);
    let key = [("x-api-key", "open-sesame")];
    let told = app
        .request(Method::GET, path, &key, Default::default())
        .await;
    assert!(!told.text().contains("open-sesame"), "{}", told.text());
    let told = told.json();
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    // It listens to its own machine only.
    assert_eq!(told["url"], Value::Null);
    let settings = told["settings"].as_array().unwrap();
    let find = |key: &str| settings.iter().find(|s| s["key"] == key).unwrap();
    let secret = find("security.api_key");
    assert_eq!(
        (&secret["is_set"], &secret["value"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(find("server.host")["value"], "127.0.0.1");
    assert_eq!(find("transcoding.segment_duration")["origin"], "default");
    app.stop().await;
}

#[tokio::test]
async fn the_parts_of_the_program_are_told_with_their_licences() {
    let app = TestApp::start().await;
    let told = app.get("/api/v2/licenses").await.json();
    let parts = told["parts"].as_array().unwrap();
    let of = |name: &str| parts.iter().find(|p| p["name"] == name).unwrap();
    for (name, license) in [
        ("hyper", "MIT"),
        ("preact", "MIT"),
        ("hls.js", "Apache-2.0"),
    ] {
        assert_eq!(of(name)["license"], license);
    }
    for part in parts {
        let filled = |field: &str| part[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(
            ["name", "version", "license"].into_iter().all(filled),
            "{part}"
        );
    }
    app.stop().await;
}
