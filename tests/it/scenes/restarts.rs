//! Gateways that are killed at every stage, and many scenes for many workers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::film::{picture_times, small};
use super::worker::*;
use crate::app::Answer;

/// A gateway that can be killed; the next one has the same folder and port.
struct Victim {
    child: Child,
    port: u16,
    folder: PathBuf,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Victim {
    fn start(folder: &Path, port: u16) -> Victim {
        let config = json!({
            "server": {"host": "127.0.0.1", "port": port},
            "sources": {"roots": [folder]},
            "storage": {"directory": folder.join("data")},
            "transcoding": {"temp_directory": folder.join("cache")},
            "hardware": {"prefer_hw_accel": false},
            "local_engine": {"enabled": false},
            "grav1": {"encoder_versions": {"aom": VERSION}},
            "logging": {"level": "WARNING"},
        });
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let ready = folder.join("ready");
        let _ = std::fs::remove_file(&ready);
        #[expect(clippy::disallowed_methods, reason = "the gateway under test")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghoststream"));
        command
            .args(["--no-mdns", "--config"])
            .arg(folder.join("config.yaml"));
        command.arg("--ready-file").arg(&ready);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"));
        command.stdout(Stdio::null()).stderr(log.unwrap());
        let child = command.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !ready.exists() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap();
            assert!(Instant::now() < until, "it does not start: {}", log());
            std::thread::yield_now();
        }
        let url = std::fs::read_to_string(&ready).unwrap();
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Victim {
            child,
            port,
            folder: folder.to_owned(),
            http,
        }
    }

    fn killed(mut self) -> Victim {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Victim::start(&self.folder, self.port)
    }

