//! Uploads that come in pieces (tus 1.0.0).

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::runner::film;
use super::{configured, is_problem, start, video};
use crate::app::{Answer, TestApp};

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");

async fn begin(app: &TestApp, length: usize, metadata: &str) -> Answer {
    let length = length.to_string();
    let headers = [
        TUS,
        ("upload-length", &length),
        ("upload-metadata", metadata),
    ];
    app.request(Method::POST, "/video/upload", &headers, Bytes::new())
        .await
}

async fn go_on(app: &TestApp, place: &str, offset: usize, bytes: &[u8]) -> Answer {
    let offset = offset.to_string();
    let kind = ("content-type", "application/offset+octet-stream");
    let headers = [TUS, ("upload-offset", &offset), kind];
    let body = Bytes::copy_from_slice(bytes);
    app.request(Method::PATCH, place, &headers, body).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_it_broke_off() {
    let app = start().await;
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let bytes = std::fs::read(path).unwrap();
    // filename = ../a b.mp4, jobs = storyboard
    let metadata = "filename Li4vYSBiLm1wNA==,jobs c3Rvcnlib2FyZA==";
    let begun = begin(&app, bytes.len(), metadata).await;
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.text());
    let place = header(&begun, "location").to_owned();
    let first = go_on(&app, &place, 0, &bytes[..1000]).await;
    assert_eq!(
        (first.status, header(&first, "upload-offset")),
        (StatusCode::NO_CONTENT, "1000")
    );
    is_problem(&go_on(&app, &place, 999, b"x").await, 409, None);
    // The gateway begins anew in between.
    let (gateway, folder) = app.apart();
    gateway.stop().await;
    let app = TestApp::within(folder, configured).await;
    let place = format!("/video/upload/{}", place.rsplit('/').next().unwrap());
    let told = super::head(&app, &place).await;
    assert_eq!(
        (told.status, header(&told, "upload-offset")),
        (StatusCode::OK, "1000")
    );
    let last = go_on(&app, &place, 1000, &bytes[1000..]).await;
    assert_eq!(last.status, StatusCode::NO_CONTENT, "{}", last.text());
    let id = header(&last, "video-id").to_owned();
    let told = video(&app, &id).await;
    assert_eq!(
        (&told["name"], &told["jobs"][0]["type"]),
        (&json!("a b.mp4"), &json!("generate-video-storyboard"))
    );
    assert_eq!(header(&super::head(&app, &place).await, "video-id"), id);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_that_do_not_fit_are_refused() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.max_upload_bytes = Some(ghoststream::config::ByteSize::mib(1));
    })
    .await;
    is_problem(&begin(&app, 1 << 21, "").await, 413, None);
    let begun = begin(&app, 10, "").await;
    let place = header(&begun, "location").to_owned();
    is_problem(
        &go_on(&app, &place, 0, b"more than ten bytes").await,
        400,
        None,
    );
    let plain = [TUS, ("upload-offset", "0"), ("content-type", "text/plain")];
    let answer = app.request(Method::PATCH, &place, &plain, "x".into()).await;
    is_problem(&answer, 415, None);
    // What is no film says so at its last byte.
    let begun = begin(&app, 7, "").await;
    let answer = go_on(&app, header(&begun, "location"), 0, b"no film").await;
    is_problem(&answer, 400, None);
    assert_eq!(app.delete(&place).await.status, StatusCode::NO_CONTENT);
    for gone in [
        place.as_str(),
        "/video/upload/..%2f..",
        "/video/upload/nosuch",
    ] {
        assert_eq!(
            super::head(&app, gone).await.status,
            StatusCode::NOT_FOUND,
            "{gone}"
        );
    }
    let left = std::fs::read_dir(app.folder.path().join("data/videos/uploads")).unwrap();
    assert_eq!(left.count(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_a_process_left_complete_becomes_one_video() {
    let app = start().await;
    let path = film(app.folder.path(), "film.mp4", "160x90", 2);
    let bytes = std::fs::read(path).unwrap();
    let begun = begin(&app, bytes.len(), "").await;
    let place = header(&begun, "location").to_owned();
    let made = go_on(&app, &place, 0, &bytes).await;
    let id = header(&made, "video-id").to_owned();
    // As if the process had ended before it noted which video it made.
    let upload = place.rsplit('/').next().unwrap();
    let (gateway, folder) = app.apart();
    gateway.stop().await;
    let uploads = folder.path().join("data/videos/uploads");
    let left = uploads.join(format!("resumable-{upload}"));
    let facts = std::fs::read_to_string(left.join("facts.json")).unwrap();
    let mut facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    facts["video"] = json!(null);
    std::fs::write(left.join("facts.json"), facts.to_string()).unwrap();
    std::fs::write(left.join("bytes"), &bytes).unwrap();
    let app = TestApp::within(folder, configured).await;
    let place = format!("/video/upload/{upload}");
    let again = go_on(&app, &place, bytes.len(), b"").await;
    assert_eq!(again.status, StatusCode::NO_CONTENT, "{}", again.text());
    assert_eq!(header(&again, "video-id"), id);
    assert_eq!(app.get("/video/").await.json()["total"], 1);
    assert_eq!(video(&app, &id).await["state"], "pending");
    app.stop().await;
}
