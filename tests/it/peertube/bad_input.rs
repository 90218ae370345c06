//! What must be refused, and how.

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::runner::{Part, Taken, film, register};
use super::{
    REGISTRATION, configured, is_problem, nothing, one_job, post_parts, registered, start, states,
    video,
};
use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_ids_that_are_not_known_say_so_in_the_right_words() {
    let app = start().await;
    let base = app.gateway.url();
    let bad = register(&base, json!({"name": "a", "registrationToken": "ptrrt-x"})).await;
    is_problem(&bad, 404, None);
    for said in [
        json!({"registrationToken": REGISTRATION}),
        json!({"name": "a"}),
        json!({"name": "", "registrationToken": REGISTRATION}),
        json!({"name": "x".repeat(101), "registrationToken": REGISTRATION}),
        json!({"name": 7, "registrationToken": REGISTRATION}),
        json!([]),
    ] {
        is_problem(&register(&base, said).await, 400, None);
    }
    one_job(&app).await;
    let runner = registered(&app, "one").await;
    let job = runner.take("vod-hls-transcoding").await;
    let stranger = json!({"runnerToken": "ptrt-nobody"});
    for path in ["/jobs/request", &format!("/jobs/{}/accept", job.uuid)] {
        let answer = runner.post(path, stranger.clone()).await;
        is_problem(&answer, 404, Some("unknown_runner_token"));
        let answer = runner.post(path, json!({"runnerToken": null})).await;
        is_problem(&answer, 400, None);
    }
    for unknown in [
        "nosuchjob",
        "6f2a3b52-7e0e-4a3e-9b55-0f3a3f7d2f9c",
        "..%2f..",
        "%00",
    ] {
        is_problem(&runner.accept(unknown).await, 404, None);
    }
    let other = Taken {
        token: "ptrjt-6f2a3b52-7e0e-4a3e-9b55-0f3a3f7d2f9c".into(),
        ..job.clone()
    };
    is_problem(&runner.update(&other, "1").await, 404, None);
    is_problem(&runner.error(&other, "x").await, 404, None);
    let no_token = Taken {
        token: String::new(),
        ..job.clone()
    };
    is_problem(&runner.update(&no_token, "1").await, 400, None);
    // Files of another video, and files that there are not.
    let url = job.payload["input"]["videoFileUrl"].as_str().unwrap();
    let parts: Vec<&str> = url.split("/files/videos/").collect();
    for path in [
        format!("{}/files/videos/nosuchvideo/max-quality", parts[0]),
        url.replace("max-quality", "studio/task-files/task-0"),
        url.replace("max-quality", "previews/max-quality"),
        url.replace("max-quality", "studio/task-files/..%2fsource"),
    ] {
        let status = runner.fetch(&job, &path.into()).await.status;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    is_problem(&runner.post("/jobs/x/dance", json!({})).await, 404, None);
    is_problem(&app.get("/api/v1/runners/nothing/here").await, 404, None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_cannot_be_done_name_what_is_wrong() {
    let app = start().await;
    let film = film(app.folder.path(), "film.mp4", "160x90", 1);
    let film = std::fs::read(film).unwrap();
    let file = || Part::File("videoFile", "../../f.mp4", "video/mp4", &film);
    let cases: &[(&[Part<'_>], &str)] = &[
        (&[Part::Text("name", "n")], "videoFile"),
        (
            &[Part::File("videoFile", "a.mp4", "video/mp4", b"")],
            "videoFile",
        ),
        (
            &[Part::File("videoFile", "a.mp4", "video/mp4", b"no film")],
            "videoFile",
        ),
        (&[file(), Part::Text("jobs", "hls,dance")], "dance"),
        (&[file(), Part::Text("jobs", "audio-merge")], "previewFile"),
        (&[file(), Part::Text("jobs", "studio")], "tasks"),
        (
            &[
                file(),
                Part::Text("jobs", "studio"),
                Part::Text("tasks", "{}"),
            ],
            "tasks",
        ),
        (
            &[
                file(),
                Part::Text("jobs", "studio"),
                Part::Text("tasks", "[{\"name\":\"spin\"}]"),
            ],
            "spin",
        ),
        (
            &[
                file(),
                Part::Text("jobs", "studio"),
                Part::Text(
                    "tasks",
                    "[{\"name\":\"add-intro\",\"options\":{\"file\":\"intro\"}}]",
                ),
            ],
            "intro",
        ),
        (&[file(), Part::Text("resolutions", "tall")], "resolutions"),
        (&[file(), Part::Text("fps", "0")], "fps"),
        (
            &[file(), Part::Text("callback_url", "ftp://h/x")],
            "callback_url",
        ),
        (&[file(), Part::Text("destination", "../up")], "destination"),
    ];
    for (parts, field) in cases {
        let answer = post_parts(&app, "/video/upload", parts).await;
        is_problem(&answer, 400, None);
        assert!(answer.text().contains(field), "{field}: {}", answer.text());
    }
    for (path, status) in [
        ("nosuch.mp4", 404),
        ("../../etc/passwd", 404),
        ("/etc/passwd", 404),
    ] {
        let answer = app.post("/video/transcode", json!({"path": path})).await;
        is_problem(&answer, status, None);
    }
    is_problem(&app.post("/video/transcode", nothing()).await, 400, None);
    std::fs::write(app.folder.path().join("text.mp4"), "no film").unwrap();
    is_problem(
        &app.post("/video/transcode", json!({"path": "text.mp4"}))
            .await,
        400,
        None,
    );
    is_problem(&app.post("/video/live", nothing()).await, 400, None);
    is_problem(
        &app.post("/video/live", json!({"source": "film.mp4"})).await,
        400,
        None,
    );
    is_problem(
        &app.post("/video/live", json!({"source": "gopher://h/x"}))
            .await,
        400,
        None,
    );
    let plain = [("content-type", "text/plain")];
    let answer = app
        .request(Method::POST, "/video/upload", &plain, "x".into())
        .await;
    is_problem(&answer, 400, None);
    for unknown in [
        "/video/nosuch",
        "/video/nosuch/master.m3u8",
        "/videos/nosuch",
    ] {
        is_problem(&app.get(unknown).await, 404, None);
    }
    is_problem(&app.delete("/video/nosuch").await, 404, None);
    assert_eq!(app.get("/video/").await.json()["total"], 0);
    let left = std::fs::read_dir(app.folder.path().join("data/videos/uploads")).unwrap();
    assert_eq!(left.count(), 0);
    app.stop().await;
}

/// Sends the head and the beginning of a body, and gives what is answered.
async fn begin(app: &TestApp, path: &str, length: usize, start: &[u8]) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {}\r\n\
         content-length: {length}\r\n\r\n",
        super::multipart_type()
    );
    let mut socket = tokio::net::TcpStream::connect(app.gateway.address())
        .await
        .unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(start).await.unwrap();
    let mut said = vec![0; 4096];
    let read = tokio::time::timeout(super::SOON, socket.read(&mut said)).await;
    let read = read.unwrap().unwrap();
    String::from_utf8_lossy(&said[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_delivery_is_refused_by_its_tokens() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    let job = runner.take("vod-hls-transcoding").await;
    runner.abort(&job).await;
    let file = [0; 1000];
    let part = Part::File("payload[videoFile]", "a.mp4", "video/mp4", &file);
    let body = runner.words(&job, &[part]);
    let path = format!("/api/v1/runners/jobs/{}/success", job.uuid);
    // The rest of the body never comes.
    let answer = begin(&app, &path, 1 << 30, &body[..body.len() - 500]).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let received = app.folder.path().join("data/videos/received");
    assert_eq!(std::fs::read_dir(received).unwrap().count(), 0);
    assert_eq!(states(&video(&app, &id).await), [1]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_break_off_leave_nothing() {
    let app = start().await;
    let id = one_job(&app).await;
    let runner = registered(&app, "one").await;
    let job = runner.take("vod-hls-transcoding").await;
    let file = [0; 100_000];
    let part = Part::File("payload[videoFile]", "a.mp4", "video/mp4", &file);
    let body = runner.words(&job, &[part]);
    let cut = async |path: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            super::multipart_type(),
            body.len()
        );
        let mut socket = tokio::net::TcpStream::connect(app.gateway.address())
            .await
            .unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&body[..body.len() / 2]).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        socket.read_to_end(&mut said).await.unwrap();
    };
    cut(&format!("/api/v1/runners/jobs/{}/success", job.uuid), &body).await;
    let upload = super::multipart(&[Part::File("videoFile", "a.mp4", "video/mp4", &file)]);
    cut("/video/upload", &upload).await;
    let folder = app.folder.path().join("data/videos");
    let count = |name: &str| std::fs::read_dir(folder.join(name)).unwrap().count();
    let cleared = async {
        while count("received") > 0 || count("uploads") > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::SOON, cleared).await.unwrap();
    // The runner has its job still.
    assert_eq!(
        runner.update(&job, "1").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(states(&video(&app, &id).await), [2]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_before_it_is_stored() {
    let app = TestApp::with(|config| {
        configured(config);
        config.peertube.max_upload_bytes = Some(ghoststream::config::ByteSize::mib(1));
    })
    .await;
    let answer = begin(&app, "/video/upload", 1 << 30, b"--").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let large = vec![0; (1 << 20) + 1000];
    let parts = [Part::File("videoFile", "a.mp4", "video/mp4", &large)];
    is_problem(&post_parts(&app, "/video/upload", &parts).await, 413, None);
    let left = std::fs::read_dir(app.folder.path().join("data/videos/uploads")).unwrap();
    assert_eq!(left.count(), 0);
    app.stop().await;
}