    async fn ask(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", kind)
            .body(Full::new(body))
            .unwrap();
        let (parts, body) = self.http.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "text/plain", Bytes::new())
            .await
    }

    async fn project(&self, id: &str) -> Value {
        self.get(&format!("/api/get_project/{id}")).await.json()
    }

    async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let ask = async {
            loop {
                let now = self.project(id).await;
                if wanted(&now) {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(LIMIT, ask).await {
            Ok(project) => project,
            Err(_) => panic!("still {}", self.project(id).await),
        }
    }

    async fn job(&self) -> Option<Given> {
        let answer = self.get("/api/get_job/%5B%5D").await;
        if answer.status != StatusCode::OK {
            return None;
        }
        let text = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        Some(Given {
            project: text("projectid"),
            scene: text("scene"),
            id: text("id"),
            answer: answer.clone(),
        })
    }

    /// As a worker does: again a second later when the answer is none of the protocol's words.
    async fn deliver(&self, given: &Given, file: &[u8]) -> String {
        for _ in 0..9 {
            let word = self.deliver_once(given, file).await;
            if !word.contains("try again") {
                return word;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.deliver_once(given, file).await
    }

    async fn deliver_once(&self, given: &Given, file: &[u8]) -> String {
        let fields = fields(given, Generation::Third);
        let borrowed: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let body = form(&borrowed, "00000.ivf", file);
        let kind = "multipart/form-data; boundary=0123456789abcdef0123456789abcdef";
        self.ask(Method::POST, "/finish_job", kind, body)
            .await
            .text()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_survives_kills_at_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("long.mkv");
    // 130 scenes: more than two groups of cuts.
    small(&source, 130, 6);
    let mut gateway = Victim::start(folder.path(), 0);
    let body = json!({"input": ["long.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "p",
        "min_frames": 6, "max_frames": 6, "priority": 0.25, "on_complete": "merge"});
    let added = gateway
        .ask(
            Method::POST,
            "/api/add_project",
            "application/json",
            body.to_string().into(),
        )
        .await;
    assert_eq!(added.json()["success"], true, "{}", added.text());
    // While it looks for scenes.
    gateway = gateway.killed();
    // In mid split: some segments are there, not all.
    let splitting = gateway.until("p", |p| {
        p["step"]["scenes"].as_u64().is_some_and(|n| n > 0) || p["status"] == "ready"
    });
    let splitting = splitting.await;
    gateway = gateway.killed();
    eprintln!("killed at {} {}", splitting["status"], splitting["step"]);
    let ready = gateway
        .until("p", |p| p["status"] == "ready" || p["status"] == "failed")
        .await;
    assert_eq!(
        (&ready["status"], &ready["total_jobs"]),
        (&json!("ready"), &json!(130)),
        "{}",
        ready["reason"]
    );
    assert_eq!(ready["priority"], 0.25);
    // One encode fits all: every scene has six pictures.
    let first = gateway.job().await.unwrap();
    let file = encode(&first, folder.path());
    assert_eq!(gateway.deliver(&first, &file).await, "saved");
    let held = gateway.job().await.unwrap();
    gateway = gateway.killed();
    // What was saved is saved; holders are not kept, but a late upload is taken.
    let after = gateway.project("p").await;
    assert_eq!(
        (&after["jobs"], &after["workers"]),
        (&json!(129), &json!([]))
    );
    assert_eq!(gateway.deliver(&held, &file).await, "saved");
    let mut done = 2;
    while let Some(given) = gateway.job().await {
        assert_eq!(gateway.deliver(&given, &file).await, "saved");
        done += 1;
        if done == 60 {
            gateway = gateway.killed();
        }
    }
    // While it joins, or right after.
    gateway = gateway.killed();
    let complete = gateway
        .until("p", |p| {
            p["status"] == "complete" || p["status"] == "failed"
        })
        .await;
    assert_eq!(complete["status"], "complete", "{}", complete["reason"]);
    let made = folder.path().join("made.mkv");
    std::fs::write(&made, gateway.get("/completed/p").await.body).unwrap();
    assert_eq!(picture_times(&made).len(), 780);
    gateway = gateway.killed();
    assert_eq!(gateway.project("p").await["status"], "complete");
    assert_eq!(gateway.get("/completed/p").await.status, StatusCode::OK);
}

/// Scenes of the farm: `GHOSTSTREAM_TEST_SCENES`, else few enough for every day.
fn scenes_of_the_farm() -> u32 {
    let asked = std::env::var("GHOSTSTREAM_TEST_SCENES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(150)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scene_is_accepted_once_however_many_workers_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let count = scenes_of_the_farm();
    small(&folder.path().join("farm.mkv"), count, 2);
    let gateway = Victim::start(folder.path(), 0);
    let body = json!({"input": ["farm.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "farm",
        "min_frames": 2, "max_frames": 2});
    gateway
        .ask(
            Method::POST,
            "/api/add_project",
            "application/json",
            body.to_string().into(),
        )
        .await;
    let began = Instant::now();
    gateway.until("farm", |p| p["status"] == "ready").await;
    eprintln!(
        "{count} scenes are cut in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let first = gateway.job().await.unwrap();
    let file = Bytes::from(encode(&first, folder.path()));
    let gateway = std::sync::Arc::new(gateway);
    let began = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..50 {
        let (gateway, file) = (gateway.clone(), file.clone());
        workers.spawn(async move {
            let mut waits = Vec::new();
            let mut delivered = 0;
            loop {
                let asked = Instant::now();
                let Some(given) = gateway.job().await else {
                    break;
                };
                waits.push(asked.elapsed());
                assert_eq!(gateway.deliver(&given, &file).await, "saved");
                delivered += 1;
            }
            (waits, delivered)
        });
    }
    let results = workers.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    let mut waits: Vec<Duration> = results.iter().flat_map(|r| r.0.clone()).collect();
    waits.sort();
    let delivered: u32 = results.iter().map(|r| r.1).sum();
    let median = waits[waits.len() / 2];
    eprintln!(
        "{count} scenes, {delivered} deliveries in {seconds:.1} s; get_job median {median:?} with 50 askers"
    );
    let complete = gateway
        .until("farm", |p| {
            p["status"] == "complete" || p["status"] == "failed"
        })
        .await;
    assert_eq!(complete["status"], "complete", "{}", complete["reason"]);
    let jobs = gateway
        .get("/api/v2/jobs?kind=scene&state=done&limit=500")
        .await
        .json();
    let done = jobs["jobs"].as_array().unwrap();
    assert_eq!(done.len() as u32, count.min(500));
    // Exactly one encode of each is kept.
    let artifacts = folder.path().join("data/artifacts");
    let encodes = std::fs::read_dir(&artifacts).unwrap().flat_map(|f| {
        let files = std::fs::read_dir(f.unwrap().path()).unwrap();
        files
            .map(|f| f.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "ivf"))
            .collect::<Vec<_>>()
    });
    assert_eq!(encodes.count() as u32, count);
    assert!(delivered >= count);
    // An idle gateway, asked by one worker.
    let mut alone: Vec<Duration> = Vec::new();
    for _ in 0..50 {
        let asked = Instant::now();
        assert!(gateway.job().await.is_none());
        alone.push(asked.elapsed());
    }
    alone.sort();
    eprintln!("get_job of one asker: median {:?}", alone[25]);
}
