//! Every key of the configuration is obeyed: for each, what shows it; and those that nothing else shows.

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

const SOON: Duration = Duration::from_secs(90);

/// For each key a file below the root of the sources and a test in it.
const SHOWN: &[(&str, &str, &str)] = &[
    (
        "server.host",
        "tests/it/clients.rs",
        "the_load_balancer_uses_two_gateways_with_every_strategy",
    ),
    (
        "server.port",
        "tests/it/clients.rs",
        "the_load_balancer_uses_two_gateways_with_every_strategy",
    ),
    (
        "server.advertised_url",
        "tests/it/discovery.rs",
        "a_gateway_registers_again_and_again_and_withdraws",
    ),
    (
        "server.environment",
        "tests/it/sharing.rs",
        "the_gateway_tells_how_it_is_and_cleans_up",
    ),
    (
        "server.max_connections",
        "tests/it/resilience/front.rs",
        "connections_beyond_the_limit_wait",
    ),
    (
        "server.max_websocket_connections",
        "tests/it/progress.rs",
        "one_too_many_is_told_to_try_again",
    ),
    (
        "server.header_timeout_seconds",
        "tests/it/resilience/front.rs",
        "clients_that_dawdle_are_hung_up_on",
    ),
    (
        "sources.roots",
        "tests/it/hostile/names.rs",
        "no_name_leads_out_of_the_roots",
    ),
    (
        "sources.allow_hosts",
        "tests/it/keys.rs",
        "only_allowed_hosts_are_fetched_from",
    ),
    (
        "sources.deny_hosts",
        "tests/it/callbacks.rs",
        "callbacks_go_only_where_sources_may_come_from",
    ),
    (
        "transcoding.ffmpeg_path",
        "tests/it/cli.rs",
        "a_wrong_start_is_told_in_one_line_that_names_the_key",
    ),
    (
        "transcoding.ffprobe_path",
        "tests/it/runs.rs",
        "ffprobe_path",
    ),
    (
        "transcoding.temp_directory",
        "tests/it/review.rs",
        "a_stop_breaks_bodies_off_and_deletes_the_cache",
    ),
    (
        "transcoding.max_concurrent_jobs",
        "tests/it/review.rs",
        "paused_encoders_do_not_keep_others_waiting",
    ),
    (
        "transcoding.segment_duration",
        "tests/it/together.rs",
        "what_is_watched_together_is_decoded_once_and_exact",
    ),
    (
        "transcoding.idle_timeout_seconds",
        "tests/it/resilience/endings.rs",
        "idle_streams_have_no_encoder_and_keep_their_segments",
    ),
    (
        "transcoding.cache_max_bytes",
        "tests/it/resilience/limits.rs",
        "the_cache_keeps_to_its_limit_while_a_film_is_played",
    ),
    (
        "transcoding.max_heads_per_session",
        "tests/it/resilience/endings.rs",
        "wild_seeking_keeps_to_its_encoders_and_serves_everyone",
    ),
    (
        "transcoding.buffer_ahead_seconds",
        "tests/it/resilience/endings.rs",
        "a_paused_player_stops_its_encoders",
    ),
    (
        "transcoding.stall_timeout",
        "tests/it/resilience/encoders.rs",
        "a_hung_encoder_is_ended_and_replaced",
    ),
    (
        "transcoding.stall_timeout_per_segment",
        "tests/it/keys.rs",
        "longer_segments_give_encoders_longer",
    ),
    (
        "transcoding.retry_count",
        "tests/it/batch.rs",
        "trouble_is_tried_again_and_hopeless_things_are_not",
    ),
    (
        "transcoding.retry_delay",
        "tests/it/batch.rs",
        "trouble_is_tried_again_and_hopeless_things_are_not",
    ),
    (
        "transcoding.cleanup_after_hours",
        "tests/it/keys.rs",
        "files_are_kept_for_their_hours",
    ),
    (
        "transcoding.validate_segments",
        "tests/it/keys.rs",
        "damaged_segments_are_noticed_before_a_job_is_ready",
    ),
    (
        "transcoding.enable_preemption",
        "tests/it/keys.rs",
        "files_stand_still_while_pictures_are_waited_for",
    ),
    (
        "transcoding.max_queue_size",
        "tests/it/keys.rs",
        "a_full_queue_takes_no_more",
    ),
    (
        "transcoding.tone_map_hdr",
        "tests/it/keys.rs",
        "what_streams_are_made_of_follows_the_keys",
    ),
    (
        "transcoding.enable_abr",
        "tests/it/renditions.rs",
        "ladders_obey_their_keys_and_what_is_asked_for",
    ),
    (
        "transcoding.abr_max_variants",
        "tests/it/renditions.rs",
        "ladders_obey_their_keys_and_what_is_asked_for",
    ),
    (
        "transcoding.video_preset",
        "tests/it/keys.rs",
        "what_streams_are_made_of_follows_the_keys",
    ),
    (
        "transcoding.default_video_codec",
        "tests/it/keys.rs",
        "what_streams_are_made_of_follows_the_keys",
    ),
    (
        "transcoding.default_audio_codec",
        "tests/it/keys.rs",
        "what_streams_are_made_of_follows_the_keys",
    ),
    (
        "hardware.prefer_hw_accel",
        "tests/it/accelerators.rs",
        "hardware_that_is_not_preferred_is_used_when_it_is_named",
    ),
    (
        "hardware.fallback_to_software",
        "tests/it/accelerators.rs",
        "hardware_that_is_not_there_is_told_and_stood_in_for",
    ),
    (
        "hardware.nvenc_preset",
        "tests/it/accelerators.rs",
        "the_presets_of_hardware_are_obeyed",
    ),
    (
        "hardware.qsv_preset",
        "tests/it/accelerators.rs",
        "the_presets_of_hardware_are_obeyed",
    ),
    (
        "hardware.videotoolbox_preset",
        "tests/it/accelerators.rs",
        "the_presets_of_hardware_are_obeyed",
    ),
    (
        "hardware.vaapi_device",
        "tests/it/accelerators.rs",
        "the_presets_of_hardware_are_obeyed",
    ),
    (
        "limits.max_resolution",
        "tests/it/keys.rs",
        "what_streams_are_made_of_follows_the_keys",
    ),
    (
        "limits.max_bitrate",
        "tests/it/renditions.rs",
        "ladders_obey_their_keys_and_what_is_asked_for",
    ),
    (
        "limits.max_file_size_gb",
        "tests/it/keys.rs",
        "a_file_that_grows_too_large_is_given_up",
    ),
    (
        "security.api_key",
        "tests/it/access.rs",
        "everything_but_probes_and_the_page_needs_the_key",
    ),
    (
        "security.allowed_origins",
        "tests/it/access.rs",
        "only_allowed_origins_are_told_that_they_may",
    ),
    (
        "security.rate_limit_per_minute",
        "tests/it/access.rs",
        "clients_that_ask_too_often_are_told_when_to_come_back",
    ),
    (
        "security.job_token_ttl_seconds",
        "tests/it/access.rs",
        "signed_addresses_outlive_the_gateway_but_not_their_time",
    ),
    (
        "security.callback_secret",
        "tests/it/callbacks.rs",
        "a_callback_is_signed_and_tried_again_until_it_arrives",
    ),
    (
        "security.state_directory",
        "tests/it/keys.rs",
        "the_identity_lies_where_it_is_told_to",
    ),
    (
        "security.registration_secret",
        "tests/it/discovery.rs",
        "a_gateway_registers_again_and_again_and_withdraws",
    ),
    (
        "storage.directory",
        "tests/it/batch.rs",
        "jobs_and_files_survive_the_gateway",
    ),
    (
        "store.url",
        "tests/it/engine.rs",
        "work_of_an_engine_that_ends_is_done_by_another",
    ),
    (
        "artifacts.url",
        "tests/it/engine.rs",
        "an_engine_elsewhere_fetches_works_and_delivers",
    ),
    ("artifacts.max_bytes", "src/artifact/store.rs", "max_bytes"),
    (
        "dispatch.lease_seconds",
        "tests/it/engine.rs",
        "work_of_an_engine_that_ends_is_done_by_another",
    ),
    (
        "dispatch.engine_expiry_seconds",
        "tests/it/dispatch.rs",
        "work_of_a_vanished_worker_goes_to_another_and_the_first_is_heard_no_more",
    ),
    (
        "dispatch.job_timeout_seconds",
        "tests/it/dispatch.rs",
        "an_attempt_that_takes_too_long_is_ended_whatever_its_worker_says",
    ),
    (
        "dispatch.keep_hours",
        "tests/it/dispatch.rs",
        "what_ended_long_ago_is_forgotten_with_its_results",
    ),
    (
        "local_engine.enabled",
        "tests/it/engine.rs",
        "a_gateway_whose_engine_is_off_leaves_work_alone",
    ),
    (
        "local_engine.concurrency",
        "tests/it/batch.rs",
        "jobs_and_files_survive_the_gateway",
    ),
    (
        "local_engine.patience_seconds",
        "tests/it/engine.rs",
        "the_gateways_own_engine_does_what_nobody_else_does",
    ),
    (
        "peertube.registration_token",
        "tests/it/peertube.rs",
        "registration_token",
    ),
    (
        "peertube.stalled_after_seconds",
        "tests/it/peertube/jobs.rs",
        "stalled_after_seconds",
    ),
    (
        "peertube.live_stalled_after_seconds",
        "tests/it/peertube/live.rs",
        "live_stalled_after_seconds",
    ),
    (
        "peertube.resolutions",
        "tests/it/peertube/videos.rs",
        "resolutions",
    ),
    (
        "peertube.always_transcode_original_resolution",
        "tests/it/peertube/videos.rs",
        "always_transcode_original_resolution",
    ),
    (
        "peertube.local_fallback_seconds",
        "tests/it/peertube/live.rs",
        "local_fallback_seconds",
    ),
    (
        "peertube.max_upload_bytes",
        "tests/it/peertube/bad_input.rs",
        "max_upload_bytes",
    ),
    ("grav1.password", "tests/it/scenes/bad_input.rs", "password"),
    (
        "grav1.worker_token",
        "tests/it/scenes/web.rs",
        "worker_token",
    ),
    (
        "grav1.lease_seconds",
        "tests/it/scenes/protocol.rs",
        "lease_seconds",
    ),
    (
        "grav1.max_attempts",
        "tests/it/scenes/bad_input.rs",
        "max_attempts",
    ),
    (
        "grav1.encoder_versions",
        "tests/it/scenes/worker.rs",
        "encoder_versions",
    ),
    (
        "mdns.enabled",
        "tests/it/clients.rs",
        "gateways_are_found_by_their_callbacks_and_say_good_bye",
    ),
    (
        "mdns.service_name",
        "tests/it/clients.rs",
        "gateways_are_found_by_their_callbacks_and_say_good_bye",
    ),
    (
        "ghosthub.url",
        "tests/it/discovery.rs",
        "a_gateway_registers_again_and_again_and_withdraws",
    ),
    (
        "ghosthub.auto_register",
        "tests/it/discovery.rs",
        "a_gateway_that_is_not_to_register_does_not",
    ),
    (
        "ghosthub.register_interval_seconds",
        "tests/it/discovery.rs",
        "a_gateway_registers_again_and_again_and_withdraws",
    ),
    (
        "queries.concurrency",
        "tests/it/queries/limits.rs",
        "concurrency",
    ),
    (
        "queries.queue_timeout_seconds",
        "tests/it/queries/limits.rs",
        "queue_timeout_seconds",
    ),
    (
        "queries.timeout_seconds",
        "tests/it/queries/limits.rs",
        "timeout_seconds",
    ),
    (
        "queries.legacy_errors",
        "tests/it/queries/refusals.rs",
        "legacy_errors",
    ),
    (
        "queries.cache_max_bytes",
        "tests/it/queries/limits.rs",
        "cache_max_bytes",
    ),
    (
        "queries.max_download_bytes",
        "tests/it/queries/remote.rs",
        "max_download_bytes",
    ),
    (
        "logging.level",
        "tests/it/operations/service.rs",
        "a_reload_obeys_what_it_can_and_says_what_it_cannot",
    ),
    (
        "logging.format",
        "tests/it/operations/service.rs",
        "every_request_and_every_encoder_is_one_line",
    ),
    (
        "logging.file",
        "tests/it/operations/service.rs",
        "a_log_file_that_was_moved_is_made_anew_on_sighup",
    ),
    (
        "logging.requests",
        "tests/it/operations/service.rs",
        "a_reload_obeys_what_it_can_and_says_what_it_cannot",
    ),
];

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
    let shown: Vec<&str> = SHOWN.iter().map(|(key, ..)| *key).collect();
    assert_eq!(shown, keys);
    for (key, file, test) in SHOWN {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(test), "{key}: {file} has no {test}");
    }
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
    assert!(!data.path().join("batch").join(&old).exists());
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
