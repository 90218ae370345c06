//! How many run, how long they may take, what they leave behind.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Picture, ask, body, clock, quoted, second};
use crate::app::TestApp;
use crate::fake::{FakeFfmpeg, eventually, folder_bytes};

const PATIENCE: Duration = Duration::from_secs(60);

async fn with_fake(rules: &str, concurrency: u32) -> (TestApp, FakeFfmpeg, String) {
    let fake = FakeFfmpeg::with(rules);
    let app = TestApp::with(|config| {
        fake.use_in(config);
        config.queries.concurrency = concurrency;
        if !rules.is_empty() {
            config.queries.queue_timeout_seconds = 1;
            config.queries.timeout_seconds = 2;
        }
    })
    .await;
    let film = clock(app.folder.path(), "clock.mp4", 5, "");
    (app, fake, film)
}

/// A request on a connection of its own, which is left when it is dropped.
async fn begin(app: &TestApp, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(app.gateway.address()).await.unwrap();
    let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_even_a_deaf_process() {
    // 300 bytes come, then nothing more; SIGTERM is ignored.
    let (app, fake, film) = with_fake("deaf=300", 4).await;
    let webm = format!("/webm?url={}", quoted(&film));
    let mut socket = begin(&app, &webm).await;
    let mut some = [0; 400];
    assert!(socket.read(&mut some).await.unwrap() > 0);
    assert_eq!(
        (fake.alive().len(), app.gateway.queries().free_places()),
        (1, 3)
    );
    drop(socket);
    fake.all_ended(Duration::from_secs(1)).await;
    // One that has sent nothing yet.
    fake.set("deaf=0");
    let socket = begin(&app, &webm).await;
    eventually(PATIENCE, "nothing runs", || fake.alive().len() == 1).await;
    drop(socket);
    fake.all_ended(Duration::from_secs(1)).await;
    let free = || app.gateway.queries().free_places() == 4;
    eventually(PATIENCE, "a place is held", free).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_leave_cost_nothing() {
    let (app, fake, film) = with_fake("", 8).await;
    let paths: Vec<String> = (0..5)
        .map(|n| match n {
            0 => format!("/thumb?url={}&width=", quoted(&film)),
            1 => format!("/webm?url={}&width=1", quoted(&film)),
            2 => format!("/preview?url={}&width=1", quoted(&film)),
            3 => format!("/meta?url={}&x=", quoted(&film)),
            _ => format!("/storyboard?url={}&sheet=0&width=1", quoted(&film)),
        })
        .collect();
    body(&app, "thumb", &film, "").await;
    let before = descriptors();
    for round in 0..20 {
        // A third of them get processes that give a little and do not listen to SIGTERM.
        fake.set(if round % 3 == 0 { "deaf=100" } else { "" });
        let requests = (0..50).map(|n| {
            let path = format!("{}{}", paths[n % 5], 100 + (round * 50 + n) % 300);
            let app = &app;
            async move {
                let mut socket = begin(app, &path).await;
                // Some leave at once, some while it is made.
                let wait = Duration::from_millis((n as u64 * 7) % 40);
                let mut some = [0; 64];
                let _ = tokio::time::timeout(wait, socket.read(&mut some)).await;
            }
        });
        join_all(requests).await;
    }
    fake.set("");
    fake.all_ended(PATIENCE).await;
    let free = || app.gateway.queries().free_places() == 8;
    eventually(PATIENCE, "places are held", free).await;
    // Kept connections of the test's own client may come and go.
    eventually(PATIENCE, "descriptors are open", || {
        descriptors() <= before + 8
    })
    .await;
    body(&app, "thumb", &film, "&width=77").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_its_encoder_back() {
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|config| fake.use_in(config)).await;
    // Too large for the buffers on the way.
    let noise = "-f lavfi -i testsrc2=s=640x360:d=30,noise=alls=40:allf=t -c:v mpeg2video -q:v 4";
    let film = super::make(app.folder.path(), "noise.mkv", noise);
    let path = format!(
        "/webm?url={}&width=640&bitrate=40M",
        quoted(film.to_str().unwrap())
    );
    let mut socket = begin(&app, &path).await;
    let mut some = [0; 1000];
    socket.read_exact(&mut some).await.unwrap();
    // It neither ends nor works on while nobody reads.
    let mut last = -1.0;
    let limit = tokio::time::Instant::now() + PATIENCE;
    loop {
        let used = fake.cpu_seconds();
        if used == last {
            break;
        }
        assert!(tokio::time::Instant::now() < limit, "it works on");
        last = used;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fake.alive().len(), 1);
    drop(socket);
    fake.all_ended(Duration::from_secs(1)).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identical_queries_run_once_and_others_wait_or_are_told() {
    let (app, fake, film) = with_fake("late=300", 1).await;
    let same = (0..10).map(|_| body(&app, "thumb", &film, "&t=3"));
    let answers = join_all(same).await;
    assert_eq!(fake.runs().len(), 1);
    assert!(answers.iter().all(|a| a == &answers[0]));
    body(&app, "thumb", &film, "&t=3").await;
    assert_eq!(fake.runs().len(), 1, "it was kept");
    fake.set("hang=0");
    let (first, second) = tokio::join!(
        ask(&app, "thumb", &film, "&t=1"),
        ask(&app, "thumb", &film, "&t=2")
    );
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [503, 504]);
    let (busy, slow) = match first.status.as_u16() {
        503 => (first, second),
        _ => (second, first),
    };
    // After the time that is configured, and not the usual one.
    assert!(slow.text().contains("within 2 s"), "{}", slow.text());
    assert_eq!(busy.headers["retry-after"], "3");
    assert!(busy.json()["Error"].is_string());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_statuses_before_the_first_byte_and_breaks_behind_it() {
    let (app, fake, film) = with_fake("error=it_is_broken", 4).await;
    let answer = ask(&app, "webm", &film, "").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.text().contains("it is broken"), "{}", answer.text());
    for silent in ["end=0", "die=0", "abort=0"] {
        fake.set(silent);
        let answer = ask(&app, "webm", &film, "").await;
        assert!(!answer.status.is_success(), "{silent}");
    }
    for breaks in ["die=2000", "hang=2000"] {
        fake.set(breaks);
        let path = format!("/webm?url={}", quoted(&film));
        let mut socket = begin(&app, &path).await;
        let mut all = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut all)).await;
        read.expect("it ends").unwrap();
        assert!(
            all.starts_with(b"HTTP/1.1 200") && !all.ends_with(b"0\r\n\r\n"),
            "{breaks}"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pictures_at_once_are_all_made() {
    // All together take longer than a place may be waited for, but one is always done soon.
    let gateway = TestApp::with(|config| {
        config.queries.queue_timeout_seconds = 5;
        config.queries.concurrency = 2;
    })
    .await;
    let source = "-f lavfi -i testsrc2=s=1920x1080:r=25:d=20 -c:v libx264 -preset ultrafast";
    let film = super::make(gateway.folder.path(), "hd.mp4", source);
    let film = film.to_str().unwrap();
    let app = &gateway;
    let all = (0..100).map(|n| {
        let more = format!("&t={}", f64::from(n) * 0.19);
        async move { ask(app, "thumb", film, &more).await }
    });
    for answer in join_all(all).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_results_stay_within_their_limit() {
    let limit = 30_000;
    let app = TestApp::with(|config| {
        config.queries.cache_max_bytes = ghoststream::config::ByteSize(limit);
    })
    .await;
    let film = clock(app.folder.path(), "clock.mp4", 10, "");
    for n in 0..30 {
        let more = format!("&format=png&t={}", f64::from(n) * 0.3);
        let picture = Picture::of(&body(&app, "thumb", &film, &more).await);
        assert!((second(&picture) - f64::from(n * 3 / 10)).abs() < 0.6);
        let kept = folder_bytes(&app.folder.path().join("cache"));
        assert!(kept <= limit, "{kept}");
    }
    app.stop().await;
}
