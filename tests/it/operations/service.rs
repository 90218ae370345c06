//! The program as a service: its log, its reloads, and what it tells systemd.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Service, wait_for};
use crate::app::ffmpeg;

#[tokio::test]
async fn every_request_and_every_encoder_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let film = folder.join("film.mp4");
    let video = "testsrc2=s=320x180:r=25:d=4";
    ffmpeg(&["-f", "lavfi", "-i", video, film.to_str().unwrap()]);
    let key = json!({"api_key": "top-secret"});
    Service::configure(
        folder,
        &json!({"sources": {"roots": [folder]}, "security": key}),
    );
    let service = Service::start(folder, Service::command(folder)).await;

    let source = "http%3A%2F%2Fann%3Apw1%40127.0.0.1%3A9%2Ff.mp4%3Fsignature%3Dpw2";
    let path = format!("/meta?url={source}&api_key=top-secret");
    let (status, _) = service
        .get_with(&path, "x-request-id: from-proxy-1\r\n")
        .await;
    assert_eq!(status, 502);
    let line = service.logged("request", |l| l["request.id"] == "from-proxy-1");
    let line = line.await;
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["method"], "GET");
    assert_eq!(line["route"], "/meta");
    assert_eq!(line["path"], "/meta");
    assert_eq!(line["status"], 502);
    assert_eq!(line["complete"], true);
    assert_eq!(line["client"], "127.0.0.1");
    assert!(line["bytes"].as_u64().unwrap() > 0 && line["duration_ms"].is_number());
    let query = line["query"].as_str().unwrap();
    assert!(
        query.contains("f.mp4") && query.contains("api_key=***"),
        "{query}"
    );

    let thumb = "/thumb?url=film.mp4&width=64";
    let (status, _) = service.get_with(thumb, "x-api-key: top-secret\r\n").await;
    assert_eq!(status, 200);
    let request = service.logged("request", |l| l["route"] == "/thumb").await;
    assert_eq!(request["query"], "url=film.mp4&width=64");
    for kind in ["probe", "query"] {
        let done = |l: &Value| l["kind"] == kind && l["reason"] == "done";
        let line = service.logged("encoder exited", done).await;
        assert_eq!(line["code"], 0);
        assert!(line["ffmpeg.pid"].is_number() && line["duration_ms"].is_number());
    }
    let text = std::fs::read_to_string(folder.join("log")).unwrap();
    for secret in ["top-secret", "pw1", "pw2"] {
        assert!(!text.contains(secret), "{secret} is in the log:\n{text}");
    }
    let requests = service
        .log()
        .into_iter()
        .filter(|l| l["message"] == "request");
    assert_eq!(requests.count(), 2);
}

#[tokio::test]
async fn a_reload_obeys_what_it_can_and_says_what_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("film.mp4"), "no film").unwrap();
    Service::configure(folder, &json!({}));
    let service = Service::start(folder, Service::command(folder)).await;
    let listed = "/api/v2/files";
    assert_ne!(service.get(listed).await.0, 200, "there is no root yet");

    let changed = json!({
        "sources": {"roots": [folder]},
        "transcoding": {"segment_duration": 6, "cache_max_bytes": "1GiB"},
        "security": {"api_key": "new-key", "rate_limit_per_minute": 500},
        "logging": {"level": "DEBUG", "requests": false},
    });
    Service::configure(folder, &changed);
    service.signal(Signal::SIGHUP);
    let line = service.logged("configuration reloaded", |_| true).await;
    assert_eq!(
        line["changed"],
        "sources.roots, transcoding.cache_max_bytes, security.api_key, \
         security.rate_limit_per_minute, logging.level, logging.requests"
    );
    assert_eq!(line["needs_restart"], "transcoding.segment_duration");
    assert_eq!(service.get(listed).await.0, 401);
    let (status, body) = service.get_with(listed, "x-api-key: new-key\r\n").await;
    assert_eq!(status, 200);
    assert!(body.contains("film.mp4"), "{body}");
    let metrics = service.get("/metrics?api_key=new-key").await.1;
    let limit = format!("ghoststream_segment_cache_limit_bytes {}.0", 1_u64 << 30);
    assert!(metrics.contains(&limit), "{metrics}");
    // Lines of level DEBUG are written now; requests are not.
    let requests = |log: Vec<Value>| log.iter().filter(|l| l["message"] == "request").count();
    assert_eq!(requests(service.log()), 1);

    // A configuration with anything wrong in it changes nothing.
    let wrong = json!({"security": {"api_key": null}, "server": {"prot": 1}});
    Service::configure(folder, &wrong);
    service.signal(Signal::SIGHUP);
    let message = "the new configuration is not obeyed";
    let line = service.logged(message, |_| true).await;
    assert!(
        line["error"].as_str().unwrap().contains("server.prot"),
        "{line}"
    );
    assert_eq!(service.get(listed).await.0, 401);
}

