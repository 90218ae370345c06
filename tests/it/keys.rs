//! Every key of the configuration is obeyed: for each, what shows it; and those that nothing else shows.

mod places;
mod queue;

use std::path::Path;
use std::time::Duration;

use ghoststream::config::{Config, Inputs, load};
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::fake::{FakeFfmpeg, eventually, suspended};
use crate::file_server::FileServer;
use crate::media::{make, pictures};
use crate::receiver::Receiver;
use crate::shown::rows;

const SOON: Duration = Duration::from_secs(90);

/// For each key a file below the root of the sources and a test in it.
const SHOWN: &str = include_str!("keys.tsv");

#[test]
fn every_key_is_shown_to_be_obeyed() {
    let tree = serde_yaml::to_value(Config::default()).unwrap();
    let mut keys = Vec::new();
    for (section, own) in tree.as_mapping().unwrap() {
        let own = own.as_mapping().unwrap().keys();
        keys.extend(
            own.map(|key| format!("{}.{}", section.as_str().unwrap(), key.as_str().unwrap())),
        );
    }
    let rows = rows(SHOWN);
    let shown: Vec<&str> = rows.iter().map(|row| row.what).collect();
    assert_eq!(shown, keys);
    rows.iter().for_each(|row| row.check());
}

/// What the original was shipped with, and every other key that it takes.
const OF_THE_ORIGINAL: &str = "
server: {host: 127.0.0.1, port: 0, advertised_url: null}
mdns: {enabled: true, service_name: GhostStream Transcoder}
transcoding:
  ffmpeg_path: auto
  temp_directory: ./transcode_temp
  max_concurrent_jobs: 2
  segment_duration: 4
  cleanup_after_hours: 24
  default_video_codec: h264
  default_audio_codec: aac
  enable_abr: true
  abr_max_variants: 4
  stall_timeout: 120
  stall_timeout_per_segment: 10
  retry_count: 3
  retry_delay: 2
  tone_map_hdr: true
  validate_segments: true
  enable_preemption: false
  max_queue_size: 1000
hardware:
  prefer_hw_accel: true
  fallback_to_software: true
  nvenc_preset: p4
  qsv_preset: medium
  videotoolbox_preset: medium
  vaapi_device: /dev/dri/renderD128
limits: {max_resolution: 4k, max_bitrate: 50M, max_file_size_gb: 50}
ghosthub: {url: null, auto_register: true, register_interval_seconds: 60}
security:
  api_key: null
  allowed_origins: [192.168.4.1, ghosthub.local, 'http://tv.local:8080']
  rate_limit_per_minute: 60
  state_directory: ~/.ghoststream
  registration_secret: null
  job_token_ttl_seconds: 21600
logging: {level: INFO, format: json, file: null}
";

#[test]
fn a_file_of_the_original_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ghoststream.yaml");
    std::fs::write(&file, OF_THE_ORIGINAL).unwrap();
    let inputs = Inputs {
        file: Some(file),
        home: Some(folder.path().to_owned()),
        ..Inputs::default()
    };
    // Two minutes, as the document says; more for who sets what the original added.
    let usual = Config::default().transcoding.stall();
    assert_eq!(usual, Duration::from_secs(120));
    let config = load(&inputs).unwrap_or_else(|e| panic!("{e}")).config;
    assert_eq!(
        config.transcoding.stall(),
        Duration::from_secs(120 + 10 * 4)
    );
    let state = config.security.state_directory.unwrap();
    assert_eq!(state, folder.path().join(".ghoststream"));
}

async fn start(app: &TestApp, body: Value) -> crate::app::Answer {
    app.post("/api/transcode/start", body).await
}

