//! The program itself: how it ends, what it leaves, what it holds on to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::*;
use crate::fake::{eventually, suspended};

/// A gateway that is a process of its own.
struct GatewayProcess {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl GatewayProcess {
    fn start(fake: &FakeFfmpeg, folder: tempfile::TempDir) -> GatewayProcess {
        let config = json!({
            "server": {"host": "127.0.0.1", "port": 0},
            "sources": {"roots": [folder.path()]},
            "storage": {"directory": folder.path().join("data")},
            "transcoding": {
                "ffmpeg_path": fake.path(),
                "temp_directory": folder.path().join("cache"),
                "buffer_ahead_seconds": 3600,
            },
        });
        // JSON is YAML.
        std::fs::write(folder.path().join("config.yaml"), config.to_string()).unwrap();
        let ready = folder.path().join("ready");
        let _ = std::fs::remove_file(&ready);
        #[expect(clippy::disallowed_methods, reason = "the test's gateway")]
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ghoststream"));
        command
            .arg("--config")
            .arg(folder.path().join("config.yaml"));
        command.arg("--ready-file").arg(&ready).arg("--no-mdns");
        command.stdout(std::process::Stdio::null());
        command.stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        let child = command.spawn().unwrap();
        let until = Instant::now() + SOON;
        while !ready.exists() {
            assert!(Instant::now() < until, "it does not start");
            std::thread::yield_now();
        }
        let url = std::fs::read_to_string(ready).unwrap();
        GatewayProcess { child, url, folder }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        eventually(limit, "the gateway runs", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Vec<u8>) {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap();
        (status.parse().unwrap(), answer[end + 4..].to_vec())
    }

    fn stream(&self, source: &str) -> String {
        let body = json!({"source": source, "output": {}}).to_string();
        let (status, answer) = self.ask(Method::POST, "/api/transcode/start", &body);
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["job_id"].as_str().unwrap().to_owned()
    }

    /// A connection that asks for a segment so often that the system's buffers cannot hold the
    /// answers, and reads none.
    fn stuck(&self, job: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        let head = format!("GET /stream/{job}/segment_00000.ts HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(head.repeat(500).as_bytes()).unwrap();
        socket
    }

    /// A connection that asks for a segment and does not read the answer.
    fn unread(&self, job: &str, segment: u32) -> TcpStream {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        let head = format!("GET /stream/{job}/segment_{segment:05}.ts HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        socket
    }

    fn caches(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        let paths = entries.map(|e| e.unwrap().path());
        let is_cache = |p: &PathBuf| {
            p.file_name()
                .unwrap()
                .as_encoded_bytes()
                .starts_with(b"segments-")
        };
        paths.filter(is_cache).collect()
    }

    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).unwrap().count()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder_with_clip(seconds: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    clip(folder.path(), "clip.mkv", seconds);
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_it_in_order() {
    for (signal, rules) in [
        (Signal::SIGTERM, ""),
        (Signal::SIGINT, "track=video deaf=20000\n"),
    ] {
        let fake = FakeFfmpeg::with(rules);
        let mut gateway = GatewayProcess::start(&fake, folder_with_clip(240));
        let job = gateway.stream("clip.mkv");
        let (status, _) = gateway.ask(Method::GET, &format!("/stream/{job}/segment_00000.ts"), "");
        assert_eq!(status, StatusCode::OK);
        let unread = [gateway.stuck(&job), gateway.unread(&job, 100)];
        eventually(SOON, "no encoder", || fake.alive().len() >= 2).await;
        assert_eq!(gateway.caches().len(), 1);
        // Time for the answers to fill every buffer on their way.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let began = Instant::now();
        gateway.signal(signal);
        let status = gateway.ended(Duration::from_secs(7)).await;
        assert_eq!(
            status.code(),
            Some(0),
            "{signal} after {:?}",
            began.elapsed()
        );
        assert_eq!(fake.alive(), [], "{signal}");
        assert_eq!(gateway.caches(), Vec::<PathBuf>::new(), "{signal}");
        let log = std::fs::read_to_string(gateway.folder.path().join("log")).unwrap();
        assert!(log.contains("broken off"), "no connection was open: {log}");
        drop(unread);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_work_it_ends_at_once() {
    let fake = FakeFfmpeg::new();
    let mut gateway = GatewayProcess::start(&fake, folder_with_clip(4));
    let silent = TcpStream::connect(gateway.address()).unwrap();
    gateway.ask(Method::GET, "/healthz", "");
    gateway.signal(Signal::SIGTERM);
    let status = gateway.ended(Duration::from_secs(2)).await;
    assert_eq!(status.code(), Some(0));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_it_leaves_no_encoder_and_the_next_one_tidies_up() {
    let fake = FakeFfmpeg::new();
    let mut gateway = GatewayProcess::start(&fake, folder_with_clip(240));
    let job = gateway.stream("clip.mkv");
    let (status, _) = gateway.ask(Method::GET, &format!("/stream/{job}/segment_00000.ts"), "");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(fake.alive().len(), 2);
    gateway.signal(Signal::SIGKILL);
    gateway.ended(Duration::from_secs(2)).await;
    fake.all_ended(Duration::from_secs(2)).await;
    let stale = gateway.caches();
    assert!(
        std::fs::read_dir(&stale[0]).unwrap().count() > 1,
        "there were segments"
    );
    let folder = std::mem::replace(&mut gateway.folder, tempfile::tempdir().unwrap());
    let next = GatewayProcess::start(&fake, folder);
    assert!(!stale[0].exists());
    assert_eq!(next.caches().len(), 1);
    // A second gateway beside it leaves the first one's segments alone.
    let own = next.caches();
    let config = next.folder.path().join("config.yaml");
    let beside = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(beside.path().join("config.yaml"), text).unwrap();
    let second = GatewayProcess::start(&fake, beside);
    assert!(own[0].exists());
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_leave_nothing_behind() {
    let fake = FakeFfmpeg::new();
    let gateway = GatewayProcess::start(&fake, folder_with_clip(120));
    let job = gateway.stream("clip.mkv");
    let path = format!("/stream/{job}/segment_00000.ts");
    assert_eq!(gateway.ask(Method::GET, &path, "").0, StatusCode::OK);
    let before = gateway.descriptors();
    for i in 0..200 {
        let mut socket = gateway.unread(&job, (i * 7) % 30);
        if i % 2 == 0 {
            let mut some = [0; 100];
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            // Nothing has to come yet.
            let _ = socket.read(&mut some);
        }
    }
    assert_eq!(gateway.ask(Method::GET, &path, "").0, StatusCode::OK);
    let asked = format!("/stream/{job}/segment_00017.ts");
    assert_eq!(gateway.ask(Method::GET, &asked, "").0, StatusCode::OK);
    eventually(SOON, "too many encoders", || fake.alive().len() <= 4).await;
    let (status, _) = gateway.ask(Method::DELETE, &format!("/api/transcode/{job}"), "");
    assert_eq!(status, StatusCode::OK);
    fake.all_ended(Duration::from_secs(2)).await;
    eventually(Duration::from_secs(2), "open descriptors", || {
        gateway.descriptors() < before
    })
    .await;
    let (_, stats) = gateway.ask(Method::GET, "/api/stats", "");
    let stats: Value = serde_json::from_slice(&stats).unwrap();
    assert_eq!(stats["active_encoders"], 0, "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_seek_leaves_behind_takes_no_processor_from_what_is_waited_for() {
    let fake = FakeFfmpeg::with("times=1 track=video slow=20000\n");
    let (app, job) = faked(&fake, 120, |_| {}).await;
    app.file(&job, "segment_00000.ts").await;
    let old = fake.runs();
    assert_eq!(old.len(), 2, "{old:?}");
    fake.set("track=video late=1500\n");
    let path = format!("/stream/{job}/segment_00025.ts");
    let limit = Duration::from_millis(1400);
    let all_suspended = || old.iter().all(|r| suspended(r.pid));
    let (answer, ()) = tokio::join!(
        app.get(&path),
        eventually(limit, "what was left behind runs", all_suspended)
    );
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    // It goes on where it was.
    app.file(&job, "segment_00002.ts").await;
    let videos = fake.runs().into_iter().filter(|r| r.track == "video");
    assert_eq!(videos.count(), 2);
    app.stop().await;
}
