//! What is refused: by a clear status, naming the parameter.

use http::{Method, StatusCode};

use super::{ask, clock, head, quoted};
use crate::app::{TestApp, shared_media};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_told_by_its_parameter() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "a b'c\"d%20é語.mp4", 3, "");
    let name = quoted(&film);
    let long = format!("http://h/{}", "x".repeat(8000));
    for (path, status, word) in [
        ("/thumb".to_owned(), 400, "url parameter is required"),
        ("/webm?url=".to_owned(), 400, "url parameter is required"),
        (
            format!("/thumb?url={name}&url={name}"),
            400,
            "url is given more than once",
        ),
        ("/thumb?url=../../etc/passwd".to_owned(), 404, "url: "),
        ("/thumb?url=/etc/passwd".to_owned(), 404, "url: "),
        ("/meta?url=file:///etc/passwd".to_owned(), 404, "url: "),
        ("/thumb?url=concat:/etc/passwd".to_owned(), 400, "url: "),
        ("/thumb?url=data:image/png,x".to_owned(), 400, "url: "),
        ("/thumb?url=pipe:0".to_owned(), 400, "url: "),
        (
            "/thumb?url=http://169.254.169.254/latest".to_owned(),
            403,
            "url: ",
        ),
        (format!("/thumb?url={long}"), 400, "url: "),
        (format!("/thumb?url={name}&t=3000"), 400, "t is 3000 s"),
        (format!("/webm?url={name}&t=3"), 400, "t is 3 s"),
        (format!("/webm?url={name}&t=100%"), 400, "t is 3 s"),
        (format!("/thumb?url={name}&t=-5"), 400, "t must be"),
        (format!("/thumb?url={name}&width=0"), 400, "width must be"),
        (
            format!("/thumb?url={name}&width=1000000000"),
            400,
            "width must be",
        ),
        (
            format!("/thumb?url={name}&height=1,drawtext=text=x"),
            400,
            "height must be",
        ),
        (
            format!("/thumb?url={name}&watermark=/etc/passwd"),
            404,
            "watermark: ",
        ),
        (
            format!("/thumb?url={name}&watermark=x&alpha=0.5[a];movie=b"),
            400,
            "alpha must be",
        ),
        (
            format!("/preview?url={name}&frames=9999"),
            400,
            "frames must be",
        ),
        (
            format!("/preview?url={name}&format=exe"),
            400,
            "format must be",
        ),
        (
            format!("/storyboard?url={name}&interval=x"),
            400,
            "interval must be",
        ),
        (
            format!("/storyboard?url={name}&sheet=9"),
            400,
            "sheet must be",
        ),
        (
            format!("/webm?url={name}&bitrate=1;rm"),
            400,
            "bitrate must be",
        ),
        (format!("/meta?url={name}&fields=x"), 400, "fields must be"),
        ("/thumb/nothing/here".to_owned(), 404, ""),
    ] {
        let answer = app.get(&path).await;
        let shown = &path[..path.len().min(120)];
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text());
        let text = answer.json()["Error"].as_str().unwrap().to_owned();
        assert!(text.starts_with(word), "{shown}: {text}");
        assert!(
            !text.contains(app.folder.path().to_str().unwrap()),
            "{text}"
        );
        assert_eq!(
            head(&app, &path, &[]).await.status,
            answer.status,
            "{shown}"
        );
    }
    let good = ask(&app, "thumb", &film, "").await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.text());
    let posted = app
        .request(Method::POST, "/thumb?url=x", &[], bytes::Bytes::new())
        .await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.headers["allow"], "GET, HEAD");
    assert!(posted.json()["Error"].is_string());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_media_is_no_empty_answer() {
    let app = TestApp::start().await;
    let text = app.folder.path().join("text.mp4");
    std::fs::write(&text, "hello").unwrap();
    for endpoint in ["thumb", "webm", "preview", "storyboard", "meta"] {
        let answer = ask(&app, endpoint, text.to_str().unwrap(), "").await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("url: "), "{}", answer.text());
    }
    let sound = super::make(app.folder.path(), "s.mp3", "-f lavfi -i sine=d=1");
    let answer = ask(&app, "thumb", sound.to_str().unwrap(), "").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_files_lead_nowhere() {
    let Some(media) = shared_media() else { return };
    let app = TestApp::start().await;
    for entry in std::fs::read_dir(media.join("exploit")).unwrap() {
        let path = entry.unwrap().path();
        for endpoint in ["thumb", "meta"] {
            let answer = ask(&app, endpoint, path.to_str().unwrap(), "").await;
            // ffprobe may describe a container whose content lies elsewhere.
            let described = endpoint == "meta" && answer.status == StatusCode::OK;
            let refused = answer.status == StatusCode::UNSUPPORTED_MEDIA_TYPE;
            assert!(refused || described, "{path:?}: {}", answer.text());
            assert!(!answer.text().contains("root:"), "{path:?}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_originals_statuses_can_be_had() {
    let app = TestApp::with(|config| config.queries.legacy_errors = true).await;
    for path in [
        "/thumb",
        "/webm?url=/nothing",
        "/meta?url=x&fields=y",
        "/thumb/x/y",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.json()["Error"].is_string(), "{path}");
    }
    // The original refused other methods by their status.
    let posted = app
        .request(Method::POST, "/thumb?url=x", &[], bytes::Bytes::new())
        .await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(app.get("/api/nothing").await.status, StatusCode::NOT_FOUND);
    app.stop().await;
}
