//! Clients that speak HTTP badly, slowly or oddly.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.gateway.address()).await.unwrap()
}

/// What comes until the other side closes.
async fn rest(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_dawdle_are_hung_up_on() {
    let app = TestApp::with(|c| c.server.header_timeout_seconds = 1).await;
    let heads: [&[u8]; 4] = [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        // A head alone, and the body that it announces never comes.
        b"POST /api/transcode/start HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        // Kept open after an answer.
        HEALTH,
    ];
    for head in heads {
        let mut socket = connect(&app).await;
        socket.write_all(head).await.unwrap();
        let began = Instant::now();
        let what = String::from_utf8_lossy(head).into_owned();
        let (mut from, mut to) = socket.into_split();
        let dripping = async {
            // A byte now and then is no progress.
            while !head.is_empty() && head != HEALTH && to.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let ending = within(Duration::from_secs(8), &what, from.read_to_end(&mut answer));
        tokio::select! {
            _ = ending => {}
            () = dripping => {}
        }
        assert!(began.elapsed() > Duration::from_millis(500), "{what}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait() {
    let app = TestApp::with(|c| c.server.max_connections = 2).await;
    let (first, second) = (connect(&app).await, connect(&app).await);
    let mut third = connect(&app).await;
    third.write_all(HEALTH).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(500), third.read(&mut byte)).await;
    assert!(early.is_err(), "a third connection was served");
    drop(first);
    let read = within(SOON, "an answer", third.read(&mut byte)).await;
    assert_eq!((read.unwrap(), byte[0]), (1, b'H'));
    drop((second, third));
    for _ in 0..50 {
        drop(connect(&app).await);
    }
    expect_status(&app, "/healthz", StatusCode::OK).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_json_with_a_reason() {
    let app = TestApp::start().await;
    let large = Bytes::from(vec![b' '; (1 << 20) + 1]);
    let start = "/api/transcode/start";
    let none = Bytes::new();
    let refusals = [
        (Method::POST, start, large, 413),
        (Method::POST, start, none.clone(), 422),
        (
            Method::POST,
            start,
            Bytes::from_static(b"{\"source\": \"\xff\"}"),
            422,
        ),
        (Method::POST, start, Bytes::from(vec![b'['; 100_000]), 422),
        (Method::GET, start, none.clone(), 405),
        (Method::PUT, "/api/health", none.clone(), 405),
        (Method::DELETE, "/stream/x/master.m3u8", none.clone(), 405),
        (Method::GET, "/api/nothing", none.clone(), 404),
        (Method::GET, "/stream/", none.clone(), 404),
        (Method::GET, "/stream/x", none.clone(), 404),
        (
            Method::GET,
            "/api/transcode/not-an-id/status",
            none.clone(),
            404,
        ),
        (
            Method::GET,
            "/api/transcode/%ff%fe/status",
            none.clone(),
            400,
        ),
        (Method::GET, "/stream/%ff/master.m3u8", none.clone(), 400),
        (
            Method::GET,
            "/stream/00000000-0000-4000-8000-000000000000/master.m3u8",
            none.clone(),
            404,
        ),
        (Method::DELETE, "/api/transcode/..%2f..", none.clone(), 404),
        (Method::POST, "/api/transcode/x/cancel", none.clone(), 400),
        (Method::GET, "/api/v2/files?path=%ff", none.clone(), 404),
        (
            Method::GET,
            "/api/v2/files?path=../../etc",
            none.clone(),
            404,
        ),
        (Method::GET, "/api/v2/files?path=/etc", none, 404),
    ];
    for (method, path, body, wanted) in refusals {
        let headers = [("content-type", "application/json")];
        let answer = app.request(method.clone(), path, &headers, body).await;
        let text = answer.text();
        assert_eq!(answer.status.as_u16(), wanted, "{method} {path}: {text}");
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        let detail = parsed.map(|v| v["detail"].clone()).unwrap_or_default();
        let told = detail.as_str().is_some_and(|d| !d.is_empty()) || detail.is_array();
        assert!(told, "{method} {path}: {text}");
        if wanted == 405 {
            assert!(answer.headers.contains_key("allow"), "{method} {path}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leads_out_of_a_stream() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 8, |_| {}).await;
    app.file(&job, "segment_00000.ts").await;
    let names = [
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..\\..\\etc\\passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%00",
        "segment_00000.ts%00",
        "segment_00000.ts/",
        "segment_99999.ts",
        "segment_4294967296.ts",
        "segment_0.ts",
        "lock",
        "master.m3u8.bak",
        "video0_00000.m4s",
        "%ff",
    ];
    for name in names {
        let mut socket = connect(&app).await;
        let head =
            format!("GET /stream/{job}/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(socket).await;
        let status = answer.get(9..12).unwrap_or_default();
        assert!(matches!(status, "400" | "404"), "{name}: {answer}");
        assert!(answer.contains("{\"detail\":"), "{name}: {answer}");
        assert!(!answer.contains("root:"), "{name}");
    }
    // Nor does a Host that would be handed out.
    let mut socket = connect(&app).await;
    let head = format!(
        "GET /api/transcode/{job}/status HTTP/1.1\r\nHost: evil\"><script>\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    assert!(!rest(socket).await.contains("<script>"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_and_heads_of_segments() {
    let fake = FakeFfmpeg::new();
    let (app, job) = faked(&fake, 30, |c| c.transcoding.buffer_ahead_seconds = 2).await;
    let segment = format!("/stream/{job}/segment_00000.ts");
    let whole = app.file(&job, "segment_00000.ts").await;
    let size = whole.len();
    let part = async |path: &str, range: &str| {
        let headers = [("range", range)];
        app.request(Method::GET, path, &headers, Bytes::new()).await
    };
    for (range, from, to) in [
        ("bytes=0-187", 0, 188),
        ("bytes=188-", 188, size),
        ("bytes=-376", size - 376, size),
        ("bytes=0-99999999", 0, size),
    ] {
        let answer = part(&segment, range).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.body, whole.slice(from..to), "{range}");
        let told = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(answer.headers["content-range"], told.as_str());
    }
    let answer = part(&segment, &format!("bytes={size}-")).await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        answer.headers["content-range"],
        format!("bytes */{size}").as_str()
    );
    for odd in [
        "bytes=5-1",
        "lines=0-5",
        "bytes=0-1,5-6",
        "bytes=99999999999999999999999-5",
    ] {
        let answer = part(&segment, odd).await;
        let fits = answer.status == StatusCode::OK && answer.body == whole
            || answer.status == StatusCode::RANGE_NOT_SATISFIABLE;
        assert!(fits, "{odd}: {}", answer.status);
    }
    // A part of what is not made yet.
    let later = format!("/stream/{job}/segment_00005.ts");
    let answer = part(&later, "bytes=0-187").await;
    assert_eq!(
        (answer.status, answer.body.len()),
        (StatusCode::PARTIAL_CONTENT, 188)
    );

    let head = async |path: &str| app.request(Method::HEAD, path, &[], Bytes::new()).await;
    let answer = head(&segment).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.headers["content-length"], size.to_string().as_str());
    assert_eq!(answer.headers["content-type"], "video/mp2t");
    let list = format!("/stream/{job}/master.m3u8");
    let length = app.get(&list).await.body.len().to_string();
    assert_eq!(head(&list).await.headers["content-length"], length.as_str());
    let runs = fake.runs().len();
    let answer = head(&format!("/stream/{job}/segment_00009.ts")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "video/mp2t");
    let length = answer.headers.get("content-length");
    assert!(
        length.is_none_or(|l| l != "0"),
        "a segment that is not made is no empty one"
    );
    assert_eq!(fake.runs().len(), runs, "asking for a head made a segment");
    assert_eq!(
        head(&format!("/stream/{job}/segment_99999.ts"))
            .await
            .status,
        404
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_may_play() {
    let app = TestApp::start().await;
    let asked = [
        ("origin", "https://player.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range, x-api-key"),
    ];
    for path in ["/api/transcode/start", "/stream/x/segment_00000.ts"] {
        let answer = app
            .request(Method::OPTIONS, path, &asked, Bytes::new())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        let methods = answer.headers["access-control-allow-methods"]
            .to_str()
            .unwrap();
        assert!(
            methods.contains("GET") && methods.contains("DELETE"),
            "{methods}"
        );
        assert!(answer.headers.contains_key("access-control-allow-headers"));
    }
    let answer = app
        .request(Method::GET, "/api/nothing", &asked[..1], Bytes::new())
        .await;
    assert_eq!(
        answer.headers["access-control-allow-origin"], "*",
        "errors can be read too"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_requests_are_refused_at_once() {
    let app = TestApp::start().await;
    let long = |n: usize| "a".repeat(n);
    let sources = [
        (json!(""), 400),
        (json!("   "), 400),
        (json!("\u{0}"), 400),
        (json!("clip\u{0}.mkv"), 400),
        (json!(long(1_000_000)), 400),
        (json!(format!("http://{}/", long(100_000))), 400),
        (json!(null), 422),
        (json!(["a"]), 422),
        (json!("nothing.mkv"), 404),
    ];
    for (source, wanted) in sources {
        let shown: String = source.to_string().chars().take(60).collect();
        let answer = app
            .post("/api/transcode/start", json!({"source": source}))
            .await;
        assert_eq!(answer.status.as_u16(), wanted, "{shown}: {}", answer.text());
        assert!(
            answer.body.len() < 1000,
            "{shown}: {} bytes of error",
            answer.body.len()
        );
    }
    let mut socket = connect(&app).await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        long(1_000_000)
    );
    // It may be hung up on before all of it is sent.
    let _ = socket.write_all(head.as_bytes()).await;
    let answer = rest(socket).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    app.stop().await;
}
