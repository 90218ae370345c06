//! The whole gateway in process, on a port of its own and in a folder of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ghoststream::app::{self, Gateway};
use ghoststream::config::Config;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// A running gateway; stopped by [`TestApp::stop`], its folder deleted when dropped.
pub(crate) struct TestApp {
    pub(crate) gateway: Gateway,
    pub(crate) folder: tempfile::TempDir,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The folder of real media, if there is one: `SHARED_MEDIA`, else beside the checkout.
pub(crate) fn shared_media() -> Option<PathBuf> {
    let folder = match std::env::var_os("SHARED_MEDIA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media"),
    };
    let found = folder
        .canonicalize()
        .ok()
        .filter(|f| f.join("MANIFEST.tsv").is_file());
    if found.is_none() {
        eprintln!("left out: no folder of real media (set SHARED_MEDIA)");
    }
    found
}

impl TestApp {
    pub(crate) async fn start() -> TestApp {
        Self::with(|_| {}).await
    }

    /// A gateway whose configuration `change` has changed. Its folder is a root of sources; so is
    /// the folder of real media.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> TestApp {
        Self::within(tempfile::tempdir().unwrap(), change).await
    }

    /// The same in a folder that another one has left.
    pub(crate) async fn within(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
    ) -> TestApp {
        let mut config = Config::default();
        config.server.host = "127.0.0.1".into();
        config.server.port = 0;
        config.sources.roots.push(folder.path().to_owned());
        config.sources.roots.extend(shared_media());
        config.transcoding.temp_directory = folder.path().join("cache");
        // Every gateway would test what the machine has.
        config.hardware.prefer_hw_accel = false;
        config.storage.directory = folder.path().join("data");
        // Tests are not found by others, and find none.
        config.mdns.enabled = false;
        change(&mut config);
        let gateway = app::start(&config).await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        TestApp {
            gateway,
            folder,
            client,
        }
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.gateway.url())
        };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body is whole").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request(Method::POST, path, &headers, body.to_string().into())
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// Starts a stream of `source` with `output` and gives its job id.
    pub(crate) async fn stream(&self, source: &str, output: Value) -> String {
        let answer = self
            .post(
                "/api/transcode/start",
                json!({"source": source, "output": output}),
            )
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["job_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn status(&self, job: &str) -> Value {
        self.get(&format!("/api/transcode/{job}/status"))
            .await
            .json()
    }

    /// Asks for the status until `wanted` holds; fails after `limit`.
    pub(crate) async fn status_until(
        &self,
        job: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let ask = async {
            loop {
                let status = self.status(job).await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(status) => status,
            Err(_) => panic!("still {}", self.status(job).await),
        }
    }

    /// A file of a stream; fails unless the status is 200.
    pub(crate) async fn file(&self, job: &str, name: &str) -> Bytes {
        let answer = self.get(&format!("/stream/{job}/{name}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.text());
        answer.body
    }

    pub(crate) async fn stop(self) {
        self.gateway.stop().await;
    }

    /// The gateway, and the folder that outlives it.
    pub(crate) fn apart(self) -> (Gateway, tempfile::TempDir) {
        (self.gateway, self.folder)
    }
}

/// Runs ffmpeg (of the search path) and gives its standard output; fails when it fails.
#[expect(
    clippy::disallowed_methods,
    reason = "tests make their media with ffmpeg"
)]
pub(crate) fn ffmpeg(args: &[&str]) -> Vec<u8> {
    let out = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(args)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "ffmpeg {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}
