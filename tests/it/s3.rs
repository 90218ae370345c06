//! Results in an S3 bucket, where `GHOSTSTREAM_TEST_S3` is the address of a server that takes any credentials
//! (`moto_server`): stored, read in parts, cleaned up; and a server that goes away and comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Long enough for a loaded machine; nothing waits for it that goes well.
const LIMIT: Duration = Duration::from_secs(60);
const BUCKET: &str = "results";

/// Passes connections on to the S3 server until it is shut; its port can be opened again.
struct Door {
    port: u16,
    open: CancellationToken,
}

impl Door {
    async fn open(port: u16, server: SocketAddr) -> Door {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = CancellationToken::new();
        let until = open.clone();
        let connections = TaskTracker::new();
        let tasks = connections.clone();
        connections.spawn(async move {
            while let Some(Ok((mut here, _))) = until.run_until_cancelled(listener.accept()).await {
                let until = until.clone();
                tasks.spawn(async move {
                    let mut there = TcpStream::connect(server).await.unwrap();
                    let passing = tokio::io::copy_bidirectional(&mut here, &mut there);
                    until.run_until_cancelled(passing).await
                });
            }
        });
        Door { port, open }
    }

    fn shut(&self) {
        self.open.cancel();
    }
}

/// A gateway of its own process, since the storage's address is told by the environment.
struct Gateway {
    child: Child,
    url: String,
    http: Client<HttpConnector, Body>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Gateway {
    async fn start(folder: &Path, endpoint: &str) -> Gateway {
        let config = json!({
            "server": {"host": "127.0.0.1", "port": 0},
            "storage": {"directory": folder.join("data")},
            "transcoding": {"temp_directory": folder.join("cache")},
            "hardware": {"prefer_hw_accel": false},
            "local_engine": {"enabled": false},
            "security": {"api_key": "secret"},
            "artifacts": {"url": format!("s3://{BUCKET}/some/where"), "max_bytes": "16MiB"},
        });
        std::fs::write(folder.join("config.yaml"), config.to_string()).unwrap();
        let ready = folder.join("ready");
        #[expect(clippy::disallowed_methods, reason = "the gateway under test")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghoststream"));
        command
            .args(["--no-mdns", "--config"])
            .arg(folder.join("config.yaml"));
        command.arg("--ready-file").arg(&ready);
        command
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "somebody")
            .env("AWS_SECRET_ACCESS_KEY", "nobody's");
        command.stdout(Stdio::null());
        command.stderr(std::fs::File::create(folder.join("log")).unwrap());
        let mut gateway = Gateway {
            child: command.spawn().unwrap(),
            url: String::new(),
            http: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
        };
        let until = Instant::now() + LIMIT;
        while gateway.url.is_empty() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap();
            assert!(Instant::now() < until, "it does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
            gateway.url = std::fs::read_to_string(&ready).unwrap_or_default();
        }
        gateway
    }

    async fn ask(&self, method: Method, path: &str, body: Body) -> (StatusCode, HeaderMap, Bytes) {
        self.ask_with(method, path, &[("x-api-key", "secret")], body)
            .await
    }

    async fn ask_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{path}", self.url),
        };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .http
            .request(request.body(body).unwrap())
            .await
            .unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, body)
    }

    async fn post(&self, path: &str, said: Value) -> Value {
        let (status, _, answer) = self.ask(Method::POST, path, body(said.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer:?}");
        serde_json::from_slice(&answer).unwrap()
    }

    /// A job that is leased: its id, its token, and where its result is delivered.
    async fn leased(&self) -> (String, Value, String) {
        let said = json!({"source_url": "s", "target_codec": "h264"});
        self.post("/jobs/", said).await;
        let claim = json!({"kinds": ["transcode"], "wait_seconds": 5});
        let work = self.post("/api/v2/engines/e/claim", claim).await;
        let (id, token) = (
            work["job_id"].as_str().unwrap().to_owned(),
            &work["lease_token"],
        );
        let place = format!(
            "/api/v2/artifacts/{id}/1-out.mp4?lease_token={}",
            token.as_str().unwrap()
        );
        (id, token.clone(), place)
    }
}