async fn batch(app: &TestApp, output: Value) -> String {
    let body = json!({"source": "film.mkv", "mode": "batch", "output": output});
    let answer = start(app, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

fn film(folder: &Path, seconds: f64) {
    let sound = format!("sine=d={seconds}");
    let inputs = [pictures("25", seconds), sound];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    make(
        folder,
        "film.mkv",
        &inputs,
        "-c:v libx264 -preset ultrafast -g 50 -c:a aac",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_allowed_hosts_are_fetched_from() {
    let app = TestApp::with(|c| c.sources.allow_hosts = vec!["192.0.2.7".into()]).await;
    let server = FileServer::start(app.folder.path()).await;
    let answer = start(&app, json!({"source": server.url("/file/film.mkv")})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    assert!(
        answer.text().contains("sources.allow_hosts"),
        "{}",
        answer.text()
    );
    assert!(server.asked().is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn longer_segments_give_encoders_longer() {
    let mut config = Config::default();
    config.transcoding.stall_timeout = 1;
    config.transcoding.segment_duration = 2;
    config.transcoding.stall_timeout_per_segment = 3;
    assert_eq!(config.transcoding.stall(), Duration::from_secs(7));
    // A hung encoder is given up, and told of, after exactly that.
    let fake = FakeFfmpeg::with("track=video hang=0");
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.stall_timeout = 1;
        c.transcoding.segment_duration = 1;
        c.transcoding.stall_timeout_per_segment = 1;
    })
    .await;
    film(app.folder.path(), 4.0);
    let job = app.stream("film.mkv", json!({})).await;
    let answer = app.get(&format!("/stream/{job}/segment_00000.ts")).await;
    assert!(
        answer.text().contains("no output for 2 s"),
        "{}",
        answer.text()
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_kept_for_their_hours() {
    let data = tempfile::tempdir().unwrap();
    let media = tempfile::tempdir().unwrap();
    film(media.path(), 2.0);
    let change = |c: &mut Config| {
        c.storage.directory = data.path().to_owned();
        c.sources.roots.push(media.path().to_owned());
        c.transcoding.cleanup_after_hours = 3;
    };
    let app = TestApp::with(change).await;
    let [old, young] = [
        batch(&app, json!({"format": "mkv"})).await,
        batch(&app, json!({"format": "mp4"})).await,
    ];
    for job in [&old, &young] {
        app.status_until(job, SOON, |s| s["status"] == "ready")
            .await;
    }
    app.stop().await;
    // Three hours go by for one of them, and not quite for the other.
    let database = data.path().join("ghoststream.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for (job, minutes) in [(&old, 181_i64), (&young, 175)] {
        let aged = "UPDATE jobs SET updated_at = updated_at - ? WHERE id = ?";
        let aged = sqlx::query(aged).bind(minutes * 60_000).bind(job);
        assert_eq!(aged.execute(&pool).await.unwrap().rows_affected(), 1);
    }
    pool.close().await;
    let app = TestApp::with(change).await;
    let gone = async || app.get(&format!("/download/{old}")).await.status == StatusCode::NOT_FOUND;
    let until = tokio::time::Instant::now() + SOON;
    while !gone().await && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gone().await);
    let folder = data.path().join("batch").join(&old);
    eventually(SOON, "its files are there", || !folder.exists()).await;
    assert_eq!(
        app.get(&format!("/download/{young}")).await.status,
        StatusCode::OK
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_segments_are_noticed_before_a_job_is_ready() {
    for looks in [true, false] {
        let fake = FakeFfmpeg::with("spoil=segment_00001.ts");
        let app = TestApp::with(|c| {
            fake.use_in(c);
            c.transcoding.retry_count = 0;
            c.transcoding.segment_duration = 1;
            c.transcoding.validate_segments = looks;
        })
        .await;
        film(app.folder.path(), 4.0);
        let job = batch(&app, json!({"format": "hls"})).await;
        let ended = |s: &Value| s["status"] == "ready" || s["status"] == "error";
        let status = app.status_until(&job, SOON, ended).await;
        if looks {
            let reason = status["error_message"].as_str().unwrap();
            assert!(reason.contains("segment_00001.ts is damaged"), "{status}");
        } else {
            assert_eq!(status["status"], "ready", "{status}");
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_stand_still_while_pictures_are_waited_for() {
    // The stream's encoder never delivers, so that somebody waits as long as the test likes.
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.enable_preemption = true;
    })
    .await;
    film(app.folder.path(), 240.0);
    let file = batch(&app, json!({"format": "mp4", "video_codec": "h265"})).await;
    app.status_until(&file, SOON, |s| s["progress"].as_f64() > Some(0.0))
        .await;
    let alive = fake.alive();
    let [run] = &alive[..] else {
        panic!("{:?}", fake.runs())
    };
    assert!(!suspended(run.pid));
    fake.set("track=video hang=0");
    let job = app.stream("film.mkv", json!({})).await;
    app.status_until(&job, SOON, |s| s["status"] == "processing")
        .await;
    let path = format!("/stream/{job}/segment_00000.ts");
    let asking = app.get(&path);
    let watching = async {
        eventually(SOON, "the file is made", || suspended(run.pid)).await;
        // Whoever waits gives up: the file goes on.
        let deleted = app.delete(&format!("/api/transcode/{job}")).await;
        assert_eq!(deleted.status, StatusCode::OK);
        eventually(SOON, "the file stands still", || !suspended(run.pid)).await;
    };
    let (answer, ()) = tokio::join!(asking, watching);
    assert_ne!(answer.status, StatusCode::OK);
    let before = app.status(&file).await["progress"].as_f64();
    let further = |s: &Value| s["status"] == "ready" || s["progress"].as_f64() > before;
    app.status_until(&file, SOON, further).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_takes_no_more() {
    let app = TestApp::with(|c| {
        c.transcoding.max_queue_size = 2;
        c.local_engine.enabled = false;
    })
    .await;
    film(app.folder.path(), 1.0);
    let first = batch(&app, json!({"format": "mp4"})).await;
    assert_eq!(app.get("/api/ready").await.status, StatusCode::OK);
    batch(&app, json!({"format": "mkv"})).await;
    let health = app.get("/api/health").await.json();
    assert_eq!(
        (&health["queued_jobs"], &health["current_jobs"]),
        (&json!(2), &json!(0))
    );
    let ready = app.get("/api/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["reason"], "Queue full");
    let body = json!({"source": "film.mkv", "mode": "batch", "output": {"format": "webm", "video_codec": "vp9", "audio_codec": "opus"}});
    let refused = start(&app, body.clone()).await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        refused.text()
    );
    assert!(refused.headers.contains_key("retry-after"));
    assert!(
        refused.text().contains("transcoding.max_queue_size"),
        "{}",
        refused.text()
    );
    let checks = app.get("/api/health/detailed").await.json();
    assert_eq!(checks["checks"]["job_queue"]["max"], 2);
    // Who leaves makes room.
    let left = app.delete(&format!("/api/transcode/{first}")).await;
    assert_eq!(left.status, StatusCode::OK);
    assert_eq!(start(&app, body).await.status, StatusCode::OK);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_streams_are_made_of_follows_the_keys() {
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.tone_map_hdr = false;
        c.transcoding.default_video_codec = "h265".parse().unwrap();
        c.transcoding.default_audio_codec = "opus".parse().unwrap();
        c.transcoding.video_preset = ghoststream::config::VideoPreset::Ultrafast;
        c.limits.max_resolution = "360p".parse().unwrap();
    })
    .await;
    let hdr = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=error \
               -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc -c:a aac";
    make(
        app.folder.path(),
        "film.mkv",
        &["testsrc2=s=1280x720:r=25:d=2", "sine=d=2"],
        hdr,
    );
    let job = app.stream("film.mkv", json!({})).await;
    app.file(&job, "video0_00000.m4s").await;
    app.file(&job, "audio0_00000.m4s").await;
    let named = app.stream("film.mkv", json!({"video_codec": "h264"})).await;
    app.file(&named, "video0_00000.m4s").await;
    let commands = fake.commands();
    let some = |words: &[&str]| commands.iter().any(|c| words.iter().all(|w| c.contains(w)));
    assert!(some(&["-c:v libx265", "scale=640:360"]), "{commands:#?}");
    assert!(some(&["-c:a libopus"]), "{commands:#?}");
    assert!(some(&["-c:v libx264 -preset ultrafast"]), "{commands:#?}");
    assert!(!some(&["tonemap"]), "{commands:#?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_grows_too_large_is_given_up() {
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.limits.max_file_size_gb = 0.000_1;
    })
    .await;
    make(
        app.folder.path(),
        "film.mkv",
        &["testsrc2=s=640x360:r=25:d=10,noise=alls=40:allf=t"],
        "-c:v libx264 -preset ultrafast",
    );
    let job = batch(&app, json!({"format": "mkv"})).await;
    let status = app
        .status_until(&job, SOON, |s| s["status"] == "error")
        .await;
    let reason = status["error_message"].as_str().unwrap();
    assert!(reason.contains("limits.max_file_size_gb"), "{status}");
    // Another attempt would fare no better, and nothing of it is left.
    assert_eq!(fake.runs().len(), 1);
    assert!(!app.folder.path().join("data/batch").join(&job).exists());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identity_lies_where_it_is_told_to() {
    let hub = Receiver::start(&[]).await;
    let state = tempfile::tempdir().unwrap();
    let identity = json!({"node_id": "from-the-original", "secret": "c2VjcmV0", "created_at": "2025-12-01T00:00:00"});
    std::fs::write(
        state.path().join("node_identity.json"),
        identity.to_string(),
    )
    .unwrap();
    let app = TestApp::with(|c| {
        c.ghosthub.url = Some(hub.url("/").parse().unwrap());
        c.security.state_directory = Some(state.path().to_owned());
    })
    .await;
    assert_eq!(hub.after(1).await[0].json()["node_id"], "from-the-original");
    assert!(!app.folder.path().join("data/node_identity.json").exists());
    app.stop().await;
}
