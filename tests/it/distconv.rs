//! The distconv front door: texts and behaviour of the original (contract, sections 1, 4 and 6).

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};

/// A gateway that does no work itself.
async fn server() -> TestApp {
    TestApp::with(|c| c.local_engine.enabled = false).await
}

async fn submit(app: &TestApp, size: f64, retries: u64) -> String {
    let body = json!({"source_url": "http://h/v.mp4", "target_codec": "h264", "job_size": size,
        "max_retries": retries});
    let answer = app.post("/jobs/", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

async fn heartbeat(app: &TestApp, body: Value) {
    let answer = app.post("/engines/heartbeat", body.clone()).await;
    let id = body["engine_id"].as_str().unwrap();
    assert_eq!(
        answer.text(),
        format!("Heartbeat received from engine {id}")
    );
    assert_eq!(answer.status, StatusCode::OK);
}

/// An engine that is idle and measured.
async fn engine(app: &TestApp, id: &str, benchmark: f64, streams: bool) {
    heartbeat(
        app,
        json!({"engine_id": id, "status": "idle", "streaming_support": streams}),
    )
    .await;
    let body = json!({"engine_id": id, "benchmark_time": benchmark});
    let answer = app.post("/engines/benchmark_result", body).await;
    assert_eq!(
        answer.text(),
        format!("Benchmark result received from engine {id}")
    );
}

async fn assign(app: &TestApp, id: &str) -> Option<Value> {
    let answer = app.post("/assign_job/", json!({"engine_id": id})).await;
    match answer.status {
        StatusCode::NO_CONTENT => {
            assert!(answer.body.is_empty());
            None
        }
        status => {
            assert_eq!(status, StatusCode::OK);
            Some(answer.json())
        }
    }
}

async fn raw(app: &TestApp, path: &str, body: &str) -> Answer {
    let body = Bytes::from(body.to_owned());
    app.request(Method::POST, path, &[("content-type", "text/xml")], body)
        .await
}

fn refused(answer: &Answer, status: u16, text: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (status, text)
    );
    assert_eq!(answer.headers["content-type"], "text/plain");
}

#[tokio::test]
async fn a_job_is_submitted_and_shown_in_the_originals_shape() {
    let app = server().await;
    let body = json!({"source_url": "http://h/v.mp4", "target_codec": "h264", "extra": 1});
    let answer = app.post("/jobs/", body).await;
    let id = answer.json()["job_id"].as_str().unwrap().to_owned();
    let (micros, n) = id.split_once('_').unwrap();
    assert!(micros.len() == 16 && micros.parse::<u64>().is_ok() && n.parse::<u64>().is_ok());
    let expected = format!(
        r#"{{"assigned_engine":null,"job_id":"{id}","job_size":0.0,"max_retries":3,"output_url":null,"retries":0,"source_url":"http://h/v.mp4","status":"pending","target_codec":"h264"}}"#
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(app.get(&format!("/jobs/{id}")).await.text(), expected);
    assert_eq!(app.get("/jobs/").await.text(), format!("[{expected}]"));
    assert_eq!(app.get("/engines/").await.text(), "[]");
    let pools = app.get("/storage_pools/").await.text();
    assert_eq!(pools, "Storage pool configuration to be implemented.");
    app.stop().await;
}

#[tokio::test]
async fn refusals_are_those_of_the_original() {
    let app = server().await;
    let id = submit(&app, 1.0, 3).await;
    let cases = [
        (
            "/jobs/",
            "{}",
            400,
            "Bad Request: 'source_url' is missing or not a string.",
        ),
        (
            "/jobs/",
            "[]",
            400,
            "Bad Request: 'source_url' is missing or not a string.",
        ),
        (
            "/engines/heartbeat",
            "{}",
            400,
            "Bad Request: 'engine_id' is missing.",
        ),
        (
            "/engines/heartbeat",
            r#"{"engine_id":1}"#,
            400,
            "Bad Request: 'engine_id' must be a string.",
        ),
        (
            "/engines/heartbeat",
            r#"{"engine_id":"e","storage_capacity_gb":"x"}"#,
            400,
            "Bad Request: 'storage_capacity_gb' must be a number.",
        ),
        (
            "/engines/heartbeat",
            r#"{"engine_id":"e","storage_capacity_gb":-1}"#,
            400,
            "Bad Request: 'storage_capacity_gb' must be a non-negative number.",
        ),
        (
            "/engines/heartbeat",
            r#"{"engine_id":"e","streaming_support":"yes"}"#,
            400,
            "Bad Request: 'streaming_support' must be a boolean.",
        ),
        (
            "/engines/benchmark_result",
            r#"{"engine_id":"none","benchmark_time":1}"#,
            404,
            "Engine not found",
        ),
        (
            "/engines/benchmark_result",
            r#"{"engine_id":"e"}"#,
            400,
            "Bad Request: 'benchmark_time' must be a number.",
        ),
        (
            "/engines/benchmark_result",
            r#"{"engine_id":"e","benchmark_time":-1}"#,
            400,
            "Bad Request: 'benchmark_time' must be a non-negative number.",
        ),
        (
            "/engines/benchmark_result",
            r#"{"benchmark_time":1}"#,
            400,
            "Bad Request: 'engine_id' is missing.",
        ),
        (
            "/jobs/none/complete",
            "null",
            400,
            "Bad Request: 'output_url' must be a string.",
        ),
        (
            "/jobs/none/complete",
            r#"{"output_url":"u"}"#,
            404,
            "Job not found",
        ),
        (
            "/jobs/malformed-id-!@%23$/complete",
            r#"{"output_url":"u"}"#,
            404,
            "Job not found",
        ),
        (
            "/jobs/none/fail",
            "{}",
            400,
            "Bad Request: 'error_message' is missing.",
        ),
        (
            "/jobs/123/fail",
            r#"{"error_message":"x"}"#,
            404,
            "Job not found",
        ),
    ];
    for (path, body, status, text) in cases {
        refused(&raw(&app, path, body).await, status, text);
    }
    refused(&app.get("/jobs/none").await, 404, "Job not found");
    for path in [
        "/jobs/",
        "/engines/heartbeat",
        "/engines/benchmark_result",
        &format!("/jobs/{id}/complete"),
        &format!("/jobs/{id}/fail"),
    ] {
        for broken in ["{b", ""] {
            let answer = raw(&app, path, broken).await;
            assert!(
                answer
                    .text()
                    .starts_with("Invalid JSON: [json.exception.parse_error.101] "),
                "{path}: {}",
                answer.text()
            );
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        }
    }
    for (method, path) in [
        (Method::GET, "/jobs"),
        (Method::DELETE, "/jobs/x"),
        (Method::GET, "/engines"),
        (Method::GET, "/assign_job/"),
        (Method::POST, "/jobs/x/y"),
        (Method::GET, "/engines/x"),
    ] {
        let answer = app.request(method, path, &[], Bytes::new()).await;
        assert_eq!(
            (answer.status, answer.body.len()),
            (StatusCode::NOT_FOUND, 0),
            "{path}"
        );
    }
    app.stop().await;
}

#[tokio::test]
async fn without_the_key_the_originals_texts_are_heard() {
    let app = TestApp::with(|c| {
        c.local_engine.enabled = false;
        c.security.api_key = Some("secret".into());
    })
    .await;
    for path in ["/jobs/", "/jobs/x", "/engines/", "/storage_pools/"] {
        refused(
            &app.get(path).await,
            401,
            "Unauthorized: Missing 'X-API-Key' header.",
        );
        let with = async |key: &'static str| {
            let headers = [("x-api-key", key)];
            app.request(Method::GET, path, &headers, Bytes::new()).await
        };
        let empty = app
            .request(Method::GET, path, &[("x-api-key", "")], Bytes::new())
            .await;
        refused(&empty, 401, "Unauthorized: Missing 'X-API-Key' header.");
        refused(&with("wrong").await, 401, "Unauthorized");
        assert_ne!(with("secret").await.status, StatusCode::UNAUTHORIZED);
    }
    // Before the body is looked at.
    refused(
        &raw(&app, "/jobs/", "{b").await,
        401,
        "Unauthorized: Missing 'X-API-Key' header.",
    );
    app.stop().await;
}

#[tokio::test]
async fn size_decides_between_engines() {
    let app = server().await;
    engine(&app, "e123", 100.0, false).await;
    engine(&app, "e456", 200.0, false).await;
    heartbeat(&app, json!({"engine_id": "new", "status": "idle"})).await;
    let cases = [
        (10.0, "e123", "e456"),
        (75.0, "e456", "e123"),
        (200.0, "e456", "e123"),
    ];
    for (size, asker, chosen) in cases {
        let id = submit(&app, size, 3).await;
        let job = assign(&app, asker).await.unwrap();
        assert_eq!(
            (&job["job_id"], &job["assigned_engine"], &job["status"]),
            (&json!(id), &json!(chosen), &json!("assigned")),
            "{size} MB"
        );
        let done = app
            .post(
                &format!("/jobs/{id}/complete"),
                json!({"output_url": "http://h/o.mp4"}),
            )
            .await;
        assert_eq!(done.text(), format!("Job {id} marked as completed"));
    }
    engine(&app, "streaming", 300.0, true).await;
    submit(&app, 200.0, 3).await;
    assert_eq!(
        assign(&app, "e123").await.unwrap()["assigned_engine"],
        "streaming"
    );
    app.stop().await;
}

#[tokio::test]
async fn an_engine_has_one_job_at_a_time() {
    let app = server().await;
    let (first, second) = (submit(&app, 1.0, 3).await, submit(&app, 1.0, 3).await);
    assert_eq!(assign(&app, "unknown").await, None);
    engine(&app, "e", 1.0, true).await;
    assert_eq!(assign(&app, "e").await.unwrap()["job_id"], json!(first));
    assert_eq!(app.get("/engines/").await.json()[0]["status"], "busy");
    assert_eq!(assign(&app, "e").await, None);
    let junk = raw(&app, "/assign_job/", "junk").await;
    assert_eq!(junk.status, StatusCode::NO_CONTENT);
    // The real engine says that it is idle while it works.
    heartbeat(&app, json!({"engine_id": "e", "status": "idle"})).await;
    assert_eq!(assign(&app, "e").await, None);
    app.post(
        &format!("/jobs/{first}/complete"),
        json!({"output_url": "u"}),
    )
    .await;
    assert_eq!(app.get("/engines/").await.json()[0]["status"], "idle");
    // What the heartbeat omitted is still known: the engine is assignable at once.
    assert_eq!(assign(&app, "e").await.unwrap()["job_id"], json!(second));
    app.stop().await;
}

#[tokio::test]
async fn a_job_fails_as_often_as_it_may() {
    let app = server().await;
    engine(&app, "e", 1.0, true).await;
    let id = submit(&app, 1.0, 2).await;
    assign(&app, "e").await.unwrap();
    let path = format!("/jobs/{id}/fail");
    let fail = || app.post(&path, json!({"error_message": {"code": 7}}));
    assert_eq!(fail().await.text(), format!("Job {id} re-queued"));
    let job = app.get(&format!("/jobs/{id}")).await.json();
    assert_eq!(
        (&job["status"], &job["retries"]),
        (&json!("pending"), &json!(1))
    );
    assert_eq!(
        (&job["assigned_engine"], &job["error_message"]),
        (&Value::Null, &json!({"code": 7}))
    );
    assert_eq!(
        assign(&app, "e").await.unwrap()["job_id"],
        json!(id),
        "at once, to the same engine"
    );
    assert_eq!(fail().await.text(), format!("Job {id} failed permanently"));
    assert_eq!(
        app.get(&format!("/jobs/{id}")).await.json()["status"],
        "failed_permanently"
    );
    refused(
        &fail().await,
        400,
        "Bad Request: Job is already in a final state.",
    );
    assert_eq!(assign(&app, "e").await, None);
    let zero = submit(&app, 1.0, 0).await;
    let answer = app
        .post(
            &format!("/jobs/{zero}/fail"),
            json!({"error_message": null}),
        )
        .await;
    assert_eq!(answer.text(), format!("Job {zero} failed permanently"));
    // Begun anew.
    let again = app
        .post(&format!("/jobs/{id}/retry"), json!({}))
        .await
        .json();
    assert_eq!(
        (&again["status"], &again["retries"]),
        (&json!("pending"), &json!(0))
    );
    let cancelled = app
        .post(&format!("/jobs/{id}/cancel"), json!({}))
        .await
        .json();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(assign(&app, "e").await, None);
    app.stop().await;
}

#[tokio::test]
async fn what_is_completed_stays_as_it_is() {
    let app = server().await;
    let id = submit(&app, 1.0, 3).await;
    let path = format!("/jobs/{id}/complete");
    let complete = |url: &'static str| app.post(&path, json!({"output_url": url}));
    let said = format!("Job {id} marked as completed");
    assert_eq!(
        complete("http://h/1.mp4").await.text(),
        said,
        "though it was never assigned"
    );
    assert_eq!(
        complete("http://h/1.mp4").await.text(),
        said,
        "the same again"
    );
    refused(
        &complete("http://h/2.mp4").await,
        400,
        "Bad Request: Job is already in a final state.",
    );
    let failed = app
        .post(&format!("/jobs/{id}/fail"), json!({"error_message": "x"}))
        .await;
    refused(
        &failed,
        400,
        "Bad Request: Job is already in a final state.",
    );
    let job = app.get(&format!("/jobs/{id}")).await.json();
    assert_eq!(
        (&job["status"], &job["output_url"]),
        (&json!("completed"), &json!("http://h/1.mp4"))
    );
    app.stop().await;
}

#[tokio::test]
async fn codecs_progress_and_draining_are_heeded() {
    let app = server().await;
    heartbeat(
        &app,
        json!({"engine_id": "e", "supported_codecs": ["vp9"], "benchmark_time": 0.5}),
    )
    .await;
    submit(&app, 1.0, 3).await;
    assert_eq!(assign(&app, "e").await, None, "it does not make h264");
    let body = json!({"source_url": "s", "target_codec": "libvpx-vp9"});
    let id = app.post("/jobs/", body).await.json()["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let drain = app.post("/api/v2/engines/e/drain", json!({})).await;
    assert_eq!(drain.json(), json!({"id": "e", "draining": true}));
    assert_eq!(assign(&app, "e").await, None);
    app.post("/api/v2/engines/e/resume", json!({})).await;
    assert_eq!(assign(&app, "e").await.unwrap()["job_id"], json!(id));
    let path = format!("/jobs/{id}/progress");
    let answer = app
        .post(&path, json!({"progress": 42.5, "message": "half"}))
        .await;
    assert_eq!(
        answer.json(),
        json!({"job_id": id, "message": "half", "progress": 42.5})
    );
    refused(
        &app.post(&path, json!({"progress": 101})).await,
        400,
        "Bad Request: 'progress' must be between 0 and 100.",
    );
    assert_eq!(
        app.get(&format!("/jobs/{id}")).await.json()["progress"],
        42.5
    );
    let gone = app.delete("/api/v2/engines/e").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        app.get(&format!("/jobs/{id}")).await.json()["status"],
        "pending"
    );
    assert_eq!(
        app.delete("/api/v2/engines/e").await.status,
        StatusCode::NOT_FOUND
    );
    app.stop().await;
}

#[tokio::test]
async fn jobs_are_filtered_and_paged() {
    let app = server().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(submit(&app, 1.0, 1).await);
    }
    app.post(
        &format!("/jobs/{}/complete", ids[1]),
        json!({"output_url": "u"}),
    )
    .await;
    let page = app
        .get("/api/v2/jobs?state=ready,leased&kind=transcode&limit=3")
        .await
        .json();
    let shown = |page: &Value| {
        page["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|j| j["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&page), [&ids[4], &ids[3], &ids[2]].map(Clone::clone));
    let next = page["next"].as_str().unwrap();
    let page = app
        .get(&format!("/api/v2/jobs?state=ready&limit=3&after={next}"))
        .await
        .json();
    assert_eq!(
        (shown(&page), &page["next"]),
        (vec![ids[0].clone()], &Value::Null)
    );
    let job = app.get(&format!("/api/v2/jobs/{}", ids[1])).await.json();
    assert_eq!(
        (&job["state"], &job["output"]["url"]),
        (&json!("done"), &json!("u"))
    );
    for bad in ["state=lost", "kind=x", "limit=0", "limit=501", "after=%20"] {
        let answer = app.get(&format!("/api/v2/jobs?{bad}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        let field = bad.split('=').next().unwrap();
        assert!(
            answer.json()["detail"].as_str().unwrap().starts_with(field),
            "{}",
            answer.text()
        );
    }
    assert_eq!(
        app.get("/api/v2/jobs/none").await.status,
        StatusCode::NOT_FOUND
    );
    app.stop().await;
}

#[tokio::test]
async fn strange_names_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        TestApp::with(|c| {
            c.local_engine.enabled = false;
            c.storage.directory = folder.path().join("data");
        })
    };
    let app = start().await;
    let (long, greek) = ("x".repeat(6000), "μηχανή");
    engine(&app, &long, 2.0, true).await;
    engine(&app, greek, 1.0, true).await;
    let source = format!(
        "http://example.com/video with spaces & symbols!@#.mp4?{}",
        "y".repeat(12_000)
    );
    let body = json!({"source_url": source, "target_codec": "h264", "job_size": 60});
    let id = app.post("/jobs/", body).await.json()["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(assign(&app, &long).await.unwrap()["assigned_engine"], greek);
    let before = (
        app.get("/jobs/").await.json(),
        app.get("/engines/").await.json(),
    );
    app.stop().await;
    let app = start().await;
    assert_eq!(
        (
            app.get("/jobs/").await.json(),
            app.get("/engines/").await.json()
        ),
        before
    );
    assert_eq!(before.0[0]["source_url"], json!(source));
    assert_eq!(before.1.as_array().unwrap().len(), 2);
    let done = app
        .post(&format!("/jobs/{id}/complete"), json!({"output_url": "u"}))
        .await;
    assert_eq!(done.status, StatusCode::OK);
    app.stop().await;
}
