//! Encoders that misbehave.

use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::BodyExt;

use super::*;

/// Size of what the fake delivers before it misbehaves: in the middle of a segment.
const SOME: u32 = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_dies_in_a_segment_is_replaced_unnoticed() {
    for how in ["die", "abort"] {
        let fake = FakeFfmpeg::with(&format!("times=3 track=video {how}={SOME}\n"));
        let (app, job) = faked(&fake, 16, |_| {}).await;
        let film = play(&app, &job).await;
        assert_whole(&film, 16);
        let videos = fake.runs().iter().filter(|r| r.track == "video").count();
        assert!(videos >= 4, "the fake was not used: {videos} runs");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_that_dies_is_replaced_unnoticed() {
    let fake = FakeFfmpeg::with("times=2 track=audio die=9000\n");
    let (app, job) = faked(&fake, 12, |_| {}).await;
    assert_whole(&play(&app, &job).await, 12);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_always_fails_is_told_in_words_and_tried_anew() {
    let fake = FakeFfmpeg::with("track=video error=No_capable_devices_found\n");
    let (app, job) = faked(&fake, 8, |_| {}).await;
    let path = format!("/stream/{job}/segment_00000.ts");
    for _ in 0..2 {
        let answer = within(SOON, "an error", app.get(&path)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("No capable devices found"), "{detail}");
    }
    let status = app.status(&job).await.to_string();
    assert!(status.contains("No capable devices found"), "{status}");
    fake.set("");
    assert_whole(&play(&app, &job).await, 8);
    let status = app.status(&job).await.to_string();
    assert!(!status.contains("No capable devices found"), "{status}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_gone_is_told_without_its_path() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 8, |_| {}).await;
    app.file(&job, "segment_00000.ts").await;
    std::fs::remove_file(fake.path()).unwrap();
    app.delete(&format!("/api/transcode/{job}")).await;
    let job = app.stream("clip.mkv", serde_json::json!({})).await;
    let answer = app.get(&format!("/stream/{job}/segment_00000.ts")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
    let folder = fake.path().parent().unwrap().to_str().unwrap().to_owned();
    assert!(!answer.text().contains(&folder), "{}", answer.text());
    assert!(!app.status(&job).await.to_string().contains(&folder));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_after_the_first_bytes_breaks_the_body_off() {
    // Three failures at one segment without progress between them are the end of it.
    let fake = FakeFfmpeg::with("times=1 track=video die=9000\ntrack=video error=Gone\n");
    let (app, job) = faked(&fake, 8, |_| {}).await;
    let path = format!("/stream/{job}/segment_00000.ts");
    // Broken off early enough, not even the head of the answer comes.
    let Ok(response) = try_open(&app, &path).await else {
        return app.stop().await;
    };
    if response.status() == StatusCode::OK {
        let (_, whole) = within(SOON, "an end", drain(response.into_body())).await;
        assert!(!whole, "a part was passed off as the whole segment");
    } else {
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    }
    fake.set("");
    assert_whole(&play(&app, &job).await, 8);
    app.stop().await;
}

async fn hang_once(how: &str) {
    let fake = FakeFfmpeg::with(&format!("times=1 track=video {how}\n"));
    let (app, job) = faked(&fake, 8, |c| c.transcoding.stall_timeout = 3).await;
    let began = Instant::now();
    let film = within(SOON, how, play(&app, &job)).await;
    assert_whole(&film, 8);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3), "{how}: it did not hang");
    let hung = fake.runs().into_iter().find(|r| r.track == "video");
    let hung = hung.unwrap().pid;
    assert!(!crate::fake::alive(hung), "{how}: the hung encoder lives");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_encoder_is_ended_and_replaced() {
    tokio::join!(hang_once("hang=0"), hang_once("hang=30000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_encoder_that_ignores_sigterm_is_killed_and_replaced() {
    tokio::join!(hang_once("deaf=0"), hang_once("deaf=30000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_always_hangs_is_an_error_not_a_hang() {
    let fake = FakeFfmpeg::with("hang=0\n");
    let (app, job) = faked(&fake, 8, |c| c.transcoding.stall_timeout = 1).await;
    let path = format!("/stream/{job}/segment_00000.ts");
    let answer = within(SOON, "an error", app.get(&path)).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
    assert!(
        answer.text().contains("no output for 1 s"),
        "{}",
        answer.text()
    );
    fake.all_ended(Duration::from_secs(2)).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_nothing_are_errors_in_words() {
    for rules in ["garbage=100000\n", "end=0\n"] {
        let fake = FakeFfmpeg::with(rules);
        let (app, job) = faked(&fake, 8, |_| {}).await;
        let path = format!("/stream/{job}/segment_00000.ts");
        let answer = within(SOON, "an error", app.get(&path)).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
        fake.set("");
        assert_whole(&play(&app, &job).await, 8);
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_ends_too_early_without_an_error_is_replaced() {
    let fake = FakeFfmpeg::with("times=1 track=video end=30000\n");
    let (app, job) = faked(&fake, 16, |_| {}).await;
    let film = within(SOON, "a film", play(&app, &job)).await;
    assert_whole(&film, 16);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_words_without_a_line_end_do_no_harm() {
    let fake = FakeFfmpeg::with("chatter=4000000\n");
    let (app, job) = faked(&fake, 8, |_| {}).await;
    assert_whole(&play(&app, &job).await, 8);
    assert_eq!(fake.runs().len(), 2, "an encoder was replaced");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_its_encoder_leaves_behind_is_ended_with_it() {
    let fake = FakeFfmpeg::with("times=1 track=video orphan=30000\n");
    let (app, job) = faked(&fake, 8, |_| {}).await;
    let film = within(SOON, "a film", play(&app, &job)).await;
    assert_whole(&film, 8);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_and_a_slow_encoder_are_waited_for_beyond_the_idle_time() {
    for rules in ["late=2500\n", "track=video slow=12000\n"] {
        let fake = FakeFfmpeg::with(rules);
        let (app, job) = faked(&fake, 4, |c| c.transcoding.idle_timeout_seconds = 1).await;
        let film = within(SOON, rules, play(&app, &job)).await;
        assert_whole(&film, 4);
        let runs = fake.runs();
        assert_eq!(runs.len(), 2, "{rules}: an encoder was replaced: {runs:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_segment_comes_as_it_is_made() {
    let fake = FakeFfmpeg::with("track=video slow=20000\n");
    let (app, job) = faked(&fake, 8, |_| {}).await;
    let response = open(&app, &format!("/stream/{job}/segment_00000.ts")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    let ready = app.status(&job).await["segments"]["ready"].clone();
    assert_eq!(
        ready,
        serde_json::json!([]),
        "it was held back until it was whole"
    );
    let (_, whole) = drain(body).await;
    assert!(whole);
    app.stop().await;
}
