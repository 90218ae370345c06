//! A gateway with a key, signed addresses, foreign pages, and clients that ask too often.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::cli::run;
use crate::progress::Socket;
use crate::resilience::clip;

const KEY: &str = "open-sesame";
const WITH_KEY: (&str, &str) = ("x-api-key", KEY);

async fn keyed() -> TestApp {
    TestApp::with(|config| config.security.api_key = Some(KEY.into())).await
}

async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    app.request(Method::GET, path, headers, Default::default())
        .await
}

async fn start(app: &TestApp, body: &Value) -> Answer {
    let headers = [WITH_KEY, ("content-type", "application/json")];
    let body = body.to_string().into();
    app.request(Method::POST, "/api/transcode/start", &headers, body)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_but_probes_and_the_page_needs_the_key() {
    let app = keyed().await;
    for open in [
        "/api/health",
        "/health",
        "/healthz",
        "/readyz",
        "/",
        "/favicon.svg",
    ] {
        assert_eq!(app.get(open).await.status, StatusCode::OK, "{open}");
    }
    let id = "00000000-0000-4000-8000-000000000000";
    let stream = format!("/stream/{id}/master.m3u8");
    let forged = format!("{stream}?gst=ffffffff.AAAAAAAAAAAAAAAAAAAAAA");
    let status = format!("/api/transcode/{id}/status?gst=ffffffff.AAAAAAAAAAAAAAAAAAAAAA");
    for path in [
        "/api/capabilities",
        "/api/stats",
        "/api/health/detailed",
        "/api/clients",
        "/api/v2/files",
        "/api/nothing",
        "/ws/progress",
        "/api/capabilities?api_key=wrong",
        &stream,
        &forged,
        &status,
    ] {
        let answer = app.get(path).await;
        let words = json!({"detail": "Invalid or missing API key"});
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (401, words),
            "{path}"
        );
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let headers = [
        WITH_KEY,
        ("authorization", "Bearer open-sesame"),
        ("authorization", "bearer open-sesame"),
    ];
    for header in headers {
        assert_eq!(
            get(&app, "/api/stats", &[header]).await.status,
            StatusCode::OK,
            "{header:?}"
        );
    }
    for bad in [
        ("x-api-key", "open-sesam"),
        ("x-api-key", ""),
        ("authorization", "Basic open-sesame"),
    ] {
        assert_eq!(
            get(&app, "/api/stats", &[bad]).await.status,
            StatusCode::UNAUTHORIZED,
            "{bad:?}"
        );
    }
    let query = format!("/api/stats?api_key={KEY}");
    assert_eq!(app.get(&query).await.status, StatusCode::OK);
    // Browsers send no key with a preflight.
    let preflight = [
        ("origin", "http://page.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-api-key,content-type"),
    ];
    let answer = app.request(
        Method::OPTIONS,
        "/api/transcode/start",
        &preflight,
        Default::default(),
    );
    let answer = answer.await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let refused = Socket::try_open(&app, "/ws/progress").await.err();
    assert_eq!(refused, Some(StatusCode::UNAUTHORIZED));
    let path = format!("/ws/progress?api_key={KEY}");
    assert!(Socket::try_open(&app, &path).await.is_ok());
    app.stop().await;
}

/// Plays as a player does that knows one address and no key.
async fn play(app: &TestApp, url: &str) -> usize {
    let (base, _) = url.rsplit_once('/').unwrap();
    let mut playlists = vec![url.to_owned()];
    let mut fetched = 0;
    while let Some(playlist) = playlists.pop() {
        let answer = app.get(&playlist).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{playlist}: {}",
            answer.text()
        );
        let text = answer.text();
        let attributes = text.split("URI=\"").skip(1);
        let attributes = attributes.map(|rest| rest.split('"').next().unwrap());
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for uri in lines.chain(attributes) {
            let url = format!("{base}/{uri}");
            if uri.contains(".m3u8") {
                playlists.push(url);
                continue;
            }
            let answer = app.get(&url).await;
            assert_eq!(answer.status, StatusCode::OK, "{url}: {}", answer.text());
            fetched += 1;
        }
    }
    fetched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_addresses_play_without_the_key_and_only_their_job() {
    let app = keyed().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let mut urls = Vec::new();
    for codec in ["h264", "h265"] {
        let body = json!({"source": source, "output": {"video_codec": codec}});
        let answer = start(&app, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let url = answer.json()["stream_url"].as_str().unwrap().to_owned();
        assert!(play(&app, &url).await >= 3, "{codec}");
        urls.push(url);
    }
    let (first, second) = (&urls[0], &urls[1]);
    let (_, token) = first.split_once("?gst=").unwrap();
    let (other, _) = second.split_once('?').unwrap();
    let crossed = app.get(&format!("{other}?gst={token}")).await;
    assert_eq!(crossed.status, StatusCode::UNAUTHORIZED, "another job's");
    assert_eq!(app.get(other).await.status, StatusCode::UNAUTHORIZED);
    // With the key itself the playlist carries a token, not the key.
    let answer = get(&app, other, &[WITH_KEY]).await;
    assert!(answer.text().contains("?gst=") && !answer.text().contains(KEY));
    // A token opens files, not the job.
    let id = other.split('/').nth(4).unwrap();
    let delete = format!("/api/transcode/{id}?gst={token}");
    assert_eq!(app.delete(&delete).await.status, StatusCode::UNAUTHORIZED);
    app.stop().await;

    let open = TestApp::start().await;
    let source = clip(open.folder.path(), "clip.mkv", 4);
    let job = open.stream(&source, json!({})).await;
    // Tokens that a client brings along do no harm where none are needed.
    let answer = open
        .get(&format!("/stream/{job}/master.m3u8?gst=whatever"))
        .await;
    assert!(answer.status == StatusCode::OK && !answer.text().contains("gst="));
    open.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submit_sends_the_key() {
    let app = keyed().await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let url = app.gateway.url();
    let args = ["submit", &source, "--gateway", &url];
    let refused = run(app.folder.path(), &args).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("API key"), "{told}");
    let args = [&args[..], &["--api-key", KEY]].concat();
    let output = run(app.folder.path(), &args).await;
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("?gst=") && !told.contains(KEY), "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_addresses_outlive_the_gateway_but_not_their_time() {
    let storage = tempfile::tempdir().unwrap();
    let with = async |seconds: u32| {
        TestApp::with(|config| {
            config.security.api_key = Some(KEY.into());
            config.security.job_token_ttl_seconds = seconds;
            config.storage.directory = storage.path().join("state");
        })
        .await
    };
    let app = with(1).await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let url = start(&app, &json!({"source": source})).await.json()["stream_url"].clone();
    let url = url.as_str().unwrap();
    assert_eq!(app.get(url).await.status, StatusCode::OK);
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let answer = loop {
        let answer = app.get(url).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        assert!(tokio::time::Instant::now() < limit, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.text().contains("expired"), "{}", answer.text());
    app.stop().await;

    let app = with(1000).await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let url = start(&app, &json!({"source": source})).await.json()["stream_url"].clone();
    let (path, token) = url.as_str().unwrap().split_once("?gst=").unwrap();
    let path = path.strip_prefix(&app.gateway.url()).unwrap().to_owned();
    let token = token.to_owned();
    app.stop().await;
    let app = with(1000).await;
    let answer = app.get(&format!("{path}?gst={token}")).await;
    assert_eq!(
        answer.status,
        StatusCode::NOT_FOUND,
        "let in, but the job is gone"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_allowed_origins_are_told_that_they_may() {
    let good = "https://tv.example.org";
    let app = TestApp::with(|config| {
        // A host stands for all its pages, as in files of the original.
        config.security.allowed_origins = vec![good.into(), "192.168.4.1".into()];
    })
    .await;
    let allowed = async |origin: &str| {
        let answer = get(&app, "/api/stats", &[("origin", origin)]).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.headers.get("access-control-allow-origin").cloned()
    };
    assert_eq!(allowed(good).await.unwrap(), good);
    assert_eq!(allowed("https://evil.example").await, None);
    let page = "http://192.168.4.1:5000";
    assert_eq!(allowed(page).await.unwrap(), page);
    assert_eq!(allowed("http://192.168.4.10:5000").await, None);
    assert_eq!(allowed("http://192.168.4.1.evil.example").await, None);
    let own = app.gateway.url();
    let socket = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "short"),
        ];
        get(&app, "/ws/progress", &headers).await.status.as_u16()
    };
    assert_eq!(socket("https://evil.example").await, 403);
    // Refused for its key only.
    assert_eq!((socket(good).await, socket(&own).await), (400, 400));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_ask_too_often_are_told_when_to_come_back() {
    let app = TestApp::with(|config| config.security.rate_limit_per_minute = 5).await;
    let source = clip(app.folder.path(), "clip.mkv", 4);
    let job = app.stream(&source, json!({})).await;
    for _ in 0..4 {
        assert_eq!(app.get("/api/stats").await.status, StatusCode::OK);
    }
    let answer = app.get("/api/stats").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Whoever plays or waits is not disturbed.
    for _ in 0..10 {
        assert_eq!(app.status(&job).await["job_id"], job);
        app.file(&job, "segment_00000.ts").await;
        assert_eq!(app.get("/api/health").await.status, StatusCode::OK);
    }
    app.stop().await;

    // Keys are guessed nowhere more often than elsewhere.
    let app = TestApp::with(|config| {
        config.security.api_key = Some(KEY.into());
        config.security.rate_limit_per_minute = 5;
    })
    .await;
    let mut statuses = Vec::new();
    for i in 0..7 {
        let path = format!("/stream/00000000-0000-4000-8000-000000000000/a.ts?api_key={i}");
        statuses.push(app.get(&path).await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    app.stop().await;
}
