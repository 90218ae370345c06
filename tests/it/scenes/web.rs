//! What grav1's web client needs, access, and what it has no name for.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::film::small;
use super::worker::*;
use crate::app::TestApp;

async fn finished(app: &TestApp, id: &str) {
    small(&app.folder.path().join("small.mkv"), 2, 12);
    let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": id,
        "min_frames": 12, "max_frames": 12});
    add(app, body).await;
    until_status(app, id, "ready").await;
    work(app, app.folder.path(), Generation::Third).await;
    until_status(app, id, "complete").await;
}

pub(crate) fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenes_and_films_are_served_in_parts_and_deleted() {
    let app = server(|_| {}).await;
    finished(&app, "w").await;
    let list = app.get("/api/get_projects").await;
    assert_eq!(list.headers["access-control-allow-origin"], "*");
    let all = list.json();
    assert_eq!(
        all[0],
        project(&app, "w").await,
        "one object for both generations"
    );
    let keys = "projectid input frames total_frames fps jobs total_jobs status encoder encoder_params ffmpeg_params \
        scenes priority workers size";
    for key in keys.split_whitespace() {
        assert!(!all[0][key].is_null(), "{key}");
    }
    let scene = &all[0]["scenes"]["00001"];
    assert_eq!(
        (&scene["segment"], &scene["start"]),
        (&json!("00001.mkv"), &json!(12))
    );
    let whole = app.get("/scene/w/00001.ivf").await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.body.len() as u64, scene["filesize"].as_u64().unwrap());
    assert_eq!(whole.headers["content-type"], "application/octet-stream");
    assert_eq!(whole.headers["cache-control"], "no-cache");
    for name in ["00001", "1"] {
        assert_eq!(app.get(&format!("/scene/w/{name}")).await.body, whole.body);
    }
    for path in ["/scene/w/00001.ivf", "/completed/w"] {
        let whole = app.get(path).await;
        let etag = whole.headers["etag"].to_str().unwrap().to_owned();
        let ask = async |header: (&str, &str), method: Method| {
            app.request(method, path, &[header], Bytes::new()).await
        };
        let known = ask(("if-none-match", &etag), Method::GET).await;
        assert_eq!(
            (known.status, known.body.len()),
            (StatusCode::NOT_MODIFIED, 0)
        );
        let part = ask(("range", "bytes=10-19"), Method::GET).await;
        assert_eq!(
            (part.status, &part.body[..]),
            (StatusCode::PARTIAL_CONTENT, &whole.body[10..20])
        );
        let beyond = ask(("range", "bytes=99999999-"), Method::GET).await;
        assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
        let head = ask(("accept", "*/*"), Method::HEAD).await;
        assert_eq!(head.headers["content-length"], whole.body.len().to_string());
        assert!(head.body.is_empty());
        assert!(
            whole.headers["content-disposition"]
                .to_str()
                .unwrap()
                .starts_with("inline; filename=")
        );
    }
    let asked = [
        ("origin", "http://page.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let preflight = app
        .request(Method::OPTIONS, "/api/add_project", &asked, Bytes::new())
        .await;
    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(
        preflight.headers["access-control-allow-headers"],
        "content-type"
    );
    let methods = preflight.headers["access-control-allow-methods"]
        .to_str()
        .unwrap();
    assert!(
        methods.contains("POST") && methods.contains("PATCH"),
        "{methods}"
    );
    let names = app.get("/api/list_directory").await.json();
    assert!(names.to_string().contains("small.mkv"), "{names}");
    let info = app.get("/api/get_info").await.json();
    assert_eq!(
        (&info["encoders"]["aomenc"], &info["password"]),
        (&json!(VERSION), &json!(false))
    );
    let home = app.get("/api/get_home").await.json();
    assert_eq!(home["projects"], 1);
    assert!(
        home["frames per hour"]["frames"].as_u64().unwrap() > 0,
        "{home}"
    );
    // Without a body.
    let deleted = app
        .request(Method::POST, "/api/delete_project/w", &[], Bytes::new())
        .await;
    assert_eq!(deleted.json(), json!({"success": true}));
    assert_eq!(app.get("/completed/w").await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.get("/api/get_projects").await.json(), json!([]));
    let left = files_below(&app.folder.path().join("data/artifacts"));
    assert!(left.is_empty(), "{left:?}");
    assert!(app.folder.path().join("small.mkv").is_file());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_with_a_token_are_served_under_it_only() {
    let app = server(|c| {
        c.grav1.worker_token = Some("t0ken".into());
        c.security.api_key = Some("secret".into());
    })
    .await;
    small(&app.folder.path().join("small.mkv"), 1, 12);
    let key = [
        ("x-api-key", "secret"),
        ("content-type", "application/json"),
    ];
    let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "k"});
    let answer = app
        .request(
            Method::POST,
            "/api/add_project",
            &key,
            body.to_string().into(),
        )
        .await;
    assert_eq!(answer.json()["success"], true);
    let show = async || {
        app.request(Method::GET, "/api/get_project/k", &key, Bytes::new())
            .await
            .json()
    };
    let ready = async {
        while show().await["status"] != "ready" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, ready).await.unwrap();
    assert_eq!(
        app.get("/api/get_projects").await.status,
        StatusCode::UNAUTHORIZED
    );
    for path in ["/api/get_job/%5B%5D", "/grav1/wrong/api/get_job/%5B%5D"] {
        let answer = app.request(Method::GET, path, &key, Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let answer = app.get("/grav1/t0ken/api/get_job/%5B%5D").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let text = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let given = Given {
        project: text("projectid"),
        scene: text("scene"),
        id: text("id"),
        answer: answer.clone(),
    };
    assert_eq!(
        app.get("/grav1/t0ken/api/is_job/k/00000").await.status,
        StatusCode::OK
    );
    assert_eq!(
        app.get("/grav1/t0ken/api/get_projects").await.status,
        StatusCode::NOT_FOUND
    );
    let file = encode(&given, app.folder.path());
    let whole = fields(&given, Generation::Third);
    assert_eq!(
        deliver_to(&app, "/grav1/t0ken/finish_job", &whole, &file).await,
        "saved"
    );
    // What is handed out with the key can be opened without it.
    let complete = async {
        loop {
            let now = show().await;
            if now["status"] == "complete" {
                return now;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(LIMIT, complete).await.unwrap();
    for url in [&done["scenes"]["00000"]["url"], &done["completed_url"]] {
        let url = url.as_str().unwrap();
        assert_eq!(app.get(url).await.status, StatusCode::OK, "{url}");
        let bare = url.split('?').next().unwrap();
        assert_eq!(app.get(bare).await.status, StatusCode::UNAUTHORIZED);
    }
    app.stop().await;
}

/// A job that is taken up for its result is cancelled again by whoever hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_was_under_way_is_taken_while_a_project_rests() {
    let app = server(|_| {}).await;
    small(&app.folder.path().join("small.mkv"), 16, 12);
    let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "r",
        "min_frames": 12, "max_frames": 12});
    add(&app, body).await;
    until_status(&app, "r", "ready").await;
    let mut held: Vec<Given> = Vec::new();
    while let Some(given) = get_job(&app, &held.iter().collect::<Vec<_>>()).await {
        held.push(given);
    }
    assert_eq!(held.len(), 16);
    app.post("/api/v2/projects/r/pause", json!({})).await;
    let file = encode(&held[0], app.folder.path());
    for given in &held {
        let said = deliver(&app, &fields(given, Generation::Third), &file).await;
        assert_eq!(said, "saved", "{}", given.scene);
    }
    app.post("/api/v2/projects/r/resume", json!({})).await;
    until_status(&app, "r", "complete").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_rests_and_goes_on() {
    let app = server(|_| {}).await;
    small(&app.folder.path().join("small.mkv"), 2, 12);
    let body = json!({"input": ["small.mkv"], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "r",
        "min_frames": 12, "max_frames": 12});
    add(&app, body).await;
    until_status(&app, "r", "ready").await;
    let given = get_job_as(&app, &[], &[("x-forwarded-for", "203.0.113.7, 10.0.0.1")])
        .await
        .unwrap();
    assert!(given.id.starts_with("203.0.113.7:"), "{}", given.id);
    let answer = app.post("/api/v2/projects/r/pause", json!({})).await;
    assert_eq!(answer.json()["status"], "paused");
    assert!(get_job(&app, &[]).await.is_none());
    // What is under way is taken.
    let file = encode(&given, app.folder.path());
    assert_eq!(
        deliver(&app, &fields(&given, Generation::Third), &file).await,
        "saved"
    );
    let answer = app.post("/api/v2/projects/r/resume", json!({})).await;
    assert_eq!(
        (&answer.json()["status"], &answer.json()["jobs"]),
        (&json!("ready"), &json!(1))
    );
    assert_eq!(work(&app, app.folder.path(), Generation::First).await, 1);
    until_status(&app, "r", "complete").await;
    // One scene anew, with parameters of its own.
    let path = "/api/v2/projects/r/scenes/00000/retry";
    let answer = app
        .post(path, json!({"encoder_params": "--cpu-used=7"}))
        .await;
    assert_eq!(
        (&answer.json()["status"], &answer.json()["jobs"]),
        (&json!("ready"), &json!(1))
    );
    let again = get_job(&app, &[]).await.unwrap();
    assert_eq!(
        (
            again.scene.as_str(),
            again.header("encoder_params").as_str()
        ),
        ("00000", "--cpu-used=7")
    );
    let file = encode(&again, app.folder.path());
    assert_eq!(
        deliver(&app, &fields(&again, Generation::Third), &file).await,
        "saved"
    );
    let done = until_status(&app, "r", "complete").await;
    assert_eq!(done["scenes"]["00000"]["encoder_params"], "--cpu-used=7");
    assert_eq!(
        app.post("/api/v2/projects/none/pause", json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        app.post("/api/v2/projects/r/scenes/77/retry", json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    app.stop().await;
}
