//! Metrics move when work is done, and are what Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::app::{TestApp, ffmpeg};

/// Every sample by its name and labels.
type Samples = BTreeMap<String, f64>;

async fn scrape(app: &TestApp) -> Samples {
    let answer = app.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    read(&answer.text())
}

/// Reads the text as Prometheus does, and fails where Prometheus would.
fn read(text: &str) -> Samples {
    let (mut samples, mut families) = (Samples::new(), BTreeSet::new());
    let body = text.strip_suffix("# EOF\n").expect("it ends");
    let mut family = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            let (word, name) = (words.next().unwrap(), words.next().unwrap());
            if word == "HELP" {
                assert!(families.insert(name.to_owned()), "{name} is there twice");
                family = name.to_owned();
                assert!(rest.len() > name.len() + 8, "{name} has no help");
            }
            assert_eq!(name, family);
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with(&family), "{line} is not of {family}");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line}");
    }
    samples
}

/// The sum of all samples of a name whose labels hold `label`.
fn sum(samples: &Samples, name: &str, label: &str) -> f64 {
    let fits = |key: &&String| {
        let (own, labels) = key.split_once('{').unwrap_or((key, ""));
        own == name && labels.contains(label)
    };
    let found: Vec<_> = samples.keys().filter(fits).collect();
    found.iter().map(|key| samples[*key]).sum()
}

const SEGMENTS: &str = r#"route="/stream/{id}/{*file}""#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn playing_a_film_moves_what_it_should() {
    let app = TestApp::start().await;
    let film = app.folder.path().join("film.mp4");
    let video = "testsrc2=s=320x180:r=25:d=12";
    ffmpeg(&["-f", "lavfi", "-i", video, film.to_str().unwrap()]);
    let before = scrape(&app).await;
    let requests = "ghoststream_http_requests_total";
    assert_eq!(sum(&before, requests, SEGMENTS), 0.0);
    assert_eq!(sum(&before, "ghoststream_ffmpeg_exits_total", ""), 0.0);
    assert_eq!(sum(&before, "ghoststream_database_up", ""), 1.0);

    let job = app.stream("film.mp4", json!({"resolution": "360p"})).await;
    let playlist = app.file(&job, "master.m3u8").await;
    let first = app.file(&job, "segment_00000.ts").await;
    let again = app.file(&job, "segment_00000.ts").await;
    assert_eq!(first, again);
    app.get("/no/such/route").await;
    let after = scrape(&app).await;

    let ok = r#"route="/stream/{id}/{*file}",status="200""#;
    assert_eq!(sum(&after, requests, ok), 3.0);
    assert_eq!(sum(&after, requests, r#"route="none",status="404""#), 1.0);
    let sent = (playlist.len() + 2 * first.len()) as f64;
    let bytes = "ghoststream_http_response_bytes_total";
    assert_eq!(sum(&after, bytes, SEGMENTS), sent);
    let waits = "ghoststream_segment_wait_seconds_count";
    assert_eq!(sum(&after, waits, ""), 2.0, "{after:?}");
    assert!(sum(&after, waits, r#"from="cache""#) >= 1.0, "{after:?}");
    let durations = "ghoststream_http_request_duration_seconds_count";
    assert_eq!(sum(&after, durations, SEGMENTS), 3.0);
    let exits = |kind| sum(&after, "ghoststream_ffmpeg_exits_total", kind);
    assert!(exits(r#"kind="probe",reason="done""#) >= 1.0, "{after:?}");
    assert!(sum(&after, "ghoststream_encoder_starts_total", "") >= 1.0);
    let queues = "ghoststream_queue_wait_seconds_count";
    assert!(sum(&after, queues, r#"queue="stream""#) >= 1.0);
    assert_eq!(sum(&after, "ghoststream_session_started_total", ""), 1.0);
    assert_eq!(sum(&after, "ghoststream_session_active", "open"), 1.0);
    assert_eq!(sum(&after, "ghoststream_streams", ""), 1.0);
    // One is under way: the one that asks.
    assert_eq!(sum(&after, "ghoststream_http_requests_in_flight", ""), 1.0);
    assert!(sum(&after, "process_resident_memory_bytes", "") > 1e6);
    assert!(sum(&after, "process_start_time_seconds", "") > 1e9);
    assert!(sum(&after, "process_open_fds", "") > 3.0);
    assert!(sum(&after, "process_cpu_seconds_total", "") > 0.0);

    // The encoder may be at work until its job is deleted.
    app.delete(&format!("/api/transcode/{job}")).await;
    let ended = async {
        loop {
            let now = scrape(&app).await;
            if sum(&now, "ghoststream_ffmpeg_processes", "") == 0.0 {
                return now;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended);
    let ended = ended.await.expect("processes are counted down");
    assert_eq!(sum(&ended, "ghoststream_session_active", ""), 0.0);
    assert_eq!(sum(&ended, "ghoststream_scratch_bytes", "segments"), 0.0);
    let streams = r#"kind="stream""#;
    assert!(sum(&ended, "ghoststream_ffmpeg_exits_total", streams) >= 1.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_work_is_counted_by_kind_and_state() {
    let app = TestApp::with(|c| c.local_engine.enabled = false).await;
    let job = json!({"source_url": "film.mkv", "target_codec": "h264"});
    assert_eq!(app.post("/jobs/", job).await.status, StatusCode::OK);
    let waiting = scrape(&app).await;
    let state = |samples: &Samples, state: &str| {
        let label = format!(r#"kind="transcode",state="{state}""#);
        sum(samples, "ghoststream_job_state", &label)
    };
    assert_eq!(state(&waiting, "ready"), 1.0, "{waiting:?}");
    assert_eq!(sum(&waiting, "ghoststream_workers", ""), 0.0);

    let claim = json!({"kinds": ["transcode"], "codecs": ["h264"], "wait_seconds": 0});
    let claimed = app.post("/api/v2/engines/e1/claim", claim).await;
    assert_eq!(claimed.status, StatusCode::OK, "{}", claimed.text());
    let leased = scrape(&app).await;
    assert_eq!(
        (state(&leased, "ready"), state(&leased, "leased")),
        (0.0, 1.0)
    );
    assert_eq!(sum(&leased, "ghoststream_workers", "working"), 1.0);
    let contact = sum(&leased, "ghoststream_worker_last_contact_seconds", "");
    assert!((0.0..60.0).contains(&contact), "{contact}");
    let waits = "ghoststream_queue_wait_seconds_count";
    assert_eq!(sum(&leased, waits, r#"queue="job""#), 1.0, "{leased:?}");

    let id = claimed.json()["job_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v2/jobs/{id}/cancel");
    let cancelled = app.post(&path, json!({})).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text());
    let ended = scrape(&app).await;
    assert_eq!(state(&ended, "cancelled"), 1.0);
    let label = r#"kind="transcode",state="cancelled""#;
    assert_eq!(sum(&ended, "ghoststream_jobs_ended_total", label), 1.0);
    app.stop().await;
}

#[tokio::test]
async fn metrics_need_the_key() {
    let app = TestApp::with(|c| c.security.api_key = Some("key".into())).await;
    let refused = app.get("/metrics").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let told = app.get("/metrics?api_key=key").await;
    assert_eq!(told.status, StatusCode::OK);
    app.stop().await;
}

#[tokio::test]
async fn readiness_names_what_it_looked_at() {
    let app = TestApp::start().await;
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK);
    let all = json!({"queue": "ok", "database": "ok", "ffmpeg": "ok", "disk": "ok"});
    assert_eq!(ready.json(), json!({"ready": true, "checks": all}));
    app.stop().await;
}
