//! What the document claims under "Reliability Features", made to happen (see `claims.tsv`).

use std::path::Path;
use std::time::Duration;

use ghoststream::config::Config;
use http::StatusCode;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::fake::{FakeFfmpeg, alive};
use crate::file_server::{FileServer, Spoilt};
use crate::media::make;
use crate::resilience::{assert_whole, clip, play, segments};

/// A server that says nothing is waited for three times in some of these tests, up to twenty seconds each.
const LIMIT: Duration = Duration::from_secs(150);
const SECONDS: u32 = 16;

/// A gateway with a fake ffmpeg, and the server of a clip.
async fn served(
    fake: &FakeFfmpeg,
    change: impl FnOnce(&mut Config),
) -> (TestApp, FileServer, String) {
    let app = TestApp::with(|c| {
        fake.use_in(c);
        change(c);
    })
    .await;
    clip(app.folder.path(), "clip.mkv", SECONDS);
    let server = FileServer::start(app.folder.path()).await;
    let source = server.url("/file/clip.mkv");
    (app, server, source)
}

async fn start(app: &TestApp, source: &str, mode: &str) -> String {
    let body = json!({"source": source, "mode": mode, "output": {"format": "mkv"}});
    let body = match mode {
        "batch" => body,
        _ => json!({"source": source, "mode": mode}),
    };
    let answer = app.post("/api/transcode/start", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

async fn end(app: &TestApp, job: &str) -> Value {
    let ended = |s: &Value| s["status"] == "ready" || s["status"] == "error";
    app.status_until(job, LIMIT, ended).await
}

async fn failures(app: &TestApp, job: &str) -> u64 {
    let told = app.get(&format!("/api/v2/jobs/{job}")).await.json();
    told["failures"].as_u64().unwrap()
}

/// A server that resets every connection: asked four times, and once if nothing is to be tried again.
/// One that resets as many as three attempts take is asked a fourth time, and played.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_asks_a_server_that_resets_three_times_again() {
    let mut asked = Vec::new();
    for retries in [0, 3] {
        let fake = FakeFfmpeg::new();
        let (app, server, source) = served(&fake, |c| c.transcoding.retry_count = retries).await;
        server.spoil(Spoilt::Reset, usize::MAX);
        let job = start(&app, &source, "stream").await;
        let status = end(&app, &job).await;
        assert_eq!(status["status"], "error", "{status}");
        let reason = status["error_message"].as_str().unwrap();
        assert!(reason.contains("closed the connection"), "{status}");
        asked.push(server.asked().len());
        app.stop().await;
    }
    let [once, four_times] = asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(four_times, 4 * once);

    let fake = FakeFfmpeg::new();
    let (app, server, source) = served(&fake, |_| {}).await;
    server.spoil(Spoilt::Reset, 3 * once);
    let job = start(&app, &source, "stream").await;
    assert_whole(&play(&app, &job).await, SECONDS);
    assert_eq!(server.to_be_spoilt(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_asks_a_server_that_times_out_again() {
    let fake = FakeFfmpeg::new();
    let (app, server, source) = served(&fake, |_| {}).await;
    server.spoil(Spoilt::Silent, 1);
    let job = start(&app, &source, "stream").await;
    assert_whole(&play(&app, &job).await, SECONDS);
    assert_eq!(server.to_be_spoilt(), 0);
    app.stop().await;
}

/// What an answer is, is not asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_trouble_is_final() {
    let fake = FakeFfmpeg::new();
    let (app, server, _) = served(&fake, |_| {}).await;
    for (path, times) in [("/status/404", 1), ("/status/403", 1), ("/status/503", 4)] {
        let before = server.asked().len();
        let job = start(&app, &server.url(path), "stream").await;
        assert_eq!(end(&app, &job).await["status"], "error");
        assert_eq!(server.asked().len() - before, times, "{path}");
    }
    app.stop().await;
}

/// The connection of an encoder at work is reset, or says no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_trouble_with_its_source_in_the_middle() {
    // Pictures and sound ask apart, and each first for the header, of which the first part is enough.
    for (how, times) in [(Spoilt::Torn, 4), (Spoilt::Stuck, 4)] {
        let fake = FakeFfmpeg::new();
        let (app, server, source) = served(&fake, |_| {}).await;
        // Small pictures of a long film: the encoders of its beginning are done long before its end.
        clip(app.folder.path(), "clip.mkv", 240);
        let job = start(&app, &source, "stream").await;
        let names = segments(&app, &job).await;
        app.file(&job, &names[0]).await;
        server.spoil(how, times);
        // More than one answer gives before it is spoilt.
        let middle = names.len() / 2;
        for name in &names[middle..middle + 10] {
            let path = format!("/stream/{job}/{name}");
            let answer = tokio::time::timeout(LIMIT, app.get(&path)).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{how:?}: {}", answer.text());
        }
        assert_eq!(server.to_be_spoilt(), 0, "{how:?}");
        app.stop().await;
    }
}

/// An encoder that fails at a segment is tried again three times, and then no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_of_a_stream_that_fails_is_tried_again_three_times() {
    for (failures, wanted) in [(3, StatusCode::OK), (4, StatusCode::BAD_GATEWAY)] {
        let rules = format!("times={failures} track=video error=Connection_timed_out\n");
        let fake = FakeFfmpeg::new();
        let (app, _server, _) = served(&fake, |c| c.transcoding.buffer_ahead_seconds = 1).await;
        clip(app.folder.path(), "clip.mkv", 240);
        let job = start(&app, "clip.mkv", "stream").await;
        app.file(&job, "segment_00000.ts").await;
        fake.set(&rules);
        let last = segments(&app, &job).await.pop().unwrap();
        let before = fake.runs().iter().filter(|r| r.track == "video").count();
        let answer = app.get(&format!("/stream/{job}/{last}")).await;
        assert_eq!(answer.status, wanted, "{}", answer.text());
        let runs = fake.runs().iter().filter(|r| r.track == "video").count();
        assert_eq!(runs - before, 4);
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_tried_again_three_times_after_resets_and_time_outs() {
    let fake = FakeFfmpeg::new();
    let (app, server, source) = served(&fake, |c| c.transcoding.retry_delay = 0).await;
    server.spoil(Spoilt::Reset, usize::MAX);
    let job = start(&app, &source, "batch").await;
    let status = end(&app, &job).await;
    assert_eq!(status["status"], "error", "{status}");
    assert_eq!(failures(&app, &job).await, 4);
    let asked = server.asked().len();
    assert_eq!(asked % 4, 0, "{:?}", server.asked());
    for (how, times, failed) in [
        (Spoilt::Reset, asked / 4 * 3, 3),
        // Asked again at once, and then like any other trouble.
        (Spoilt::Silent, 1, 0),
        (Spoilt::Silent, 2, 1),
        // ffmpeg itself asks again for what was broken off.
        (Spoilt::Torn, 2, 0),
    ] {
        server.spoil(how, times);
        let job = start(&app, &source, "batch").await;
        let status = end(&app, &job).await;
        assert_eq!(status["status"], "ready", "{how:?}: {status}");
        assert_eq!(server.to_be_spoilt(), 0, "{how:?}");
        assert_eq!(failures(&app, &job).await, failed, "{how:?}");
    }
    // What cannot pass is not tried again.
    let job = start(&app, &server.url("/status/404"), "batch").await;
    assert_eq!(end(&app, &job).await["status"], "error");
    assert_eq!(failures(&app, &job).await, 1);
    app.stop().await;
}

/// When a job may be tried again, after how many failures, as its gateway has written it.
async fn pause_after(data: &Path, job: &str, failures: i64) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("ghoststream.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let until = tokio::time::Instant::now() + LIMIT;
    let pause = loop {
        let row: (i64, i64) =
            sqlx::query_as("SELECT failures, not_before - updated_at FROM jobs WHERE id = ?")
                .bind(job)
                .fetch_one(&pool)
                .await
                .unwrap();
        if row.0 == failures {
            break row.1;
        }
        assert!(tokio::time::Instant::now() < until, "still {row:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // The pause goes by at once.
    let ends = "UPDATE jobs SET not_before = 0, version = version + 1 WHERE id = ?";
    sqlx::query(ends).bind(job).execute(&pool).await.unwrap();
    pool.close().await;
    pause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_between_attempts_at_a_file_are_doubled() {
    let fake = FakeFfmpeg::with("error=Connection_reset_by_peer\n");
    let (app, _server, _) = served(&fake, |c| {
        c.transcoding.retry_delay = 20;
        c.transcoding.retry_count = 3;
    })
    .await;
    let job = start(&app, "clip.mkv", "batch").await;
    let data = app.folder.path().join("data");
    for (failures, seconds) in [(1, 20), (2, 40), (3, 60)] {
        let pause = pause_after(&data, &job, failures).await;
        // Up to a tenth less, so that not all come back together.
        let wanted = seconds * 900..=seconds * 1000;
        assert!(wanted.contains(&pause), "{failures}: {pause} ms");
    }
    assert_eq!(end(&app, &job).await["status"], "error");
    assert_eq!(fake.runs().len(), 4);
    app.stop().await;
}

/// Hung from the beginning, or in the middle: ended, and another one makes the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_encoder_of_a_file_is_ended_and_replaced() {
    for rules in [
        "times=1 hang=0\n",
        "times=1 deaf=0\n",
        "times=1 steps=go:5\n",
    ] {
        let fake = FakeFfmpeg::with(rules);
        let (app, _server, _) = served(&fake, |c| {
            c.transcoding.stall_timeout = 3;
            c.transcoding.retry_delay = 0;
        })
        .await;
        fake.allow("go", 2);
        let job = start(&app, "clip.mkv", "batch").await;
        let status = end(&app, &job).await;
        assert_eq!(status["status"], "ready", "{rules}: {status}");
        assert_eq!(failures(&app, &job).await, 1, "{rules}");
        let runs = fake.runs();
        assert_eq!(runs.len(), 2, "{rules}");
        assert!(!alive(runs[0].pid), "{rules}: the hung encoder lives");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_of_a_file_that_always_hangs_is_the_jobs_error() {
    let fake = FakeFfmpeg::with("hang=0\n");
    let (app, _server, _) = served(&fake, |c| {
        c.transcoding.stall_timeout = 1;
        c.transcoding.retry_delay = 0;
        c.transcoding.retry_count = 1;
    })
    .await;
    let job = start(&app, "clip.mkv", "batch").await;
    let status = end(&app, &job).await;
    let reason = status["error_message"].as_str().unwrap();
    assert!(reason.contains("no progress for 1 s"), "{status}");
    assert_eq!(fake.runs().len(), 2);
    fake.all_ended(Duration::from_secs(2)).await;
    app.stop().await;
}

/// Putting the index of a large file before its media takes long, and ffmpeg says nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_writes_without_a_word_is_not_hung() {
    let fake = FakeFfmpeg::with("tail=8\n");
    let (app, _server, _) = served(&fake, |c| {
        c.transcoding.stall_timeout = 3;
        c.transcoding.retry_count = 0;
    })
    .await;
    let job = start(&app, "clip.mkv", "batch").await;
    let status = end(&app, &job).await;
    assert_eq!(status["status"], "ready", "{status}");
    assert_eq!(fake.runs().len(), 1);
    app.stop().await;
}

/// Of a source that is as large as the best rung, the ladder is that of the document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ladder_has_the_documented_rungs() {
    let documented = [
        ("3840x2160", 20_000_000),
        ("1920x1080", 8_000_000),
        ("1280x720", 4_000_000),
        ("854x480", 1_500_000),
        ("640x360", 800_000),
    ];
    let app = TestApp::with(|c| c.transcoding.abr_max_variants = 5).await;
    for (size, rungs) in [
        ("3840x2160", &documented[..]),
        ("1280x720", &documented[2..]),
        ("640x360", &documented[4..]),
    ] {
        let name = format!("{size}.mkv");
        let source = format!("color=gray:s={size}:r=10:d=1");
        make(
            app.folder.path(),
            &name,
            &[&source],
            "-c:v libx264 -preset ultrafast",
        );
        let job = start(&app, &name, "abr").await;
        let master = app.file(&job, "master.m3u8").await;
        let master = String::from_utf8(master.to_vec()).unwrap();
        let attribute = |line: &str, name: &str| {
            let (_, rest) = line.split_once(name).unwrap();
            rest.split([',', '\n']).next().unwrap().to_owned()
        };
        let variants = master
            .lines()
            .filter(|l| l.starts_with("#EXT-X-STREAM-INF"));
        let found: Vec<(String, u64)> = variants
            .map(|line| {
                let rate = attribute(line, "AVERAGE-BANDWIDTH=").parse().unwrap();
                (attribute(line, "RESOLUTION="), rate)
            })
            .collect();
        // What is announced holds the packaging too, one part in twenty-five.
        let wanted: Vec<(String, u64)> = rungs
            .iter()
            .map(|(size, rate)| ((*size).to_owned(), rate * 104 / 100))
            .collect();
        assert_eq!(found, wanted, "{master}");
    }
    app.stop().await;
}
