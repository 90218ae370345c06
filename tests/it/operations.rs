//! What operators see of a gateway: metrics, log lines, reloads, and what systemd is told.

mod metrics;
mod service;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A gateway as a process of its own; killed when dropped.
struct Service {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Service {
    /// The program with the configuration `config.yaml` of `folder`, not started yet.
    fn command(folder: &Path) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the gateway under test")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghoststream"));
        command.args(Service::ARGUMENTS);
        Service::prepare(&mut command, folder);
        command
    }

    const ARGUMENTS: &[&str] = &[
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-mdns",
        "--config",
        "config.yaml",
        "--ready-file",
        "ready",
    ];

    /// Standard error goes to the file `log`.
    fn prepare(command: &mut Command, folder: &Path) {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        command.current_dir(folder).env("HOME", folder);
        for name in ["RUST_LOG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"] {
            command.env_remove(name);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
    }

    /// Writes the part of the configuration that a test is about; the rest is the same for all.
    fn configure(folder: &Path, sections: &Value) {
        let mut all = serde_json::json!({"hardware": {"prefer_hw_accel": false}});
        let sections = sections.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(sections);
        std::fs::write(folder.join("config.yaml"), all.to_string()).unwrap();
    }

    async fn start(folder: &Path, mut command: Command) -> Service {
        let child = command.spawn().unwrap();
        let mut service = Service {
            child,
            folder: folder.to_owned(),
            url: String::new(),
        };
        let ready = folder.join("ready");
        service.url = wait_for("ready file", || std::fs::read_to_string(&ready).ok()).await;
        service
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Every line of the log so far, as JSON.
    fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let line = |l: &str| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"));
        whole.lines().map(line).collect()
    }

    /// Waits for a line of the log.
    async fn logged(&self, message: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let fits = |l: &Value| l["message"] == message && wanted(l);
        wait_for(message, || self.log().into_iter().find(|l| fits(l))).await
    }

    /// Status and body of a GET, by the simplest client there is.
    async fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "").await
    }

    /// As `get`, with whole lines of headers.
    async fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
        let ask = move || {
            let mut socket = std::net::TcpStream::connect(&address).unwrap();
            std::io::Write::write_all(&mut socket, request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        };
        let answer = tokio::task::spawn_blocking(ask).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, mostly; else it must not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
