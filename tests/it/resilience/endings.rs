//! Jobs that are ended, players that pause or leave, films that end too early.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;

use super::*;
use crate::fake::{eventually, folder_bytes};
use crate::media::{make, pictures};

const TWO_SECONDS: Duration = Duration::from_secs(2);

async fn cancel(app: &TestApp, job: &str) -> crate::app::Answer {
    app.post(&format!("/api/transcode/{job}/cancel"), json!({}))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_job_ends_its_encoders_and_its_files() {
    for rules in ["", "track=video deaf=20000\n", "slow=4000\n"] {
        let fake = FakeFfmpeg::with(rules);
        let (app, job) = faked(&fake, 120, |_| {}).await;
        app.file(&job, "master.m3u8").await;
        let segment = format!("/stream/{job}/segment_00000.ts");
        if rules.is_empty() {
            app.file(&job, "segment_00000.ts").await;
        } else {
            eventually(TWO_SECONDS, "no encoder", || fake.alive().len() == 2).await;
        }
        let answer = app.delete(&format!("/api/transcode/{job}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        fake.all_ended(TWO_SECONDS).await;
        expect_status(&app, &segment, StatusCode::NOT_FOUND).await;
        expect_status(
            &app,
            &format!("/api/transcode/{job}/status"),
            StatusCode::NOT_FOUND,
        )
        .await;
        let cache = app.folder.path().join("cache");
        eventually(TWO_SECONDS, "files", || folder_bytes(&cache) == 0).await;
        // Nothing is written any more by what was under way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(folder_bytes(&cache), 0);
        let stats = app.get("/api/stats").await.json();
        assert_eq!(stats["active_encoders"], 0, "{stats}");
        assert_eq!(stats["cache_bytes"], 0, "{stats}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_breaks_off_the_bodies_under_way() {
    let fake = FakeFfmpeg::with("track=video slow=4000\n");
    let (app, job) = faked(&fake, 60, |_| {}).await;
    let response = open(&app, &format!("/stream/{job}/segment_00001.ts")).await;
    let later = format!("/stream/{job}/segment_00002.ts");
    let waiting = open(&app, &later);
    let ending = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        app.delete(&format!("/api/transcode/{job}")).await
    };
    let (late, deleted) = tokio::join!(within(TWO_SECONDS, "an answer", waiting), ending);
    assert_eq!(deleted.status, StatusCode::OK);
    assert_eq!(late.status(), StatusCode::GONE);
    assert_eq!(response.status(), StatusCode::OK);
    let (_, whole) = within(TWO_SECONDS, "an end", drain(response.into_body())).await;
    assert!(!whole, "a part was passed off as the whole segment");
    fake.all_ended(TWO_SECONDS).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_stays_readable() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 120, |_| {}).await;
    app.file(&job, "segment_00000.ts").await;
    let answer = cancel(&app, &job).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (StatusCode::OK, &json!("cancelled"))
    );
    fake.all_ended(TWO_SECONDS).await;
    assert_eq!(app.status(&job).await["status"], "cancelled");
    assert_eq!(cancel(&app, &job).await.status, StatusCode::BAD_REQUEST);
    expect_status(
        &app,
        &format!("/stream/{job}/segment_00000.ts"),
        StatusCode::GONE,
    )
    .await;
    assert_eq!(
        app.delete(&format!("/api/transcode/{job}")).await.status,
        StatusCode::OK
    );
    assert_eq!(cancel(&app, &job).await.status, StatusCode::BAD_REQUEST);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_ended_while_they_open_leave_nothing() {
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|c| fake.use_in(c)).await;
    clip(app.folder.path(), "clip.mkv", 60);
    for i in 0..12u64 {
        let job = app.stream("clip.mkv", json!({})).await;
        // From before the probe to after the first encoders.
        tokio::time::sleep(Duration::from_millis(i * 20)).await;
        let answer = app.delete(&format!("/api/transcode/{job}")).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    fake.all_ended(TWO_SECONDS).await;
    let cache = app.folder.path().join("cache");
    eventually(TWO_SECONDS, "files", || folder_bytes(&cache) == 0).await;
    let registry = app.gateway.registry();
    eventually(TWO_SECONDS, "permits", || registry.active_encoders() == 0).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_streams_have_no_encoder_and_keep_their_segments() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 120, |c| c.transcoding.idle_timeout_seconds = 1).await;
    let first = app.file(&job, "segment_00000.ts").await;
    fake.all_ended(Duration::from_secs(3)).await;
    let runs = fake.runs().len();
    assert_eq!(app.file(&job, "segment_00000.ts").await, first);
    assert_eq!(
        fake.runs().len(),
        runs,
        "a segment that was there was made again"
    );
    let last = segments(&app, &job).await.pop().unwrap();
    assert!(!app.file(&job, &last).await.is_empty());
    assert!(fake.runs().len() > runs);
    fake.all_ended(Duration::from_secs(3)).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_player_stops_its_encoders() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 600, |c| c.transcoding.buffer_ahead_seconds = 5).await;
    for name in &segments(&app, &job).await[..2] {
        app.file(&job, name).await;
    }
    app.status_until(&job, SOON, |s| s["phase"] == "paused")
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, began) = (fake.cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = fake.cpu_seconds() - before;
    assert!(
        used < 0.1,
        "{used} s of processor time in {:?} while paused",
        began.elapsed()
    );
    assert_eq!(fake.alive().len(), 2, "they are still there");
    let ready = app.status(&job).await["segments"]["ready"][0][1]
        .as_u64()
        .unwrap();
    assert!(ready < 20, "{ready} segments were made ahead");
    for name in &segments(&app, &job).await[2..12] {
        within(SOON, "a segment", app.file(&job, name)).await;
    }
    assert_eq!(fake.runs().len(), 2, "it went on with the same encoders");
    app.stop().await;
}

/// Also when the encoders have to wait for their player again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forward_play_never_restarts_an_encoder() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 120, |c| c.transcoding.buffer_ahead_seconds = 5).await;
    for name in segments(&app, &job).await {
        within(SOON, "a segment", app.file(&job, &name)).await;
    }
    assert_eq!(fake.runs().len(), 2);
    app.status_until(&job, SOON, |s| s["status"] == "ready")
        .await;
    fake.all_ended(SOON).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_jobs_on_one_source_share_encoders() {
    let fake = FakeFfmpeg::new();
    let (app, one) = faked(&fake, 120, |_| {}).await;
    app.file(&one, "segment_00000.ts").await;
    let two = app.stream("clip.mkv", json!({})).await;
    assert_eq!(
        app.file(&two, "segment_00000.ts").await,
        app.file(&one, "segment_00000.ts").await
    );
    assert_eq!(fake.runs().len(), 2);
    assert_eq!(app.status(&two).await["viewer_count"], 2);
    assert_eq!(
        app.delete(&format!("/api/transcode/{one}")).await.status,
        StatusCode::OK
    );
    for name in &segments(&app, &two).await[..6] {
        app.file(&two, name).await;
    }
    assert_eq!(
        fake.runs().len(),
        2,
        "an encoder was ended with the other job"
    );
    assert_eq!(
        app.delete(&format!("/api/transcode/{two}")).await.status,
        StatusCode::OK
    );
    fake.all_ended(TWO_SECONDS).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_body_does_not_end_the_work_of_others() {
    let fake = FakeFfmpeg::with("track=video slow=30000\n");
    let (app, job) = faked(&fake, 12, |c| c.transcoding.idle_timeout_seconds = 1).await;
    let path = format!("/stream/{job}/segment_00001.ts");
    let (leaver, stayer) = tokio::join!(open(&app, &path), open(&app, &path));
    let mut leaver = leaver.into_body();
    leaver.frame().await.unwrap().unwrap();
    drop(leaver);
    let (_, whole) = drain(stayer.into_body()).await;
    assert!(whole);
    assert_eq!(fake.runs().len(), 2, "an encoder was replaced");
    let job_path = format!("/stream/{job}/segment_00003.ts");
    drop(open(&app, &job_path).await);
    fake.all_ended(Duration::from_secs(4)).await;
    let registry = app.gateway.registry();
    eventually(TWO_SECONDS, "permits", || registry.active_encoders() == 0).await;
    assert_whole(&play(&app, &job).await, 12);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wild_seeking_keeps_to_its_encoders_and_serves_everyone() {
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|c| {
        fake.use_in(c);
        // One less than usual.
        c.transcoding.max_heads_per_session = 3;
    })
    .await;
    let folder = app.folder.path();
    clip(folder, "clip.mkv", 600);
    // Without sound all encoders are those of the pictures.
    let (from, to) = (folder.join("clip.mkv"), folder.join("silent.mkv"));
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    ffmpeg(&["-i", from, "-c", "copy", "-an", to]);
    let job = app.stream("silent.mkv", json!({})).await;
    let names = segments(&app, &job).await;
    let places = (0..20).map(|i| (i * 89 + 31) % names.len());
    let urls: Vec<String> = places
        .map(|i| format!("/stream/{job}/{}", names[i]))
        .collect();
    let most = AtomicUsize::new(0);
    let watching = async {
        loop {
            most.fetch_max(fake.alive().len(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let seeking = async {
        // Old requests are given up, as players do.
        for url in &urls {
            let _ = tokio::time::timeout(Duration::from_millis(120), app.get(url)).await;
        }
        let last = within(SOON, "the last", app.get(&urls[19])).await;
        assert_eq!(last.status, StatusCode::OK);
        // Old requests are kept open.
        let fresh =
            (0..20).map(|i| format!("/stream/{job}/{}", names[(i * 53 + 11) % names.len()]));
        let kept = fresh.enumerate().map(|(i, url)| {
            let app = &app;
            async move {
                tokio::time::sleep(Duration::from_millis(i as u64 * 120)).await;
                app.get(&url).await.status
            }
        });
        let kept = futures_util::future::join_all(kept);
        within(2 * SOON, "all", kept).await
    };
    let answers = tokio::select! {
        answers = seeking => answers,
        () = watching => unreachable!(),
    };
    assert!(answers.iter().all(|s| *s == StatusCode::OK), "{answers:?}");
    let most = most.into_inner();
    assert!((2..=3).contains(&most), "{most} encoders at one time");
    app.stop().await;
}

/// Of a film whose end is missing, as of a download that broke off, the rest shows its last picture,
/// also to a player that goes there first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_that_was_cut_off_is_served_to_its_listed_end() {
    let app = TestApp::with(|c| c.transcoding.buffer_ahead_seconds = 1).await;
    let whole = "-c:v libx264 -g 20 -movflags +faststart";
    let film = make(
        app.folder.path(),
        "film.mp4",
        &[&pictures("10", 60.0)],
        whole,
    );
    let bytes = std::fs::read(&film).unwrap();
    std::fs::write(&film, &bytes[..bytes.len() * 6 / 10]).unwrap();
    let job = app.stream("film.mp4", json!({})).await;
    let list = app.file(&job, "master.m3u8").await;
    let list = String::from_utf8(list.to_vec()).unwrap();
    let last = list.lines().rfind(|l| !l.starts_with('#')).unwrap();
    assert!(app.file(&job, last).await.len() > 1000);
    app.stop().await;
}
