//! `callback_url`: what is told, to whom, and how hard it is tried.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::app::TestApp;
use crate::receiver::Receiver;
use crate::resilience::clip;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_is_told_once() {
    let app = TestApp::start().await;
    let receiver = Receiver::start(&[]).await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    std::fs::write(app.folder.path().join("text.mkv"), "no film").unwrap();
    let start = async |source: &str, end: &str| {
        let body = json!({"source": source, "callback_url": receiver.url(end)});
        let answer = app.post("/api/transcode/start", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["job_id"].as_str().unwrap().to_owned()
    };
    let ready = start(&source, "/ready").await;
    let posted = receiver.after(1).await;
    let told = posted[0].json();
    assert_eq!(posted[0].path, "/ready");
    assert_eq!(posted[0].header("content-type"), Some("application/json"));
    assert_eq!(posted[0].header("x-ghoststream-signature"), None);
    assert_eq!(
        (&told["job_id"], &told["status"], &told["progress"]),
        (&json!(ready), &json!("ready"), &json!(100.0))
    );
    let url = format!("{}/stream/{ready}/master.m3u8", app.gateway.url());
    assert_eq!(told["stream_url"], url);

    start("text.mkv", "/error").await;
    let told = receiver.after(2).await[1].json();
    assert_eq!(told["status"], "error");
    assert!(told["error_message"].is_string());

    let long = clip(app.folder.path(), "long.mkv", 120);
    let cancelled = start(&long, "/cancelled").await;
    app.delete(&format!("/api/transcode/{cancelled}")).await;
    let posted = receiver.after(3).await;
    assert_eq!(
        (posted[2].path.as_str(), &posted[2].json()["status"]),
        ("/cancelled", &json!("cancelled"))
    );
    // A job that is deleted after its end has been told already.
    app.delete(&format!("/api/transcode/{ready}")).await;
    app.stop().await;
    assert_eq!(receiver.posted().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_is_signed_and_tried_again_until_it_arrives() {
    let secret = "correct horse";
    let app = TestApp::with(|config| config.security.callback_secret = Some(secret.into())).await;
    let receiver = Receiver::start(&[503, 429, 200, 404, 302]).await;
    let end = async |times: usize| {
        let body = json!({"source": "none.mkv", "callback_url": receiver.url("/end")});
        app.post("/api/transcode/start", body).await;
        receiver.after(times).await
    };
    std::fs::write(app.folder.path().join("none.mkv"), "no film").unwrap();
    let posted = end(3).await;
    assert!(posted.iter().all(|p| p.body == posted[0].body));
    let signature = posted[2].header("x-ghoststream-signature").unwrap();
    use aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let hex = signature.strip_prefix("sha256=").unwrap();
    let digit = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    let tag: Vec<u8> = (0..32).map(digit).collect();
    hmac::verify(&key, &posted[2].body, &tag).unwrap();
    // What will not get better is not tried again, and a redirect is not followed.
    end(4).await;
    let posted = end(5).await;
    assert!(posted.iter().all(|p| p.path == "/end"));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(receiver.posted().len(), 5);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_go_only_where_sources_may_come_from() {
    let app = TestApp::with(|config| config.sources.deny_hosts = vec!["127.0.0.1".into()]).await;
    let receiver = Receiver::start(&[]).await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let start = async |url: serde_json::Value| {
        let body = json!({"source": source, "callback_url": url});
        let answer = app.post("/api/transcode/start", body).await;
        (answer.status.as_u16(), answer.json()["detail"].clone())
    };
    let (status, told) = start(json!(receiver.url("/"))).await;
    assert_eq!(status, 403);
    assert!(
        told.as_str()
            .unwrap()
            .starts_with("callback_url: host '127.0.0.1'"),
        "{told}"
    );
    for bad in [
        json!("ftp://h/"),
        json!("file:///etc/passwd"),
        json!("no url"),
        json!(7),
    ] {
        let (status, told) = start(bad).await;
        assert_eq!(
            (status, &told[0]["loc"]),
            (422, &json!(["body", "callback_url"]))
        );
    }
    for none in [json!(null), json!("")] {
        assert_eq!(start(none).await.0, 200);
    }
    assert!(receiver.posted().is_empty());
    app.stop().await;
}
