//! Programs of others: the real library that runners listen with, and our own command that lets them
//! in.

use std::path::Path;

use http::StatusCode;

use super::runner::Runner;
use super::{one_job, registered, start};
use crate::cli;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_made_while_the_gateway_runs_and_printed_as_a_command() {
    let app = start().await;
    let folder = app.folder.path();
    let data = folder.join("data");
    let config = format!(
        "storage: {{directory: '{}'}}\nserver: {{port: 4711}}\n",
        data.display()
    );
    std::fs::write(folder.join("c.yaml"), config).unwrap();
    let args = [
        "--config", "c.yaml", "token", "create", "peertube", "--name", "box",
    ];
    let made = cli::run(folder, &args).await;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let line = String::from_utf8(made.stdout).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..3], ["peertube-runner", "register", "--url"]);
    assert!(
        words[3].starts_with("http://") && words[3].ends_with(":4711"),
        "{line}"
    );
    assert_eq!(words[4], "--registration-token");
    assert_eq!(words[6..], ["--runner-name", "box"]);
    let runner = Runner::register(&app.gateway.url(), words[5], "box").await;
    assert!(runner.offers(None).await.is_empty());
    app.stop().await;
}

/// Where the library is installed, if it is.
fn library() -> bool {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/node_modules/socket.io-client");
    let has_node = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join("node").is_file())
    });
    if !found.is_dir() || !has_node {
        eprintln!("left out: no node, or no socket.io-client in web/node_modules");
    }
    found.is_dir() && has_node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_socket_io_client_hears_of_work() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    if !library() {
        return;
    }
    let app = start().await;
    let runner = registered(&app, "one").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/socketio.mjs");
    let listen = |token: &str| {
        #[expect(clippy::disallowed_methods, reason = "a client that is not ours")]
        let mut command = tokio::process::Command::new("node");
        command.arg(&script).arg(app.gateway.url()).arg(token);
        command
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        (BufReader::new(child.stdout.take().unwrap()).lines(), child)
    };
    let (mut lines, _client) = listen(&runner.token);
    let mut next = async || {
        let line = tokio::time::timeout(super::SOON, lines.next_line()).await;
        line.unwrap().unwrap().unwrap_or_default()
    };
    assert_eq!(next().await, "connected");
    one_job(&app).await;
    assert_eq!(next().await, "available-jobs 0");
    let (mut lines, _stranger) = listen("ptrt-nobody");
    let line = tokio::time::timeout(super::SOON, lines.next_line()).await;
    assert_eq!(
        line.unwrap().unwrap().unwrap(),
        "refused Invalid runner token."
    );
    assert_eq!(app.get("/healthz").await.status, StatusCode::OK);
    app.stop().await;
}