/// What the server has in the bucket, or what is being uploaded, as it tells it.
async fn in_bucket(server: &str, what: &str) -> String {
    let http: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let uri = format!("{server}/{BUCKET}?{what}").parse().unwrap();
    let answer = http.get(uri).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

fn noise(bytes: u32) -> Vec<u8> {
    (0..bytes)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_lie_in_a_bucket_and_outlast_a_server_that_is_away() {
    let Ok(server) = std::env::var("GHOSTSTREAM_TEST_S3") else {
        eprintln!("left out: S3 (set GHOSTSTREAM_TEST_S3)");
        return;
    };
    let address: SocketAddr = server.strip_prefix("http://").unwrap().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let http: Client<HttpConnector, Body> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let make = Request::put(format!("{server}/{BUCKET}"))
        .body(body(""))
        .unwrap();
    http.request(make).await.unwrap();
    let door = Door::open(0, address).await;
    let gateway = Gateway::start(folder.path(), &format!("http://127.0.0.1:{}", door.port)).await;

    // In parts, then whole and in part.
    let (id, token, place) = gateway.leased().await;
    let film = noise(13_000_000);
    let (status, _, said) = gateway.ask(Method::PUT, &place, body(film.clone())).await;
    assert_eq!(status, StatusCode::OK, "{said:?}");
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["size_bytes"], film.len());
    let done = json!({"lease_token": token, "output": {"artifact": said["artifact"],
        "size_bytes": said["size_bytes"], "sha256": said["sha256"]}});
    gateway
        .post(&format!("/api/v2/jobs/{id}/lease/complete"), done)
        .await;
    let (_, _, job) = gateway
        .ask(Method::GET, &format!("/jobs/{id}"), body(""))
        .await;
    let job: Value = serde_json::from_slice(&job).unwrap();
    let url = job["output_url"].as_str().unwrap();
    let (status, headers, whole) = gateway.ask_with(Method::GET, url, &[], body("")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(whole == film, "{} bytes came back", whole.len());
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let range = [("range", "bytes=6000000-6999999")];
    let (status, headers, part) = gateway.ask_with(Method::GET, url, &range, body("")).await;
    assert_eq!(status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(headers["content-range"], "bytes 6000000-6999999/13000000");
    assert!(part == film[6_000_000..7_000_000]);
    let known = [("if-none-match", etag.as_str())];
    let (status, ..) = gateway.ask_with(Method::GET, url, &known, body("")).await;
    assert_eq!(status, StatusCode::NOT_MODIFIED);
    let (bare, _) = url.split_once('?').unwrap();
    let (status, ..) = gateway.ask_with(Method::GET, bare, &[], body("")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let objects = in_bucket(&server, "list-type=2").await;
    assert!(
        objects.contains(&format!("some/where/{id}/1-out.mp4")),
        "{objects}"
    );

    // What is too large, and whose sender leaves, leaves nothing.
    let (_, _, place) = gateway.leased().await;
    let (status, ..) = gateway
        .ask(Method::PUT, &place, body(noise((16 << 20) + 1)))
        .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (parts, leaving) = tokio::sync::mpsc::channel(1);
    let frames = of_parts(leaving);
    let sending = gateway.ask(Method::PUT, &place, frames);
    let begun = async {
        parts.send(Bytes::from(noise(6 << 20))).await.unwrap();
        while !in_bucket(&server, "uploads").await.contains("<Upload>") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = sending => panic!("nothing was answered yet"),
        begun = tokio::time::timeout(LIMIT, begun) => begun.expect("an upload begins"),
    }
    drop(parts);
    let gone = async {
        while in_bucket(&server, "uploads").await.contains("<Upload>") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone)
        .await
        .expect("its parts are deleted");

    // While the server is away the sender hears of it, and can send again when it is back.
    door.shut();
    let (status, _, said) = gateway.ask(Method::PUT, &place, body(film.clone())).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said:?}");
    let (status, ..) = gateway.ask_with(Method::GET, url, &[], body("")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let door = Door::open(door.port, address).await;
    let (status, _, said) = gateway.ask(Method::PUT, &place, body(film)).await;
    assert_eq!(status, StatusCode::OK, "{said:?}");
    door.shut();
}

/// A body of what comes through a channel, until its sender is dropped.
fn of_parts(mut parts: tokio::sync::mpsc::Receiver<Bytes>) -> Body {
    let frames = futures_util::stream::poll_fn(move |cx| {
        parts
            .poll_recv(cx)
            .map(|part| part.map(|p| Ok(Frame::data(p))))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}
