//! PeerTube's runners, as they are told, and the videos that they transcode.

mod bad_input;
mod clients;
mod jobs;
mod kills;
mod live;
mod resumable;
pub(crate) mod runner;
mod socket;
mod videos;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ghoststream::config::Config;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use runner::{Part, Runner, film, multipart, multipart_type};

pub(crate) const REGISTRATION: &str = "ptrrt-test";
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn configured(config: &mut Config) {
    config.peertube.registration_token = Some(REGISTRATION.into());
    config.peertube.resolutions = vec![90, 180];
    config.peertube.always_transcode_original_resolution = false;
}

pub(crate) async fn start() -> TestApp {
    TestApp::with(configured).await
}

pub(crate) async fn registered(app: &TestApp, name: &str) -> Runner {
    Runner::register(&app.gateway.url(), REGISTRATION, name).await
}

pub(crate) async fn post_parts(app: &TestApp, path: &str, parts: &[Part<'_>]) -> Answer {
    let kind = multipart_type();
    let headers = [("content-type", kind.as_str())];
    app.request(Method::POST, path, &headers, multipart(parts))
        .await
}

/// Uploads `file` with `more`; the id of the video.
pub(crate) async fn upload(app: &TestApp, file: &Path, more: &[(&str, &str)]) -> String {
    let bytes = std::fs::read(file).unwrap();
    let mut parts = vec![Part::Text("name", "A film")];
    parts.extend(more.iter().map(|(name, text)| Part::Text(name, text)));
    parts.push(Part::File("videoFile", "film.mp4", "video/mp4", &bytes));
    let answer = post_parts(app, "/video/upload", &parts).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let video = answer.json()["video"].clone();
    assert_eq!(video["id"], video["uuid"]);
    video["id"].as_str().unwrap().to_owned()
}

/// A small film of 160x90, uploaded: one HLS job.
pub(crate) async fn one_job(app: &TestApp) -> String {
    let path = film(app.folder.path(), "small.mp4", "160x90", 2);
    upload(app, &path, &[]).await
}

pub(crate) async fn video(app: &TestApp, id: &str) -> Value {
    let answer = app.get(&format!("/video/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// Asks for the video until `wanted` holds.
pub(crate) async fn video_until(app: &TestApp, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ask = async {
        loop {
            let video = video(app, id).await;
            if wanted(&video) {
                return video;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(SOON, ask).await {
        Ok(video) => video,
        Err(_) => panic!("still {}", video(app, id).await),
    }
}

pub(crate) fn has_ended(video: &Value) -> bool {
    video["state"] == "done" || video["state"] == "failed"
}

/// The answer is a problem with this status, and this code.
pub(crate) fn is_problem(answer: &Answer, status: u16, code: Option<&str>) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let told = answer.json();
    assert_eq!(told["status"], status, "{told}");
    assert_eq!(told["code"].as_str(), code, "{told}");
    for member in ["type", "title", "detail", "error"] {
        assert!(!told[member].as_str().unwrap().is_empty(), "{told}");
    }
}

pub(crate) async fn head(app: &TestApp, url: &str) -> Answer {
    app.request(Method::HEAD, url, &[], Bytes::new()).await
}

/// The state of each job of a video by the contract's numbers.
pub(crate) fn states(video: &Value) -> Vec<u64> {
    let jobs = video["jobs"].as_array().unwrap().iter();
    jobs.map(|j| j["state"]["id"].as_u64().unwrap()).collect()
}

pub(crate) fn nothing() -> Value {
    json!({})
}
