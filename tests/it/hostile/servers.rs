//! Web servers that do not do what a web server does.

use http::StatusCode;

use super::*;
use crate::fake::FakeFfmpeg;
use crate::file_server::FileServer;
use crate::resilience::{clip, segments};

/// A gateway, and a server with a clip of 40 seconds.
async fn with_server() -> (TestApp, FakeFfmpeg, FileServer) {
    count_panics();
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|config| {
        fake.use_in(config);
        config.sources.deny_hosts.push("127.0.0.2".into());
        config.transcoding.max_concurrent_jobs = 8;
    })
    .await;
    clip(app.folder.path(), "clip.mkv", 40);
    let server = FileServer::start(app.folder.path()).await;
    (app, fake, server)
}

async fn finish(app: TestApp, fake: &FakeFfmpeg) {
    assert_all_ended(&app).await;
    fake.all_ended(Duration::from_secs(2)).await;
    app.stop().await;
    assert_no_panic();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_is_told_by_its_failure() {
    let (app, fake, server) = with_server().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_port = closed.local_addr().unwrap().port();
    drop(closed);
    let cases = [
        (server.url("/file/clip.mkv"), 200, ""),
        (server.url("/status/404"), 404, "404"),
        (server.url("/status/410"), 404, "410"),
        (server.url("/status/401"), 502, "401"),
        (server.url("/status/403"), 502, "403"),
        (server.url("/status/500"), 502, "500"),
        (server.url("/status/503"), 502, "503"),
        (format!("http://127.0.0.1:{closed_port}/x"), 502, "refuses"),
        (
            "http://no-such-host.invalid/film.mkv".into(),
            502,
            "not known",
        ),
        (server.url("/loop"), 502, ""),
        (server.url("/endless/zero"), 415, ""),
    ];
    for (source, wanted, word) in cases {
        match judge(&app, &source).await {
            Verdict::Plays => assert_eq!(wanted, 200, "{source}"),
            Verdict::Refused(status, reason) => {
                assert!(
                    status == wanted && reason.contains(word),
                    "{source}: {status} {reason}"
                );
            }
        }
    }
    finish(app, &fake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_slow_is_given_up() {
    // It is asked twice; `judge` says how long an answer may take.
    let (app, fake, server) = with_server().await;
    let sources = [
        server.url("/silent"),
        server.url("/drip/clip.mkv"),
        // Nobody answers there (RFC 5737).
        "http://192.0.2.1/film.mkv".to_owned(),
    ];
    let judged = sources.iter().map(|source| judge(&app, source));
    for (source, verdict) in sources
        .iter()
        .zip(futures_util::future::join_all(judged).await)
    {
        assert!(
            matches!(verdict, Verdict::Refused(502 | 504, _)),
            "{source}: {verdict:?}"
        );
    }
    finish(app, &fake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_held_against_the_rules() {
    let (app, fake, server) = with_server().await;
    let port = server.url("").rsplit_once(':').unwrap().1.to_owned();
    let denied = format!("http://127.0.0.2:{port}/file/clip.mkv");
    let good = server.url("/file/clip.mkv");
    let verdict = judge(&app, &denied).await;
    assert!(matches!(verdict, Verdict::Refused(403, _)), "{verdict:?}");
    let verdict = judge(&app, &server.url(&format!("/to/{good}"))).await;
    assert_eq!(verdict, Verdict::Plays);
    let twice = server.url(&format!("/to/{}", server.url(&format!("/to/{denied}"))));
    for (to, wanted) in [
        (server.url(&format!("/to/{denied}")), 403),
        (twice, 403),
        (
            server.url("/to/http://169.254.169.254/latest/meta-data/"),
            403,
        ),
        (server.url("/to/http://[::ffff:127.0.0.2]:80/x"), 403),
        (server.url("/to/http://127.0.0.1:9/x"), 403),
    ] {
        let verdict = judge(&app, &to).await;
        assert!(
            matches!(&verdict, Verdict::Refused(s, _) if *s == wanted),
            "{to}: {verdict:?}"
        );
    }
    for to in [
        "file:///etc/passwd",
        "/etc/passwd",
        "concat:/etc/passwd",
        "data:text/plain,x",
        "ftp://127.0.0.1:9/x",
        "gopher://127.0.0.1:9/x",
        "",
    ] {
        let verdict = judge(&app, &server.url(&format!("/to/{to}"))).await;
        assert!(matches!(verdict, Verdict::Refused(..)), "{to}: {verdict:?}");
    }
    let reached: Vec<_> = server.asked();
    let reached = reached.iter().filter(|r| r.starts_with("127.0.0.2"));
    assert_eq!(reached.collect::<Vec<_>>(), Vec::<&String>::new());
    finish(app, &fake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_that_breaks_off_plays_up_to_there() {
    let (app, fake, server) = with_server().await;
    let job = app
        .stream(&server.url("/cut/clip.mkv"), serde_json::json!({}))
        .await;
    let names = segments(&app, &job).await;
    let mut good = 0;
    let mut last = None;
    for name in [&names[0], &names[1], &names[names.len() - 1]] {
        let path = format!("/stream/{job}/{name}");
        let answer = tokio::time::timeout(PATIENCE, app.get(&path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name} hangs"));
        assert_clean(&app, "", &answer);
        good += usize::from(answer.status == StatusCode::OK);
        last = Some(answer);
    }
    assert_eq!(good, 2, "the first half is there, the second is not");
    let last = last.unwrap();
    assert_eq!(last.status, StatusCode::BAD_GATEWAY, "{}", last.text());
    assert!(last.text().contains("broke off"), "{}", last.text());
    app.delete(&format!("/api/transcode/{job}")).await;
    finish(app, &fake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_without_an_end_is_an_answer_in_time() {
    let (app, fake, server) = with_server().await;
    let path = app.folder.path().join("clip.mkv");
    let stream = app.folder.path().join("clip.ts");
    let args = [
        "-i",
        path.to_str().unwrap(),
        "-c",
        "copy",
        stream.to_str().unwrap(),
    ];
    crate::app::ffmpeg(&args);
    let sources = ["/endless/clip.mkv", "/endless/clip.ts"].map(|path| server.url(path));
    let judged = sources.iter().map(|source| judge(&app, source));
    futures_util::future::join_all(judged).await;
    finish(app, &fake).await;
}
