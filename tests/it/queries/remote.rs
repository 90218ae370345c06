//! Sources on other servers: how much is read of them, and what they are told.

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Picture, ask, body, clock, make, quoted, second};
use crate::app::TestApp;
use crate::file_server::FileServer;

/// A film of `minutes` with about 60 MB, most of it noise.
fn long_film(app: &TestApp, name: &str, more: &str) -> u64 {
    let folder = app.folder.path();
    let piece = "-f lavfi -i testsrc2=s=640x360:r=25:d=20,noise=alls=60:allf=t -c:v libx264 \
                 -preset ultrafast -b:v 6M -minrate 6M -maxrate 6M -bufsize 2M -g 50";
    let piece = make(folder, "piece.mp4", piece);
    let args = format!("-stream_loop 3 -i {} -c copy {more}", piece.display());
    let film = make(folder, name, &args);
    std::fs::metadata(film).unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_is_read_of_a_long_film() {
    let app = TestApp::start().await;
    let server = FileServer::start(app.folder.path()).await;
    for (name, more) in [
        ("first.mp4", "-movflags +faststart"),
        ("last.mp4", ""),
        ("film.mkv", ""),
    ] {
        let size = long_film(&app, name, more);
        assert!(size > 40_000_000, "{size}");
        let before = server.sent();
        let url = server.url(&format!("/counted/{name}"));
        Picture::of(&body(&app, "thumb", &url, "&t=40").await);
        let read = server.sent() - before;
        assert!(read < 10_000_000, "{name}: {read} of {size} bytes");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_at_the_end_of_a_server_without_ranges_is_reached() {
    let app = TestApp::with(|config| {
        config.queries.max_download_bytes = ghoststream::config::ByteSize::mib(1);
    })
    .await;
    let film = clock(app.folder.path(), "last.mp4", 10, "");
    let server = FileServer::start(app.folder.path()).await;
    let url = server.url("/whole/last.mp4");
    let picture = Picture::of(&body(&app, "thumb", &url, "&t=7").await);
    assert!((second(&picture) - 7.0).abs() < 0.6);
    let summary = ask(&app, "meta", &url, "&fields=summary").await.json();
    assert_eq!(summary["duration_seconds"], 10.0);
    assert_eq!(summary["url"], url);
    assert!(!body(&app, "webm", &url, "&t=7&duration=1").await.is_empty());
    // No copy is left behind.
    let left = |entry: std::fs::DirEntry| std::fs::read_dir(entry.path()).into_iter().flatten();
    let files = std::fs::read_dir(app.folder.path().join("cache")).unwrap();
    let mut files = files.flat_map(|entry| left(entry.unwrap()));
    assert!(!files.any(|f| {
        f.unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with("download")
    }));
    // A larger one is refused by the name of its limit.
    let noise = "-f lavfi -i nullsrc=s=320x180:d=4,geq=random(1)*255:128:128 -c:v libx264 -qp 10";
    let large = make(app.folder.path(), "large.mp4", noise);
    assert!(std::fs::metadata(large).unwrap().len() > 1 << 20);
    let answer = ask(&app, "thumb", &server.url("/whole/large.mp4"), "").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().contains("1048576 bytes"), "{}", answer.text());
    drop(film);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_go_to_the_source_only() {
    let app = TestApp::start().await;
    clock(app.folder.path(), "film.mp4", 5, "");
    let server = FileServer::start(app.folder.path()).await;
    let get = async |endpoint: &str, url: &str, header: &str| {
        let path = format!("/{endpoint}?url={}", quoted(url));
        let headers = [(header, "Bearer secret")];
        app.request(http::Method::GET, &path, &headers, bytes::Bytes::new())
            .await
    };
    let url = server.url("/private/film.mp4");
    for endpoint in ["thumb", "webm", "meta", "preview"] {
        let answer = get(endpoint, &url, "x-source-authorization").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let caching = answer.headers["cache-control"].to_str().unwrap();
        assert!(!caching.contains("public"), "{caching}");
    }
    // What was made with credentials is not for those without.
    for header in ["authorization", "x-other"] {
        let answer = get("thumb", &url, header).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
        assert!(answer.text().contains("401"), "{}", answer.text());
    }
    // Another host: the same machine by another address.
    let elsewhere = server
        .url("/file/film.mp4")
        .replace("127.0.0.1", "127.0.0.2");
    let before = server.trusted().len();
    let redirect = server.url(&format!("/to/{elsewhere}"));
    for endpoint in ["thumb", "webm", "meta"] {
        let answer = get(endpoint, &redirect, "x-source-authorization").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let trusted = server.trusted();
    assert!(trusted.len() > before);
    assert!(
        trusted.iter().all(|r| r.starts_with("127.0.0.1:")),
        "{trusted:?}"
    );
    assert!(server.asked().iter().any(|r| r.starts_with("127.0.0.2:")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_echoed_of_a_url_holds_no_keys() {
    let app = TestApp::start().await;
    clock(app.folder.path(), "film.mp4", 2, "");
    let server = FileServer::start(app.folder.path()).await;
    let url = server
        .url("/file/film.mp4")
        .replace("://", "://me:hunter2@");
    for fields in ["", "&fields=summary"] {
        let answer = ask(&app, "meta", &url, fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
        assert!(
            answer.text().contains("/file/film.mp4"),
            "{}",
            answer.text()
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_is_told_by_its_failure() {
    let app = TestApp::with(|config| config.queries.timeout_seconds = 1).await;
    let server = FileServer::start(app.folder.path()).await;
    for (path, status) in [
        ("/status/404", 404),
        ("/status/500", 502),
        ("/status/401", 502),
        ("/loop", 502),
        ("/silent", 504),
        ("/to/file:///etc/passwd", 400),
    ] {
        for endpoint in ["thumb", "webm", "meta"] {
            let answer = ask(&app, endpoint, &server.url(path), "").await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
            assert!(
                answer.json()["Error"]
                    .as_str()
                    .unwrap()
                    .starts_with("url: ")
            );
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_of_reach_is_not_called_no_media() {
    let app = TestApp::start().await;
    // It speaks no TLS, and no RTSP.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("{}/film.mp4", listener.local_addr().unwrap());
    let refusing = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut some = [0; 4096];
            // A client that is gone does not mind.
            let _ = socket.read(&mut some).await;
            let _ = socket.write_all(b"SSH-2.0-it\r\n").await;
        }
    });
    for url in [
        format!("https://{place}"),
        format!("rtsp://{place}"),
        "rtsp://127.0.0.1:1/film".to_owned(),
    ] {
        for endpoint in ["thumb", "webm", "meta", "preview"] {
            let answer = ask(&app, endpoint, &url, "").await;
            let text = answer.text();
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{url}: {text}");
            assert!(text.contains("url: the source cannot be reached"), "{text}");
        }
    }
    refusing.abort();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_playlist_may_not_lead_to_files() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let film = clock(folder, "film.ts", 4, "");
    let list = |name: &str, item: &str| {
        let text =
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{item}\n#EXT-X-ENDLIST\n");
        std::fs::write(folder.join(name), text).unwrap();
    };
    list("good.m3u8", "film.ts");
    list("file.m3u8", &format!("file://{film}"));
    list("plain.m3u8", &film);
    let server = FileServer::start(folder).await;
    body(&app, "thumb", &server.url("/file/good.m3u8"), "").await;
    body(&app, "thumb", &server.url("/whole/good.m3u8"), "").await;
    for bad in ["file.m3u8", "plain.m3u8"] {
        let answer = ask(&app, "thumb", &server.url(&format!("/file/{bad}")), "").await;
        let status = answer.status.as_u16();
        assert!(
            matches!(status, 403 | 404 | 415 | 502),
            "{bad}: {status} {}",
            answer.text()
        );
    }
    app.stop().await;
}
