//! The desk of an engine on another machine: the gateway's HTTP API.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use url::Url;

use crate::artifact::{ArtifactName, Uploaded};
use crate::base::{LeaseToken, QueueId, WorkerId};
use crate::job::{Failure, JobOutput, JobSpec, Progress};

use super::desk::{Assignment, CHUNK, KINDS, write_all};
use super::error::DeskError;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// See the module.
pub struct RemoteDesk {
    http: Client<HttpsConnector<HttpConnector>, Body>,
    gateway: Url,
    key: Option<HeaderValue>,
    worker: WorkerId,
    codecs: BTreeSet<String>,
    /// How long this machine needs for the encode that all engines are measured by.
    benchmark: Option<Duration>,
}

/// From a request to its answer, on top of what the gateway was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// From the last byte of a result to the answer, and for sending it: results are large.
const DELIVER_WITHIN: Duration = Duration::from_secs(6 * 3600);
const MAX_ANSWER_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Claimed {
    job_id: QueueId,
    attempt: u32,
    spec: JobSpec,
    has_source: bool,
    lease_token: LeaseToken,
    lease_seconds: f64,
}

#[derive(Deserialize)]
struct Delivered {
    artifact: String,
    size_bytes: u64,
    sha256: String,
}

impl RemoteDesk {
    /// `gateway` ends in a slash; `codecs` are what this engine encodes to; `benchmark` is the time that
    /// `plan::benchmark_encode` took. `None`: the key cannot be sent in a header.
    pub fn new(
        gateway: Url,
        key: Option<&str>,
        worker: WorkerId,
        codecs: BTreeSet<String>,
        benchmark: Option<Duration>,
    ) -> Option<RemoteDesk> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let key = match key {
            Some(key) => {
                let mut key = HeaderValue::from_str(key).ok()?;
                key.set_sensitive(true);
                Some(key)
            }
            None => None,
        };
        Some(RemoteDesk {
            http: Client::builder(TokioExecutor::new()).build(connector),
            gateway,
            key,
            worker,
            codecs,
            benchmark,
        })
    }

    pub(super) async fn claim(&self, wait: Duration) -> Result<Option<Assignment>, DeskError> {
        let body = json!({
            "kinds": KINDS,
            "codecs": self.codecs,
            "benchmark_seconds": self.benchmark.map(|b| b.as_secs_f64()),
            "wait_seconds": wait.as_secs_f64(),
        });
        let segments = ["api", "v2", "engines", self.worker.as_str(), "claim"];
        let url = self.url(&segments)?;
        let within = ANSWER_WITHIN + wait;
        let (status, answer) = self.send(Method::POST, url, whole(&body), within).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let claimed: Claimed = read(&answer)?;
        let lease = Duration::try_from_secs_f64(claimed.lease_seconds);
        Ok(Some(Assignment {
            job: claimed.job_id,
            attempt: claimed.attempt,
            spec: claimed.spec,
            has_source: claimed.has_source,
            token: claimed.lease_token,
            lease: lease.map_err(|e| DeskError::Refused(e.to_string()))?,
        }))
    }

    pub(super) async fn renew(
        &self,
        work: &Assignment,
        progress: Progress,
    ) -> Result<(), DeskError> {
        self.report(work, "renew", json!({"progress": progress}))
            .await
    }

    pub(super) async fn complete(
        &self,
        work: &Assignment,
        output: JobOutput,
    ) -> Result<(), DeskError> {
        self.report(work, "complete", json!({"output": output}))
            .await
    }

    pub(super) async fn fail(&self, work: &Assignment, failure: Failure) -> Result<(), DeskError> {
        let (verb, reason) = match failure {
            Failure::Transient { reason } => ("fail", reason),
            Failure::Unsuited { reason } => ("unsuited", reason),
            Failure::Permanent { reason } => ("fail_for_good", reason),
        };
        self.report(work, verb, json!({"reason": reason})).await
    }

    pub(super) async fn release(&self, work: &Assignment) -> Result<(), DeskError> {
        self.report(work, "release", json!({})).await
    }

    async fn report(
        &self,
        work: &Assignment,
        verb: &str,
        mut body: Value,
    ) -> Result<(), DeskError> {
        body["lease_token"] = work.token.to_string().into();
        let url = self.url(&["api", "v2", "jobs", work.job.as_str(), "lease", verb])?;
        self.send(Method::POST, url, whole(&body), ANSWER_WITHIN)
            .await?;
        Ok(())
    }

    pub(super) async fn deliver(
        &self,
        work: &Assignment,
        path: &Path,
        file: &str,
    ) -> Result<(String, Uploaded), DeskError> {
        let gone = |e: std::io::Error| DeskError::Refused(format!("the result is gone: {e}"));
        let result = tokio::fs::File::open(path).await.map_err(gone)?;
        let frames = ReaderStream::with_capacity(result, CHUNK).map_ok(Frame::data);
        let body = BodyExt::boxed_unsync(StreamBody::new(frames));
        let mut url = self.url(&["api", "v2", "artifacts", work.job.as_str(), file])?;
        url.query_pairs_mut()
            .append_pair("lease_token", &work.token.to_string());
        let (_, answer) = self.send(Method::PUT, url, body, DELIVER_WITHIN).await?;
        let delivered: Delivered = read(&answer)?;
        let uploaded = Uploaded {
            size_bytes: delivered.size_bytes,
            sha256: delivered.sha256,
        };
        Ok((delivered.artifact, uploaded))
    }

    pub(super) async fn fetch(&self, name: &ArtifactName, path: &Path) -> Result<(), DeskError> {
        let job = name.job().as_str();
        let url = self.url(&["api", "v2", "artifacts", job, name.file()])?;
        self.fetch_from(&url, path, 0).await
    }

    pub(super) async fn fetch_source(
        &self,
        work: &Assignment,
        path: &Path,
    ) -> Result<(), DeskError> {
        let mut url = self.url(&["api", "v2", "jobs", work.job.as_str(), "source"])?;
        url.query_pairs_mut()
            .append_pair("lease_token", &work.token.to_string());
        let there = tokio::fs::metadata(path).await.map_or(0, |m| m.len());
        self.fetch_from(&url, path, there).await
    }

    /// Fetches `url` into `path`, which has its first `from` bytes.
    async fn fetch_from(&self, url: &Url, path: &Path, from: u64) -> Result<(), DeskError> {
        let gateway = &self.gateway;
        let unreachable =
            |why: &dyn std::fmt::Display| DeskError::Unreachable(format!("{gateway}: {why}"));
        let mut request = Request::builder().method(Method::GET).uri(url.as_str());
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request = request
            .body(whole(&Value::Null))
            .map_err(|e| DeskError::Refused(e.to_string()))?;
        let fetching = async {
            let answer = self.http.request(request).await;
            let answer = answer.map_err(|e| unreachable(&e))?;
            let from = match answer.status() {
                StatusCode::OK => 0,
                StatusCode::PARTIAL_CONTENT => from,
                // All of it is there.
                StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
                StatusCode::NOT_FOUND | StatusCode::CONFLICT => return Err(DeskError::Lost),
                status => return Err(unreachable(&status)),
            };
            let bytes = answer.into_body().into_data_stream();
            let bytes = bytes.map_err(|e| unreachable(&e));
            write_all(path, from, std::pin::pin!(bytes)).await
        };
        let fetched = tokio::time::timeout(DELIVER_WITHIN, fetching).await;
        fetched.map_err(|_| unreachable(&"no answer in time"))?
    }

    fn url(&self, segments: &[&str]) -> Result<Url, DeskError> {
        let mut url = self.gateway.clone();
        let mut path = url
            .path_segments_mut()
            .map_err(|()| DeskError::Refused("the gateway's address has no path".into()))?;
        path.pop_if_empty().extend(segments);
        drop(path);
        Ok(url)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Body,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), DeskError> {
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|e| DeskError::Refused(e.to_string()))?;
        let gateway = &self.gateway;
        let unreachable =
            |why: &dyn std::fmt::Display| DeskError::Unreachable(format!("{gateway}: {why}"));
        let exchange = async {
            let answer = self
                .http
                .request(request)
                .await
                .map_err(|e| unreachable(&e))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
            let body = body.await.map_err(|e| unreachable(&e))?.to_bytes();
            Ok::<_, DeskError>((status, body))
        };
        let answered = tokio::time::timeout(within, exchange).await;
        let (status, body) = answered.map_err(|_| unreachable(&"no answer in time"))??;
        match status {
            s if s.is_success() => Ok((status, body)),
            // The lease, or the job itself.
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => Err(DeskError::Lost),
            s if s.is_server_error() => Err(unreachable(&s)),
            StatusCode::TOO_MANY_REQUESTS => Err(unreachable(&status)),
            _ => {
                let said: Option<Value> = serde_json::from_slice(&body).ok();
                let said = said.and_then(|b| Some(b["detail"].as_str()?.to_owned()));
                let said = said.unwrap_or_else(|| format!("the gateway answered {status}"));
                Err(DeskError::Refused(said))
            }
        }
    }
}

fn whole(body: &Value) -> Body {
    let bytes = Bytes::from(body.to_string());
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn read<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, DeskError> {
    let foreign = |e| DeskError::Refused(format!("the gateway's answer is not understood: {e}"));
    serde_json::from_slice(answer).map_err(foreign)
}
