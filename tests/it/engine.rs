//! Engines do real work: on this machine and on another, and across the deaths of both.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::app::{TestApp, ffmpeg};

/// Long enough for a loaded machine; nothing waits for it that goes well.
const LIMIT: Duration = Duration::from_secs(120);

fn clip(path: &Path, seconds: u32) {
    let video = format!("testsrc2=s=320x180:r=25:d={seconds}");
    let sound = format!("sine=d={seconds}");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        &video,
        "-f",
        "lavfi",
        "-i",
        &sound,
        "-c:v",
        "mpeg4",
        "-c:a",
        "mp2",
        path.to_str().unwrap(),
    ]);
}

async fn submit(app: &TestApp, source: &str, codec: &str) -> String {
    let answer = app
        .post(
            "/jobs/",
            json!({"source_url": source, "target_codec": codec}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

/// Asks for the job until `wanted` holds.
async fn job_until(app: &TestApp, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/jobs/{id}");
    let ask = async {
        loop {
            let job = app.get(&path).await.json();
            if wanted(&job) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(LIMIT, ask).await {
        Ok(job) => job,
        Err(_) => panic!("still {}", app.get(&path).await.text()),
    }
}

fn is_over(job: &Value) -> bool {
    job["status"] == "completed" || job["status"] == "failed_permanently"
}

/// Codec of the video and seconds of a file.
#[expect(
    clippy::disallowed_methods,
    reason = "tests look at media with ffprobe"
)]
fn probed(file: &Path) -> (String, f64) {
    let show = "stream=codec_name:format=duration";
    let out = std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            show,
            "-of",
            "json",
        ])
        .arg(file)
        .output()
        .unwrap();
    let probe: Value = serde_json::from_slice(&out.stdout).unwrap();
    let duration = probe["format"]["duration"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    (
        probe["streams"][0]["codec_name"]
            .as_str()
            .unwrap()
            .to_owned(),
        duration,
    )
}

async fn fetch_whole_and_in_part(app: &TestApp, job: &Value, codec: &str) {
    let url = job["output_url"].as_str().unwrap();
    let whole = app.get(url).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.headers["content-type"], "video/mp4");
    let file = app.folder.path().join("fetched.mp4");
    std::fs::write(&file, &whole.body).unwrap();
    let (found, seconds) = probed(&file);
    assert_eq!(found, codec);
    assert!((seconds - 3.0).abs() < 0.2, "{seconds} s");
    let range = app
        .request(
            Method::GET,
            url,
            &[("range", "bytes=100-299")],
            Bytes::new(),
        )
        .await;
    assert_eq!(range.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(range.body, whole.body[100..300]);
    let size = whole.body.len();
    assert_eq!(
        range.headers["content-range"],
        format!("bytes 100-299/{size}")
    );
    let beyond = app
        .request(
            Method::GET,
            url,
            &[("range", "bytes=999999999-")],
            Bytes::new(),
        )
        .await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let head = app.request(Method::HEAD, url, &[], Bytes::new()).await;
    assert_eq!(head.headers["content-length"], size.to_string());
    assert!(head.body.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateways_own_engine_does_what_nobody_else_does() {
    let app = TestApp::with(|c| {
        c.local_engine.patience_seconds = 0;
        c.security.api_key = None;
    })
    .await;
    clip(&app.folder.path().join("film.mkv"), 3);
    let id = submit(&app, "film.mkv", "h264").await;
    let job = job_until(&app, &id, is_over).await;
    assert_eq!(job["status"], "completed", "{job}");
    fetch_whole_and_in_part(&app, &job, "h264").await;
    let shown = app.get(&format!("/api/v2/jobs/{id}")).await.json();
    assert_eq!(shown["output"]["sha256"].as_str().unwrap().len(), 64);

    let unknown = submit(&app, "film.mkv", "nosuchcodec").await;
    let job = job_until(&app, &unknown, is_over).await;
    assert_eq!(
        (&job["status"], &job["retries"]),
        (&json!("failed_permanently"), &json!(3))
    );
    assert!(
        job["error_message"]
            .as_str()
            .unwrap()
            .contains("'nosuchcodec' is not known"),
        "{job}"
    );
    let outside = submit(&app, "/etc/passwd", "h264").await;
    let job = job_until(&app, &outside, is_over).await;
    assert_eq!(job["status"], "failed_permanently");
    assert!(
        !job["error_message"].as_str().unwrap().contains("ffmpeg"),
        "{job}"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_gateway_whose_engine_is_off_leaves_work_alone() {
    let app = TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.local_engine.patience_seconds = 0;
    })
    .await;
    let id = submit(&app, "film.mkv", "h264").await;
    let engines = app.get("/api/v2/engines").await.json();
    assert_eq!(engines, json!({"engines": []}));
    // The engine that would be there looks every second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        app.get(&format!("/jobs/{id}")).await.json()["status"],
        "pending"
    );
    app.stop().await;
}

/// `ghoststream engine` as a process of its own.
struct EngineProcess(std::process::Child);

impl EngineProcess {
    fn start(app: &TestApp, name: &str, key: Option<&str>) -> EngineProcess {
        Self::of(app, name, key, &["--server", &app.gateway.url()])
    }

    /// `server` says where the gateway is, if anything does.
    fn of(app: &TestApp, name: &str, key: Option<&str>, server: &[&str]) -> EngineProcess {
        let folder = app.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        // No roots: what the gateway has is read from it.
        let config = json!({
            "storage": {"directory": folder.join("data")},
            "transcoding": {"temp_directory": folder.join("cache")},
            "hardware": {"prefer_hw_accel": false},
        });
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the engine under test")]
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ghoststream"));
        command.args(["engine", "--id", name, "--concurrency", "1"]);
        command.args(server);
        command.arg("--config").arg(folder.join("config.yaml"));
        command.env_remove("GHOSTSTREAM_API_KEY");
        if let Some(key) = key {
            command.args(["--api-key", key]);
        }
        command.stdout(std::process::Stdio::null());
        command.stderr(std::fs::File::create(folder.join("log")).unwrap());
        EngineProcess(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    async fn ended(mut self) -> std::process::ExitStatus {
        tokio::task::spawn_blocking(move || self.0.wait().unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_elsewhere_fetches_works_and_delivers() {
    let app = TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.security.api_key = Some("secret".into());
    })
    .await;
    clip(&app.folder.path().join("film.mkv"), 3);
    let key = [("x-api-key", "secret")];
    let body = json!({"source_url": "film.mkv", "target_codec": "vp9"}).to_string();
    let job = app
        .request(Method::POST, "/jobs/", &key, body.into())
        .await
        .json();
    let path = format!("/jobs/{}", job["job_id"].as_str().unwrap());
    let engine = EngineProcess::start(&app, "worker-1", Some("secret"));
    let ask = async {
        loop {
            let job = app
                .request(Method::GET, &path, &key, Bytes::new())
                .await
                .json();
            if is_over(&job) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let job = tokio::time::timeout(LIMIT, ask).await.unwrap();
    assert_eq!(
        (&job["status"], &job["assigned_engine"]),
        (&json!("completed"), &json!("worker-1")),
        "{job}"
    );
    let engines = app.request(Method::GET, "/api/v2/engines", &key, Bytes::new());
    let engines = engines.await.json();
    let engines = engines["engines"].as_array().unwrap().iter();
    let own = engines.clone().find(|e| e["id"] == "worker-1").unwrap();
    let measured = own["abilities"]["benchmark_seconds"].as_f64();
    assert!(measured.is_some_and(|s| s > 0.0), "{own}");
    // The address carries its right, and without it there is none.
    fetch_whole_and_in_part(&app, &job, "vp9").await;
    let url = job["output_url"].as_str().unwrap();
    let bare = url.split('?').next().unwrap();
    assert_eq!(app.get(bare).await.status, StatusCode::UNAUTHORIZED);
    // Only who holds the lease may deliver.
    let forged = format!("{bare}?lease_token={}", uuid::Uuid::new_v4());
    let put = app
        .request(Method::PUT, &forged, &key, Bytes::from_static(b"x"))
        .await;
    assert_eq!(put.status, StatusCode::CONFLICT);
    engine.signal(Signal::SIGTERM);
    assert!(engine.ended().await.success());

    // The source is for the holder of the lease alone, whole or in part.
    let body = json!({"source_url": "film.mkv", "target_codec": "h264"}).to_string();
    app.request(Method::POST, "/jobs/", &key, body.into()).await;
    let claim = json!({"kinds": ["transcode"], "wait_seconds": 5}).to_string();
    let work = app.request(
        Method::POST,
        "/api/v2/engines/own/claim",
        &key,
        claim.into(),
    );
    let work = work.await.json();
    assert_eq!(work["has_source"], true, "{work}");
    let (id, token) = (&work["job_id"], work["lease_token"].as_str().unwrap());
    let place = format!("/api/v2/jobs/{}/source", id.as_str().unwrap());
    let source = format!("{place}?lease_token={token}");
    let film = std::fs::read(app.folder.path().join("film.mkv")).unwrap();
    let whole = app.request(Method::GET, &source, &key, Bytes::new()).await;
    assert_eq!(whole.body, film);
    let range = [key[0], ("range", "bytes=5-9")];
    let part = app
        .request(Method::GET, &source, &range, Bytes::new())
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body, film[5..10]);
    let forged = source.replace(token, &uuid::Uuid::new_v4().to_string());
    for (path, headers, status) in [
        (&forged, &key[..], StatusCode::CONFLICT),
        (&place, &key[..], StatusCode::CONFLICT),
        (&source, &key[..0], StatusCode::UNAUTHORIZED),
    ] {
        let refused = app.request(Method::GET, path, headers, Bytes::new()).await;
        assert_eq!(refused.status, status, "{path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_outlasts_a_gateway_that_is_away_for_longer_than_the_lease() {
    let lease = Duration::from_secs(2);
    let change = |port| {
        move |c: &mut ghoststream::config::Config| {
            c.server.port = port;
            c.local_engine.enabled = false;
            c.dispatch.lease_seconds = 2;
        }
    };
    let app = TestApp::with(change(0)).await;
    let port = app.gateway.address().port();
    clip(&app.folder.path().join("film.mkv"), 60);
    let id = submit(&app, "film.mkv", "h265").await;
    let engine = EngineProcess::start(&app, "patient", None);
    // It has the source, and is in the midst of it.
    job_until(&app, &id, |job| job["progress"].as_f64() > Some(0.0)).await;
    let (gateway, folder) = app.apart();
    gateway.stop().await;
    tokio::time::sleep(lease * 2).await;
    let app = TestApp::within(folder, change(port)).await;
    let job = job_until(&app, &id, is_over).await;
    assert_eq!(job["status"], "completed", "{job}");
    let shown = app.get(&format!("/api/v2/jobs/{id}")).await.json();
    assert_eq!(shown["attempts"], 1, "{shown}");
    engine.signal(Signal::SIGTERM);
    assert!(engine.ended().await.success());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_finds_its_gateway_by_itself() {
    if !crate::discovery::multicast_works() {
        return;
    }
    let name = format!("Found {}", uuid::Uuid::new_v4().simple());
    let app = TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.mdns.enabled = true;
        c.mdns.service_name = name.clone();
    })
    .await;
    // Others may announce gateways on this network too: the search finds ours among them.
    let ours = async {
        loop {
            let found = ghoststream::discovery::find_gateways(Duration::from_secs(5)).await;
            let name = name.replace(' ', "-");
            if let Some(ours) = found.unwrap().into_iter().find(|g| g.name == name) {
                return ours;
            }
        }
    };
    let ours = tokio::time::timeout(LIMIT, ours).await.unwrap();
    assert_eq!(ours.url.port(), Some(app.gateway.address().port()));
    let engine = EngineProcess::of(&app, "finder", None, &[]);
    let log = app.folder.path().join("finder/log");
    let connected = async {
        while !std::fs::read_to_string(&log).is_ok_and(|l| l.contains("engine starts")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, connected).await.unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("was found on the local network"), "{log}");
    engine.signal(Signal::SIGTERM);
    assert!(engine.ended().await.success());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_an_engine_that_ends_is_done_by_another() {
    let app = TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.dispatch.lease_seconds = 2;
    })
    .await;
    // Minutes of encoding, so that both engines die in the midst of it.
    let (film, long) = (
        app.folder.path().join("film.mkv"),
        app.folder.path().join("long.mkv"),
    );
    clip(&film, 3);
    let many = [
        "-stream_loop",
        "1200",
        "-i",
        film.to_str().unwrap(),
        "-c",
        "copy",
    ];
    ffmpeg(&[&many[..], &[long.to_str().unwrap()]].concat());
    let id = submit(&app, "long.mkv", "av1").await;
    let assigned = |name: &'static str| move |job: &Value| job["assigned_engine"] == name;
    let first = EngineProcess::start(&app, "killed", None);
    job_until(&app, &id, assigned("killed")).await;
    first.signal(Signal::SIGKILL);
    first.ended().await;
    let second = EngineProcess::start(&app, "stopped", None);
    job_until(&app, &id, assigned("stopped")).await;
    // Asked to end, it gives the job back before its lease is over.
    second.signal(Signal::SIGTERM);
    assert!(second.ended().await.success());
    let job = app.get(&format!("/api/v2/jobs/{id}")).await.json();
    assert_eq!(
        (&job["state"], &job["failures"]),
        (&json!("ready"), &json!(0)),
        "{job}"
    );
    // Cancelled in the midst of it, the engine turns to the next job.
    let third = EngineProcess::start(&app, "turned", None);
    job_until(&app, &id, assigned("turned")).await;
    app.post(&format!("/jobs/{id}/cancel"), json!({})).await;
    let next = submit(&app, "film.mkv", "h264").await;
    let job = job_until(&app, &next, is_over).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(
        app.get(&format!("/jobs/{id}")).await.json()["status"],
        "cancelled"
    );
    third.signal(Signal::SIGTERM);
    third.ended().await;
    app.stop().await;
}