#[tokio::test]
async fn a_log_file_that_was_moved_is_made_anew_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Service::configure(folder, &json!({"logging": {"file": "gateway.log"}}));
    let service = Service::start(folder, Service::command(folder)).await;
    let (file, moved) = (folder.join("gateway.log"), folder.join("gateway.log.1"));
    std::fs::rename(&file, &moved).unwrap();
    service.signal(Signal::SIGHUP);
    let text = wait_for("new log file", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains("configuration reloaded").then_some(text)
    });
    assert!(!text.await.contains("listening on"));
    let old = std::fs::read_to_string(&moved).unwrap();
    assert!(old.contains("listening on"), "{old}");
}

/// The next thing that the gateway tells the service manager.
async fn told(manager: &UnixDatagram) -> String {
    let manager = manager.try_clone().unwrap();
    let hear = move || {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    tokio::task::spawn_blocking(hear).await.unwrap()
}

fn manager(folder: &Path) -> UnixDatagram {
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    let limit = Some(Duration::from_secs(30));
    manager.set_read_timeout(limit).unwrap();
    manager
}

#[tokio::test]
async fn systemd_is_told_of_readiness_reloads_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let manager = manager(folder);
    Service::configure(folder, &json!({}));
    let mut command = Service::command(folder);
    command.env("NOTIFY_SOCKET", folder.join("notify"));
    let mut service = Service::start(folder, command).await;
    let ready = told(&manager).await;
    let status = format!("STATUS=listening on {}", service.url);
    assert_eq!(ready.lines().collect::<Vec<_>>(), ["READY=1", &status]);

    service.signal(Signal::SIGHUP);
    let reloading = told(&manager).await;
    let (first, second) = reloading.split_once('\n').unwrap();
    assert_eq!(first, "RELOADING=1");
    let since = second.trim().strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(since.parse::<u64>().unwrap() > 0);
    assert!(told(&manager).await.starts_with("READY=1"));

    service.signal(Signal::SIGTERM);
    assert_eq!(told(&manager).await.trim(), "STOPPING=1");
    let ended = wait_for("end", || service.child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn the_watchdog_is_fed_when_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let manager = manager(folder);
    Service::configure(folder, &json!({}));
    let mut command = Service::command(folder);
    command.env("NOTIFY_SOCKET", folder.join("notify"));
    command.env("WATCHDOG_USEC", "200000");
    let _service = Service::start(folder, command).await;
    assert!(told(&manager).await.starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(told(&manager).await.trim(), "WATCHDOG=1");
    }
}

#[tokio::test]
async fn a_socket_that_systemd_listens_on_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Service::configure(folder, &json!({}));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // The socket comes as descriptor 3 and the variables name the process, as systemd has it.
    let script = r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;
    #[expect(clippy::disallowed_methods, reason = "the gateway under test")]
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_ghoststream")]);
    // The port of the configuration says nothing then.
    command.args(Service::ARGUMENTS);
    Service::prepare(&mut command, folder);
    command.stdin(Stdio::from(OwnedFd::from(socket)));
    let service = Service::start(folder, command).await;
    assert_eq!(service.url, format!("http://{address}"));
    assert_eq!(service.get("/healthz").await.0, 200);
}
