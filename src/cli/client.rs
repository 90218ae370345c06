//! Requests to a running gateway.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio_util::io::ReaderStream;
use url::Url;

/// From the request to the head of the answer: a gateway probes a source and starts an encoder in it.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// From the request to the answer when a file is sent in it.
const UPLOAD_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a file that are sent at a time.
const CHUNK: usize = 256 * 1024;
/// Larger than the playlist of two days.
const MAX_BODY_BYTES: usize = 8 << 20;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The gateway's no.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    reason: String,
}

/// Talks to one gateway.
pub(super) struct GatewayClient {
    base: Url,
    key: Option<String>,
    http: Client<HttpsConnector<HttpConnector>, Body>,
}

impl GatewayClient {
    /// `base` ends in a slash; `key` is sent along. https is verified against Mozilla's root certificates.
    pub(super) fn new(base: Url, key: Option<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        GatewayClient { base, key, http }
    }

    /// The address of `path`, which has no leading slash.
    pub(super) fn url(&self, path: &str) -> anyhow::Result<Url> {
        Ok(self.base.join(path)?)
    }

    /// The JSON that answers a request; an error holds the gateway's own words.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let answer = self.request(method, &self.url(path)?, body).await?;
        let foreign = || anyhow!("{} is not the address of a GhostStream gateway", self.base);
        serde_json::from_slice(&whole(answer).await?).map_err(|_| foreign())
    }

    /// A file of a stream, as text.
    pub(super) async fn text(&self, url: &Url) -> anyhow::Result<String> {
        let answer = self.request(Method::GET, url, None).await?;
        Ok(String::from_utf8_lossy(&whole(answer).await?).into_owned())
    }

    /// Waits until `url` is being answered with success; what it holds is not read.
    pub(super) async fn begins(&self, url: &Url) -> anyhow::Result<()> {
        self.answer(Method::GET, url).await.map(drop)
    }

    /// The answer to a request without a body, as it begins.
    pub(super) async fn answer(
        &self,
        method: Method,
        url: &Url,
    ) -> anyhow::Result<Response<Incoming>> {
        self.request(method, url, None).await
    }

    /// Sends a file to `path`: the JSON that answers it. `sent` is told the bytes that are on their way.
    pub(super) async fn upload(
        &self,
        path: &str,
        file: tokio::fs::File,
        sent: impl Fn(u64) + Send + 'static,
    ) -> anyhow::Result<Value> {
        let size = file.metadata().await?.len();
        let mut so_far = 0;
        let frames = ReaderStream::with_capacity(file, CHUNK).map_ok(move |bytes| {
            so_far += bytes.len() as u64;
            sent(so_far);
            Frame::data(bytes)
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(frames));
        let request = self.head(Method::PUT, &self.url(path)?);
        let request = request.header(header::CONTENT_LENGTH, size).body(body)?;
        let answer = self.send(request, UPLOAD_WITHIN).await?;
        Ok(serde_json::from_slice(&whole(answer).await?)?)
    }

    async fn request(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = self.head(method, url);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        let request = request.body(body.boxed_unsync())?;
        self.send(request, ANSWER_WITHIN).await
    }

    fn head(&self, method: Method, url: &Url) -> http::request::Builder {
        let request = Request::builder().method(method).uri(url.as_str());
        match &self.key {
            Some(key) => request.header("X-API-Key", key),
            None => request,
        }
    }

    async fn send(
        &self,
        request: Request<Body>,
        within: Duration,
    ) -> anyhow::Result<Response<Incoming>> {
        let sent = tokio::time::timeout(within, self.http.request(request)).await;
        let seconds = within.as_secs();
        let sent = sent.map_err(|_| anyhow!("the gateway did not answer within {seconds} s"))?;
        let unreachable = |e| anyhow!("no gateway answers at {}: {}", self.base, root(&e));
        let answer = sent.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = whole(answer).await.unwrap_or_default();
        let reason = reason(&body).unwrap_or_else(|| format!("{} answered {status}", self.base));
        Err(Refused { status, reason }.into())
    }
}

/// The innermost cause, which is the one that says something.
fn root(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => root(cause),
        None => error.to_string(),
    }
}

async fn whole(answer: Response<Incoming>) -> anyhow::Result<Bytes> {
    let body = Limited::new(answer.into_body(), MAX_BODY_BYTES)
        .collect()
        .await;
    let body = body.map_err(|e| anyhow!("the gateway's answer broke off: {e}"))?;
    Ok(body.to_bytes())
}

/// The words in an error body: `detail` as text, or as a list of `{loc, msg}`.
fn reason(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let detail = match &body["detail"] {
        Value::String(text) => return Some(text.clone()),
        Value::Array(detail) => detail,
        _ => return None,
    };
    let place = |e: &Value| {
        let parts = e["loc"].as_array().into_iter().flatten();
        let names = parts.filter_map(Value::as_str).filter(|p| *p != "body");
        names.collect::<Vec<_>>().join(".")
    };
    let texts: Vec<String> = detail
        .iter()
        .filter_map(|e| Some(format!("{}: {}", place(e), e["msg"].as_str()?)))
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_words_are_found() {
        let cases = [
            (r#"{"detail": "Job not found"}"#, Some("Job not found")),
            (
                r#"{"detail": [{"loc": ["body", "output", "bitrate"], "msg": "not a bitrate"}]}"#,
                Some("output.bitrate: not a bitrate"),
            ),
            (r#"{"detail": []}"#, None),
            ("<html>", None),
        ];
        for (body, words) in cases {
            assert_eq!(reason(body.as_bytes()).as_deref(), words, "{body}");
        }
    }
}
