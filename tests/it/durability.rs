//! The gateway is killed again and again; no job that was acknowledged is lost, none is done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::databases::{Database, on_each};

/// Times the gateway is killed on each database.
const KILLS: usize = 12;

/// A gateway that can be killed and comes back on the same port.
struct Victim {
    child: Child,
    port: u16,
}

fn start(database: &Database, folder: &Path, port: u16) -> Victim {
    let config = json!({
        "server": {"host": "127.0.0.1", "port": port},
        "store": {"url": database.url},
        "storage": {"directory": database.folder.path()},
        "transcoding": {"temp_directory": folder.join("cache")},
        "hardware": {"prefer_hw_accel": false},
        "local_engine": {"enabled": false},
        "dispatch": {"lease_seconds": 2},
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
        assert!(
            Instant::now() < until,
            "it does not start: {}",
            std::fs::read_to_string(folder.join("log")).unwrap()
        );
        std::thread::yield_now();
    }
    let url = std::fs::read_to_string(&ready).unwrap();
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    Victim { child, port }
}

type Http = Client<HttpConnector, Full<Bytes>>;

/// The answer, or nothing when the gateway is dead or dies meanwhile.
async fn call(
    http: &Http,
    port: u16,
    path: &str,
    body: Option<Value>,
) -> Option<(StatusCode, Value)> {
    let method = if body.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let body = body.map(|b| b.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{port}{path}"));
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), http.request(request))
        .await
        .ok()?
        .ok()?;
    let status = answer.status();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_a_gateway_that_is_killed_at_any_moment() {
    on_each(async |database| {
        let folder = tempfile::tempdir().unwrap();
        let mut victim = start(database, folder.path(), 0);
        let port = victim.port;
        let http: Http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let completed: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let submitting = Arc::new(AtomicBool::new(true));
        let mut clients = JoinSet::new();
        for _ in 0..3 {
            let (http, acknowledged, submitting) = (http.clone(), acknowledged.clone(), submitting.clone());
            clients.spawn(async move {
                while submitting.load(Ordering::SeqCst) {
                    let body = json!({"source_url": "s", "target_codec": "h264", "max_retries": 1000});
                    match call(&http, port, "/jobs/", Some(body)).await {
                        Some((StatusCode::OK, job)) => {
                            let id = job["job_id"].as_str().unwrap().to_owned();
                            acknowledged.lock().unwrap().insert(id);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        _ => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            });
        }
        let working = Arc::new(AtomicBool::new(true));
        let mut workers = JoinSet::new();
        for w in 0..4 {
            let (http, completed, working) = (http.clone(), completed.clone(), working.clone());
            workers.spawn(async move {
                let claim = format!("/api/v2/engines/w{w}/claim");
                let mut idle = 0;
                while working.load(Ordering::SeqCst) || idle < 3 {
                    let body = json!({"kinds": ["transcode"], "wait_seconds": 1});
                    let Some((StatusCode::OK, work)) = call(&http, port, &claim, Some(body)).await else {
                        idle += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    idle = 0;
                    let id = work["job_id"].as_str().unwrap().to_owned();
                    let path = format!("/api/v2/jobs/{id}/lease/complete");
                    let body = json!({"lease_token": work["lease_token"], "output": {"url": format!("w{w}")}});
                    // As an engine does: until there is an answer.
                    for _ in 0..400 {
                        match call(&http, port, &path, Some(body.clone())).await {
                            Some((StatusCode::OK, _)) => {
                                *completed.lock().unwrap().entry(id).or_default() += 1;
                                break;
                            }
                            Some((StatusCode::CONFLICT, _)) => break,
                            _ => tokio::time::sleep(Duration::from_millis(25)).await,
                        }
                    }
                }
            });
        }
        let mut dice: u64 = 88_172_645_463_325_252;
        for _ in 0..KILLS {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            tokio::time::sleep(Duration::from_millis(dice % 400)).await;
            victim.child.kill().unwrap();
            victim.child.wait().unwrap();
            victim = start(database, folder.path(), port);
        }
        submitting.store(false, Ordering::SeqCst);
        clients.join_all().await;
        let done = async {
            loop {
                let open = "/api/v2/jobs?state=ready,leased&limit=1";
                let (status, page) = call(&http, port, open, None).await.unwrap();
                assert_eq!(status, StatusCode::OK);
                if page["jobs"] == json!([]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(120), done).await;
        done.expect("all jobs are done");
        let (_, jobs) = call(&http, port, "/jobs/", None).await.unwrap();
        let jobs = jobs.as_array().unwrap().clone();
        assert!(jobs.iter().all(|j| j["status"] == "completed"));
        working.store(false, Ordering::SeqCst);
        workers.join_all().await;
        let stored: BTreeSet<String> = jobs.iter().map(|j| j["job_id"].as_str().unwrap().to_owned()).collect();
        let acknowledged = acknowledged.lock().unwrap().clone();
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        assert!(acknowledged.len() > KILLS, "{} jobs", acknowledged.len());
        let completed = completed.lock().unwrap().clone();
        assert!(completed.values().all(|n| *n == 1), "done twice: {completed:?}");
        eprintln!("{} jobs acknowledged, {} stored, {KILLS} kills", acknowledged.len(), stored.len());
        victim.child.kill().unwrap();
        victim.child.wait().unwrap();
    })
    .await;
}
