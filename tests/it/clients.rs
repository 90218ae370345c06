//! The published clients, as they are, against this gateway.
//!
//! `GHOSTSTREAM_TEST_SDKS` names the Python interpreters in which they are installed, as
//! `1.2.2=/path/to/python:1.2.6=/path/to/python`; `packaging/test` makes them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::app::TestApp;
use crate::resilience::clip;

/// For a whole script, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(240);
/// For one thing to be found or to be gone.
const SOON: Duration = Duration::from_secs(60);

/// Version and interpreter of each installed SDK; says so when there is none.
fn sdks() -> Vec<(String, PathBuf)> {
    let listed = std::env::var("GHOSTSTREAM_TEST_SDKS").unwrap_or_default();
    let pairs = listed.split(':').filter_map(|entry| entry.split_once('='));
    let sdks: Vec<_> = pairs
        .map(|(version, python)| (version.to_owned(), PathBuf::from(python)))
        .collect();
    if sdks.is_empty() {
        eprintln!(
            "left out: no SDK is installed (set GHOSTSTREAM_TEST_SDKS, or run packaging/test)"
        );
    }
    sdks
}

#[expect(
    clippy::disallowed_methods,
    reason = "clients are programs of their own"
)]
fn script(python: &Path, name: &str, args: &[&str]) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = Command::new(python);
    command.arg(folder.join(name)).args(args);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    command
}

async fn run(python: &Path, name: &str, args: &[&str]) {
    let output = script(python, name, args).output();
    let output = tokio::time::timeout(LIMIT, output).await;
    let output = output.unwrap_or_else(|_| panic!("{name}: no end")).unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && out.ends_with("ok\n"),
        "{name}:\n{out}\n{err}"
    );
}

fn script_for(version: &str) -> &'static str {
    match version {
        "1.2.2" => "sdk_async.py",
        _ => "sdk_sync.py",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_document_run() {
    for (version, python) in sdks() {
        let app = TestApp::start().await;
        let source = clip(app.folder.path(), "clip.mkv", 10);
        std::fs::write(app.folder.path().join("text.mkv"), "no film").unwrap();
        let server = app.gateway.address().to_string();
        run(
            &python,
            script_for(&version),
            &[&server, &source, "text.mkv"],
        )
        .await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_balancer_uses_two_gateways_with_every_strategy() {
    for (_, python) in sdks() {
        // It tells servers apart by their host only.
        let on = |host: &'static str| TestApp::with(move |config| config.server.host = host.into());
        let (first, second) = (on("127.0.0.1").await, on("127.0.0.2").await);
        let source = clip(first.folder.path(), "clip.mkv", 6);
        clip(second.folder.path(), "clip.mkv", 6);
        let servers = [&first, &second].map(|app| app.gateway.address().to_string());
        run(&python, "balance.py", &[&servers[0], &servers[1], &source]).await;
        for app in [first, second] {
            app.stop().await;
        }
    }
}

/// A client that looks for gateways.
struct Watcher {
    _child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Watcher {
    fn start(python: &Path, ports: &[String]) -> Watcher {
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let mut command = script(python, "discovery.py", &ports);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Watcher {
            _child: child,
            said,
        }
    }

    async fn next(&mut self, event: &str) -> Value {
        loop {
            let line = tokio::time::timeout(SOON, self.said.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("nothing was {event}"));
            let told: Value = serde_json::from_str(&line.unwrap().expect("it runs")).unwrap();
            if told["event"] == event {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_are_found_by_their_callbacks_and_say_good_bye() {
    if !crate::discovery::multicast_works() {
        return;
    }
    for (version, python) in sdks() {
        let start = || {
            TestApp::with(|config| {
                config.server.host = "0.0.0.0".into();
                config.mdns.enabled = true;
                config.mdns.service_name = format!("Test {}", std::process::id());
            })
        };
        let (first, second) = (start().await, start().await);
        let port = |app: &TestApp| app.gateway.address().port();
        let ports = [port(&first), port(&second)];
        let mut watcher = Watcher::start(&python, &ports.map(|p| p.to_string()));
        let found = [watcher.next("found").await, watcher.next("found").await];
        assert_ne!(
            found[0]["name"], found[1]["name"],
            "{version}: one name for two"
        );
        for server in &found {
            assert_eq!(server["hw_accels"], serde_json::json!(["software"]));
            assert_eq!(server["has_hw_accel"], false);
            assert_eq!(server["healthy"], true, "{server}");
            assert!(
                server["chosen"].as_str().unwrap().starts_with("http://"),
                "{server}"
            );
            assert_eq!(server["max_jobs"], 16);
            let codecs = server["video_codecs"].as_array().unwrap();
            assert!(codecs.iter().any(|c| c == "h264"), "{server}");
        }
        let name_of = |port: u16| {
            let server = found.iter().find(|s| s["port"] == port);
            server.unwrap_or_else(|| panic!("{found:?}"))["name"].clone()
        };
        for (app, port) in [(first, ports[0]), (second, ports[1])] {
            app.stop().await;
            assert_eq!(watcher.next("removed").await["name"], name_of(port));
        }
    }
}
