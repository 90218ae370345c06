//! Keys that say where things are: programs, addresses, the database, results.

use ghoststream::config::{ByteSize, ToolPath};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{SOON, film};
use crate::app::TestApp;
use crate::fake::folder_bytes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_listens_where_it_is_told_to() {
    let free = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let wanted = free.local_addr().unwrap();
    drop(free);
    let app = TestApp::with(|c| {
        c.server.host = "127.0.0.3".into();
        c.server.port = wanted.port();
    })
    .await;
    assert_eq!(app.gateway.address(), wanted);
    let answer = app.get(&format!("http://{wanted}/healthz")).await;
    assert_eq!(answer.status, StatusCode::OK);
    app.stop().await;
}

/// One that is there and describes nothing is asked, and not the one that would be found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_are_described_by_the_program_that_is_named() {
    for (program, ends) in [("ffprobe", "ready"), ("true", "error")] {
        let path = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
            .unwrap();
        let own = tempfile::tempdir().unwrap();
        let link = own.path().join("describes");
        std::os::unix::fs::symlink(path, &link).unwrap();
        let app = TestApp::with(|c| c.transcoding.ffprobe_path = ToolPath::Path(link)).await;
        film(app.folder.path(), 2.0);
        let job = app.stream("film.mkv", json!({})).await;
        // To ask for it is to wait for its end.
        let ended = |s: &Value| s["status"] == "ready" || s["status"] == "error";
        let status = app.status_until(&job, SOON, ended).await;
        assert_eq!(status["status"], ends, "{program}: {status}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_and_results_lie_where_they_are_told_to() {
    let elsewhere = tempfile::tempdir().unwrap();
    let database = elsewhere.path().join("jobs.db");
    let results = elsewhere.path().join("results");
    let app = TestApp::with(|c| {
        c.store.url = format!("sqlite://{}", database.display());
        c.artifacts.url = url::Url::from_directory_path(&results).ok();
        c.artifacts.max_bytes = ByteSize::mib(1);
        c.local_engine.patience_seconds = 0;
    })
    .await;
    film(app.folder.path(), 2.0);
    let body = json!({"source_url": "film.mkv", "target_codec": "h264"});
    let job = app.post("/jobs/", body).await.json()["job_id"].clone();
    let path = format!("/jobs/{}", job.as_str().unwrap());
    let until = tokio::time::Instant::now() + SOON;
    while app.get(&path).await.json()["status"] != "completed" {
        assert!(tokio::time::Instant::now() < until, "it is not made");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(database.is_file() && folder_bytes(&results) > 0);
    let data = app.folder.path().join("data");
    assert!(!data.join("ghoststream.db").exists());
    assert_eq!(folder_bytes(&data.join("artifacts")), 0);
    // Nothing larger is taken, from whomever.
    for (size, wanted) in [
        (1 << 20, StatusCode::OK),
        ((1 << 20) + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let path = "/api/v2/uploads/film.mkv";
        let body = vec![0; size].into();
        let answer = app.request(Method::PUT, path, &[], body).await;
        assert_eq!(answer.status, wanted, "{size}: {}", answer.text());
    }
    app.stop().await;
}
