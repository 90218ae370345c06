//! Keys of queued work: who is given up, who may work at one time, what is forgotten.

use std::time::Duration;

use ghoststream::config::Config;
use http::StatusCode;
use serde_json::{Value, json};

use super::{SOON, batch, film};
use crate::app::{TestApp, ffmpeg};
use crate::fake::{FakeFfmpeg, eventually};

/// A gateway whose jobs are done by engines elsewhere.
async fn desk(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.dispatch.lease_seconds = 2;
        change(c);
    })
    .await
}

async fn submit(app: &TestApp) -> String {
    let body = json!({"source_url": "film.mkv", "target_codec": "h264"});
    let answer = app.post("/jobs/", body).await;
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

/// An engine says that it is there, and takes a job.
async fn take(app: &TestApp, engine: &str, job: &str) {
    say_there(app, engine, "idle").await;
    let body = json!({"engine_id": engine, "benchmark_time": 1.0});
    app.post("/engines/benchmark_result", body).await;
    let got = app.post("/assign_job/", json!({"engine_id": engine})).await;
    assert_eq!(got.json()["job_id"], job, "{}", got.text());
}

async fn say_there(app: &TestApp, engine: &str, status: &str) {
    let body = json!({"engine_id": engine, "status": status});
    let answer = app.post("/engines/heartbeat", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

async fn state(app: &TestApp, job: &str) -> Value {
    app.get(&format!("/api/v2/jobs/{job}")).await.json()["state"].clone()
}

/// Long before the usual minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_engine_is_given_up_after_its_time() {
    let app = desk(|c| c.dispatch.engine_expiry_seconds = 1).await;
    let job = submit(&app).await;
    take(&app, "silent", &job).await;
    let until = tokio::time::Instant::now() + SOON / 3;
    loop {
        let told = app.get("/api/v2/engines").await.json();
        if told["engines"][0]["alive"] == false {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_has_its_time_and_no_more() {
    let app = desk(|c| c.dispatch.job_timeout_seconds = 1).await;
    let job = submit(&app).await;
    take(&app, "eager", &job).await;
    assert_eq!(state(&app, &job).await, "leased");
    let until = tokio::time::Instant::now() + SOON / 3;
    while state(&app, &job).await != "ready" {
        assert!(tokio::time::Instant::now() < until, "it is held still");
        // However often it says that it is at work.
        say_there(&app, "eager", "busy").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_jobs_are_kept_for_their_hours() {
    let app = desk(|c| c.dispatch.keep_hours = 3).await;
    let jobs = [submit(&app).await, submit(&app).await];
    for job in &jobs {
        let answer = app.post(&format!("/jobs/{job}/cancel"), json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let (gateway, folder) = app.apart();
    gateway.stop().await;
    let database = folder.path().join("data/ghoststream.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for (job, minutes) in jobs.iter().zip([181_i64, 175]) {
        let aged = "UPDATE jobs SET updated_at = updated_at - ? WHERE id = ?";
        let aged = sqlx::query(aged).bind(minutes * 60_000).bind(job);
        assert_eq!(aged.execute(&pool).await.unwrap().rows_affected(), 1);
    }
    pool.close().await;
    let app = TestApp::within(folder, |c| c.dispatch.keep_hours = 3).await;
    let path = |job: &str| format!("/api/v2/jobs/{job}");
    let until = tokio::time::Instant::now() + SOON;
    while app.get(&path(&jobs[0])).await.status != StatusCode::NOT_FOUND {
        assert!(tokio::time::Instant::now() < until, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(app.get(&path(&jobs[1])).await.status, StatusCode::OK);
    app.stop().await;
}

/// A gateway with room for the two encoders of one stream, which hang.
async fn room_for_one() -> (FakeFfmpeg, TestApp) {
    let fake = FakeFfmpeg::with("hang=0\n");
    let app = TestApp::with(|c| {
        fake.use_in(c);
        c.transcoding.max_concurrent_jobs = 1;
        c.transcoding.max_heads_per_session = 2;
    })
    .await;
    (fake, app)
}

/// Encoders that start while their source is still looked at are no more than others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoders_with_a_head_start_count_too() {
    let (fake, app) = room_for_one().await;
    film(app.folder.path(), 4.0);
    let names = ["a.mp4", "b.mp4", "c.mp4"];
    for name in names {
        let made = app.folder.path().join("film.mkv");
        let path = app.folder.path().join(name);
        ffmpeg(&[
            "-i",
            made.to_str().unwrap(),
            "-c",
            "copy",
            path.to_str().unwrap(),
        ]);
    }
    let start = |name| app.stream(name, json!({}));
    let (a, b, c) = tokio::join!(start(names[0]), start(names[1]), start(names[2]));
    for job in [a, b, c] {
        let opened = |s: &Value| s["segments"].is_object();
        app.status_until(&job, SOON, opened).await;
    }
    eventually(SOON, "no encoders", || fake.alive().len() == 2).await;
    assert_eq!(fake.runs().len(), 2);
    assert_eq!(app.gateway.registry().active_encoders(), 2);
    app.stop().await;
}

/// Two encoders of one stream, or one file: nobody else has any until they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_made_at_one_time_than_may_be() {
    let (fake, app) = room_for_one().await;
    film(app.folder.path(), 4.0);
    let first = app.stream("film.mkv", json!({})).await;
    eventually(SOON, "no encoders", || fake.alive().len() == 2).await;
    assert_eq!(app.gateway.registry().active_encoders(), 2);
    let second = app.stream("film.mkv", json!({"resolution": "360p"})).await;
    let opened = |s: &Value| s["segments"].is_object();
    app.status_until(&second, SOON, opened).await;
    let path = format!("/stream/{second}/segment_00000.ts");
    let early = tokio::time::timeout(Duration::from_secs(2), app.get(&path)).await;
    assert!(early.is_err(), "it is served");
    assert_eq!(fake.runs().len(), 2);
    fake.set("");
    app.delete(&format!("/api/transcode/{first}")).await;
    assert_eq!(app.get(&path).await.status, StatusCode::OK);
    app.delete(&format!("/api/transcode/{second}")).await;
    fake.all_ended(Duration::from_secs(4)).await;

    fake.set("steps=go:2\n");
    let before = fake.runs().len();
    let jobs = [
        batch(&app, json!({"format": "mkv"})).await,
        batch(&app, json!({"format": "mp4"})).await,
    ];
    fake.allow("go", 1);
    let moves = |s: &Value| s["progress"].as_f64() > Some(0.0);
    app.status_until(&jobs[0], SOON, moves).await;
    assert_eq!(app.status(&jobs[1]).await["status"], "queued");
    assert_eq!(fake.runs().len(), before + 1);
    fake.allow("go", 3);
    for job in &jobs {
        app.status_until(job, SOON, |s| s["status"] == "ready")
            .await;
    }
    app.stop().await;
}
