//! Gateway, engines and connections to the database are killed again and again, at random moments: no job
//! that was acknowledged is lost, none is done twice, and what was given to somebody else since is not
//! changed by who had it before.

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
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor};
use tokio::task::{AbortHandle, JoinSet};

use crate::databases::{Database, on_each};

/// Times that something is killed on each database, unless `GHOSTSTREAM_TEST_KILLS` says how often.
const KILLS: usize = 16;
const WORKERS: usize = 4;

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

/// Xorshift: the same moments in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What clients and engines know.
#[derive(Default)]
struct Known {
    acknowledged: Mutex<BTreeSet<String>>,
    /// How often somebody was told that the job is done by them.
    completed: Mutex<BTreeMap<String, u32>>,
    /// Jobs, attempts and tokens of engines that vanished with them.
    vanished: Mutex<Vec<(String, u64, Value)>>,
    submitting: AtomicBool,
    working: AtomicBool,
}

/// Submits until it is told to stop.
async fn client(http: Http, port: u16, known: Arc<Known>) {
    while known.submitting.load(Ordering::SeqCst) {
        let body = json!({"source_url": "s", "target_codec": "h264", "max_retries": 1000});
        match call(&http, port, "/jobs/", Some(body)).await {
            Some((StatusCode::OK, job)) => {
                let id = job["job_id"].as_str().unwrap().to_owned();
                known.acknowledged.lock().unwrap().insert(id);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// An engine: as far as the gateway can tell, its process dies when the task is aborted.
async fn engine(http: Http, port: u16, known: Arc<Known>, nth: usize) {
    let claim = format!("/api/v2/engines/w{nth}/claim");
    let (mut idle, mut served) = (0, 0_u32);
    while known.working.load(Ordering::SeqCst) || idle < 3 {
        let body = json!({"kinds": ["transcode"], "wait_seconds": 1});
        let Some((StatusCode::OK, work)) = call(&http, port, &claim, Some(body)).await else {
            idle += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        (idle, served) = (0, served + 1);
        let id = work["job_id"].as_str().unwrap().to_owned();
        let token = work["lease_token"].clone();
        if served.is_multiple_of(16) {
            let attempt = work["attempt"].as_u64().unwrap();
            known.vanished.lock().unwrap().push((id, attempt, token));
            continue;
        }
        let path = format!("/api/v2/jobs/{id}/lease/complete");
        let body = json!({"lease_token": token, "output": {"url": format!("w{nth}")}});
        // As an engine does: until there is an answer.
        for _ in 0..400 {
            match call(&http, port, &path, Some(body.clone())).await {
                Some((StatusCode::OK, _)) => {
                    *known.completed.lock().unwrap().entry(id).or_default() += 1;
                    break;
                }
                Some((StatusCode::CONFLICT, _)) => break,
                _ => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }
}

/// Says everything that can be said with the token of a lease that is over, once somebody else has had the
/// job; how many tokens were tried.
async fn speak_of_old(http: &Http, port: u16, known: &Known) -> usize {
    let all = std::mem::take(&mut *known.vanished.lock().unwrap());
    let mut tried = 0;
    for (id, attempt, token) in all {
        let shown = call(http, port, &format!("/api/v2/jobs/{id}"), None).await;
        let Some((StatusCode::OK, job)) = shown else {
            known.vanished.lock().unwrap().push((id, attempt, token));
            continue;
        };
        if job["attempts"].as_u64().unwrap() == attempt {
            known.vanished.lock().unwrap().push((id, attempt, token));
            continue;
        }
        tried += 1;
        for verb in ["renew", "fail", "fail_for_good", "release", "complete"] {
            let path = format!("/api/v2/jobs/{id}/lease/{verb}");
            let body = json!({"lease_token": token, "output": {"url": "late"}, "reason": "late"});
            if let Some((status, said)) = call(http, port, &path, Some(body)).await {
                let refused = status == StatusCode::CONFLICT || status.is_server_error();
                assert!(refused, "{verb} of an old lease: {status} {said}");
            }
        }
    }
    tried
}

/// Ends all connections of the gateway to its PostgreSQL; `false` on SQLite, which has none.
async fn cut_connections(database: &Database) -> bool {
    if database.name() != "PostgreSQL" {
        return false;
    }
    let options: PgConnectOptions = database.url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    connection.execute(cut).await.unwrap();
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_whatever_is_killed_at_any_moment() {
    let kills = std::env::var("GHOSTSTREAM_TEST_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    on_each(async |database| survive(database, kills).await).await;
}

async fn survive(database: &Database, kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = start(database, folder.path(), 0);
    let port = victim.port;
    let http: Http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let known = Arc::new(Known::default());
    known.submitting.store(true, Ordering::SeqCst);
    known.working.store(true, Ordering::SeqCst);
    let (mut clients, mut engines) = (JoinSet::new(), JoinSet::new());
    for _ in 0..3 {
        clients.spawn(client(http.clone(), port, known.clone()));
    }
    let new_engine = |engines: &mut JoinSet<()>, nth| -> AbortHandle {
        engines.spawn(engine(http.clone(), port, known.clone(), nth))
    };
    let mut at_work: Vec<_> = (0..WORKERS)
        .map(|nth| new_engine(&mut engines, nth))
        .collect();
    let mut dice = Dice(88_172_645_463_325_252);
    let (mut gateways, mut cuts, mut vanished, mut old) = (0, 0, 0, 0);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(dice.roll(400))).await;
        match dice.roll(4) {
            0 if cut_connections(database).await => cuts += 1,
            1 => {
                vanished += 1;
                let nth = dice.roll(WORKERS as u64) as usize;
                at_work[nth].abort();
                at_work[nth] = new_engine(&mut engines, nth);
            }
            _ => {
                gateways += 1;
                victim.child.kill().unwrap();
                victim.child.wait().unwrap();
                victim = start(database, folder.path(), port);
            }
        }
        old += speak_of_old(&http, port, &known).await;
    }
    known.submitting.store(false, Ordering::SeqCst);
    clients.join_all().await;
    let done = async {
        loop {
            old += speak_of_old(&http, port, &known).await;
            let open = "/api/v2/jobs?state=ready,leased&limit=1";
            let page = call(&http, port, open, None).await;
            match page {
                Some((StatusCode::OK, page)) if page["jobs"] == json!([]) => return,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(120), done).await;
    done.expect("all jobs are done");
    old += speak_of_old(&http, port, &known).await;
    let (_, jobs) = call(&http, port, "/jobs/", None).await.unwrap();
    let jobs = jobs.as_array().unwrap().clone();
    assert!(jobs.iter().all(|j| j["status"] == "completed"));
    assert!(jobs.iter().all(|j| j["output_url"] != "late"));
    known.working.store(false, Ordering::SeqCst);
    while let Some(ended) = engines.join_next().await {
        assert!(!ended.is_err_and(|e| e.is_panic()), "an engine failed");
    }
    let id = |j: &Value| j["job_id"].as_str().unwrap().to_owned();
    let stored: BTreeSet<String> = jobs.iter().map(id).collect();
    let acknowledged = known.acknowledged.lock().unwrap().clone();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(acknowledged.len() > kills, "{} jobs", acknowledged.len());
    let completed = known.completed.lock().unwrap().clone();
    assert!(
        completed.values().all(|n| *n == 1),
        "done twice: {completed:?}"
    );
    assert!(old > 0, "no old lease was tried");
    eprintln!(
        "{}: {gateways} gateways, {vanished} engines, {cuts} times all connections killed; {} jobs \
         acknowledged, {} stored, {} known to be completed once, {old} old leases refused",
        database.name(),
        acknowledged.len(),
        stored.len(),
        completed.len(),
    );
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
}
