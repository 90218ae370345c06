//! Several viewers of one stream, and what the gateway says of itself.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::resilience::clip;

async fn start(app: &TestApp, body: Value) -> Value {
    let answer = app.post("/api/transcode/start", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

fn viewers(answer: &Value) -> (u64, bool) {
    let count = answer["viewer_count"].as_u64().unwrap();
    (count, answer["is_shared"].as_bool().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_share_a_stream_and_leave_it_to_each_other() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "clip.mkv", 6);
    let of = |session: &str| json!({"source": source, "session_id": session});
    let a = start(&app, of("a")).await;
    assert_eq!(viewers(&a), (1, false));
    let again = start(&app, of("a")).await;
    assert_eq!(again["job_id"], a["job_id"], "a session that asks twice");
    assert_eq!(viewers(&again), (1, false));
    // Told at once, before the source was probed.
    let b = start(&app, of("b")).await;
    assert_eq!(viewers(&b), (2, true));
    assert_ne!(b["job_id"], a["job_id"]);
    // Every parameter counts.
    let other = json!({"source": source, "session_id": "b", "start_time": 1});
    let other = start(&app, other).await;
    assert_eq!(viewers(&other), (1, false));
    assert_eq!(other["start_time"], 1.0);
    let (a, b) = (a["job_id"].as_str().unwrap(), b["job_id"].as_str().unwrap());
    let first = app.file(a, "segment_00000.ts").await;
    assert_eq!(app.file(b, "segment_00000.ts").await, first);
    assert_eq!(viewers(&app.status(a).await), (2, true));

    let shared = app.get("/api/streams/shared").await.json();
    assert_eq!(shared["active_shared_streams"], 2);
    assert_eq!(
        (&shared["total_viewers"], &shared["viewer_sessions"]),
        (&json!(3), &json!(3))
    );
    let stream = &shared["streams"]["clip.mkv"];
    assert_eq!(
        (&stream["job_id"], &stream["viewers"]),
        (&json!(a), &json!(2))
    );
    assert!(stream["status"].is_string() && stream["progress"].is_number());
    assert_eq!(shared["streams"]["clip.mkv (2)"]["viewers"], 1);

    // A leaves by way of B's id, as clients do that were handed the id on.
    let leave = |answer: Answer| {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let left = answer.json();
        assert_eq!(left["is_shared"], false);
        left["viewers_remaining"].as_u64().unwrap()
    };
    let path = format!("/api/transcode/{b}/leave");
    assert_eq!(leave(app.post(&path, json!({"session_id": "a"})).await), 1);
    assert_eq!(
        leave(app.post(&path, json!({"session_id": "nobody"})).await),
        1
    );
    let by_query = format!("{path}?session_id=b");
    let answer = app.request(Method::POST, &by_query, &[], Default::default());
    assert_eq!(leave(answer.await), 0);
    assert_eq!(viewers(&app.status(b).await), (0, false));
    assert_eq!(
        viewers(&start(&app, of("b")).await),
        (1, false),
        "it is back"
    );

    // One viewer's DELETE does not end the other's stream.
    assert_eq!(
        app.delete(&format!("/api/transcode/{a}")).await.status,
        StatusCode::OK
    );
    assert_eq!(app.file(b, "segment_00001.ts").await.len() % 188, 0);
    let gone = format!("/api/transcode/{a}/leave");
    let answer = app.post(&gone, json!({})).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::NOT_FOUND, json!({"detail": "Job not found"}))
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_without_a_session_are_counted_one_by_one() {
    let app = TestApp::start().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let mut jobs = Vec::new();
    for count in 1..=3 {
        let job = start(&app, json!({"source": source})).await;
        assert_eq!(viewers(&job), (count, count > 1));
        jobs.push(job["job_id"].as_str().unwrap().to_owned());
    }
    let leave = format!("/api/transcode/{}/leave", jobs[0]);
    // An unnamed viewer may name itself when it leaves.
    let left = app.post(&leave, json!({"session_id": "me"})).await.json();
    assert_eq!(
        (&left["viewers_remaining"], &left["is_shared"]),
        (&json!(2), &json!(true))
    );
    let left = app.post(&leave, json!({})).await.json();
    assert_eq!(left["viewers_remaining"], 2, "it had left already");
    // The short path of the original cancels.
    let answer = app.delete(&format!("/transcode/{}", jobs[1])).await;
    let words = json!({"status": "cancelled", "job_id": jobs[1]});
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, words));
    let answer = app.delete(&format!("/transcode/{}", jobs[1])).await;
    let words = json!({"detail": "Job cannot be cancelled"});
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::BAD_REQUEST, words)
    );
    assert_eq!(app.status(&jobs[1]).await["status"], "cancelled");
    let path = format!("/api/transcode/{}/stream", jobs[1]);
    let words = json!({"detail": "Job is not ready for streaming: cancelled"});
    assert_eq!(app.get(&path).await.json(), words);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_tells_how_it_is_and_cleans_up() {
    let app = TestApp::with(|config| config.server.environment = "test bench".into()).await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let job = start(&app, json!({"source": source})).await;
    app.post(
        &format!("/api/transcode/{}/cancel", job["job_id"].as_str().unwrap()),
        json!({}),
    )
    .await;
    let health = app.get("/api/health/detailed").await;
    let told = health.json();
    let unhealthy = told["status"] == "unhealthy";
    assert_eq!(health.status.as_u16(), if unhealthy { 503 } else { 200 });
    assert_eq!(told["environment"], "test bench");
    assert!(told["uptime_seconds"].is_f64() && told["timestamp"].is_f64());
    for (check, fields) in [
        ("cpu", &["usage_percent"][..]),
        ("memory", &["usage_percent", "available_mb"]),
        ("disk", &["usage_percent", "free_gb"]),
        ("job_queue", &["current", "max", "usage_percent"]),
        ("active_jobs", &["count", "max_concurrent"]),
    ] {
        let check = &told["checks"][check];
        assert!(check["status"].is_string(), "{check}");
        assert!(fields.iter().all(|f| check[f].is_number()), "{check}");
    }
    let memory = told["checks"]["memory"]["usage_percent"].as_f64().unwrap();
    assert!((0.1..100.0).contains(&memory), "{memory}");

    // What a killed gateway left: a folder that nobody holds.
    let left = app.folder.path().join("cache/segments-left");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("lock"), "").unwrap();
    let stats = app.get("/api/cleanup/stats").await.json();
    let wanted = json!({"total_jobs": 1, "active_jobs": 0, "ready_jobs": 0, "cleaned_jobs": 1,
        "nearly_stale": 0, "temp_dir": "cache"});
    assert_eq!(stats, wanted);
    let cleaned = app.post("/api/cleanup/run", json!({})).await.json();
    assert_eq!(
        cleaned,
        json!({"stale_jobs_cleaned": 0, "orphaned_dirs_cleaned": 1})
    );
    assert!(!left.exists());

    let caps = app.get("/api/capabilities").await.json();
    let accels = caps["hw_accels"].as_array().unwrap();
    let types: Vec<_> = accels.iter().map(|a| a["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["nvenc", "qsv", "vaapi", "amf", "videotoolbox", "software"]
    );
    for accel in accels {
        assert!(
            accel["available"].is_boolean()
                && accel["encoders"].is_array()
                && accel["decoders"].is_array()
        );
    }
    app.stop().await;
}
