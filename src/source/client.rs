//! Our own http(s) requests, under the same policy as ffmpeg's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::authorization::Authorization;
use super::error::SourceError;
use super::files::{blocking, open_regular};
use super::input_options::USER_AGENT;
use super::policy::SourcePolicy;
use super::reader::RangeReader;
use crate::media::SourceLocator;

/// From the request to the head of the answer, and between two parts of its body.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

const MAX_REDIRECTS: u8 = 5;

/// How long a connection is kept for the next request.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What tells one version of a source from another; empty for a live one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validators {
    pub length_bytes: Option<u64>,
    /// As the server sent it, quotes and `W/` included.
    pub etag: Option<String>,
    /// The header `Last-Modified`, or a file's time of modification in seconds since 1970.
    pub last_modified: Option<String>,
    /// Whether parts can be read at an offset.
    pub accepts_ranges: bool,
}

/// Reads sources by itself, without ffmpeg. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SourceClient {
    http: Client<HttpsConnector<Connector>, Empty<Bytes>>,
    authorization: Option<Authorization>,
}

impl SourceClient {
    /// https is verified against Mozilla's root certificates.
    pub fn new(policy: Arc<SourcePolicy>) -> Self {
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_ALIVE)
            .http1_title_case_headers(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .build(https_connector(policy));
        SourceClient {
            http,
            authorization: None,
        }
    }

    /// The same client for requests that carry credentials, to their host only.
    #[must_use]
    pub fn authorized(&self, authorization: Option<Authorization>) -> Self {
        SourceClient {
            http: self.http.clone(),
            authorization,
        }
    }

    /// Whether the source is there, and which version of it: one small read. Says nothing about a
    /// live source, which may take one caller only. Cancel-safe.
    ///
    /// # Errors
    /// Why the source cannot be read: `NotFound`, `HttpStatus`, `Unreachable`, `Timeout`,
    /// `Refused` (also by a redirect), `TooManyRedirects`, `NoSuchFile`, `Unreadable`.
    pub async fn validators(&self, source: &SourceLocator) -> Result<Validators, SourceError> {
        match source {
            SourceLocator::File(file) => {
                let path = file.path().to_owned();
                blocking(move || {
                    let metadata = std::fs::metadata(path).map_err(|_| SourceError::NoSuchFile)?;
                    Ok(file_validators(&metadata))
                })
                .await
            }
            SourceLocator::Http(url) => Ok(self.first_byte(url).await?.1),
            SourceLocator::Live(_) => Ok(Validators::default()),
        }
    }

    /// Looks at the source and opens it for reading at offsets, where it has offsets: live sources
    /// and servers without byte ranges give no reader.
    ///
    /// # Errors
    /// As [`SourceClient::validators`].
    pub async fn open(
        &self,
        source: &SourceLocator,
    ) -> Result<(Validators, Option<RangeReader>), SourceError> {
        match source {
            SourceLocator::File(file) => {
                let path = file.path().to_owned();
                blocking(move || {
                    let file = open_regular(&path).map_err(|_| SourceError::Unreadable)?;
                    let metadata = file.metadata().map_err(|_| SourceError::Unreadable)?;
                    let validators = file_validators(&metadata);
                    let reader = RangeReader::file(file, validators.clone());
                    Ok((validators, Some(reader)))
                })
                .await
            }
            SourceLocator::Http(url) => {
                let (url, validators) = self.first_byte(url).await?;
                let reader = validators
                    .accepts_ranges
                    .then(|| RangeReader::http(self.clone(), url, validators.clone()));
                Ok((validators, reader))
            }
            SourceLocator::Live(_) => Ok((Validators::default(), None)),
        }
    }

    /// Asks for the first byte: unlike HEAD, every server answers that. Returns the URL after
    /// redirects; the body is not read.
    async fn first_byte(&self, url: &Url) -> Result<(Url, Validators), SourceError> {
        let (url, answer) = self.get(url, "bytes=0-0").await?;
        let headers = answer.headers();
        let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let (length_bytes, accepts_ranges) = match answer.status() {
            StatusCode::PARTIAL_CONTENT => (content_range(headers).and_then(|r| r.total), true),
            // No byte satisfies the range: the source is empty.
            StatusCode::RANGE_NOT_SATISFIABLE => (Some(0), false),
            _ => (
                text(header::CONTENT_LENGTH).and_then(|t| t.parse().ok()),
                false,
            ),
        };
        let validators = Validators {
            length_bytes,
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
            accepts_ranges,
        };
        Ok((url, validators))
    }

    /// The bytes from `offset` on, at most `len` (> 0), of a source with `expected` validators.
    pub(super) async fn read(
        &self,
        url: &Url,
        expected: &Validators,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, SourceError> {
        let last = offset.saturating_add(len as u64 - 1);
        let (_, answer) = self.get(url, &format!("bytes={offset}-{last}")).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Bytes::new()),
            _ => return Err(SourceError::NoRanges),
        }
        let etag = answer
            .headers()
            .get(header::ETAG)
            .and_then(|v| v.to_str().ok());
        let range = content_range(answer.headers()).ok_or(SourceError::NoRanges)?;
        if etag != expected.etag.as_deref()
            || range.first != offset
            || range.total != expected.length_bytes
        {
            return Err(SourceError::Changed);
        }
        let mut body = answer.into_body();
        let mut out = BytesMut::new();
        while out.len() < len {
            match timeout(TIMEOUT, body.frame()).await {
                Err(_) => return Err(SourceError::Timeout),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(SourceError::Changed),
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        out.extend_from_slice(data);
                    }
                }
            }
        }
        out.truncate(len);
        Ok(out.freeze())
    }

    /// The successful answer to a GET for a range, or a 416, after redirects; each of them is
    /// held against the policy.
    pub(super) async fn get(
        &self,
        url: &Url,
        range: &str,
    ) -> Result<(Url, Response<Incoming>), SourceError> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let sent = self.http.request(self.request(&url, range)?);
            let answer = match timeout(TIMEOUT, sent).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(e)) => return Err(failure(&e, url.host_str().unwrap_or_default())),
                Err(_) => return Err(SourceError::Timeout),
            };
            let status = answer.status();
            if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                return Ok((url, answer));
            }
            let code = status.as_u16();
            let location = answer
                .headers()
                .get(header::LOCATION)
                .and_then(|l| l.to_str().ok());
            url = match (code, location) {
                (301 | 302 | 303 | 307 | 308, Some(to)) => redirected(&url, to)?,
                (404 | 410, _) => return Err(SourceError::NotFound(code)),
                _ => return Err(SourceError::HttpStatus(code)),
            };
        }
        Err(SourceError::TooManyRedirects(MAX_REDIRECTS))
    }

    fn request(&self, url: &Url, range: &str) -> Result<Request<Empty<Bytes>>, SourceError> {
        let bad = || SourceError::BadUrl("it cannot be requested".to_owned());
        let mut bare = url.clone();
        let uri = match bare.set_password(None).and_then(|()| bare.set_username("")) {
            Ok(()) => Uri::try_from(bare.as_str()).map_err(|_| bad())?,
            Err(()) => return Err(bad()),
        };
        let mut request = Request::get(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
            .header(header::RANGE, range);
        let given = self.authorization.as_ref().and_then(|a| a.for_url(url));
        if let Some(value) = given {
            request = request.header(header::AUTHORIZATION, value);
        } else if !url.username().is_empty() || url.password().is_some() {
            request = request.header(header::AUTHORIZATION, basic_credentials(url)?);
        }
        request.body(Empty::new()).map_err(|_| bad())
    }
}

fn redirected(from: &Url, to: &str) -> Result<Url, SourceError> {
    let mut url = from
        .join(to)
        .map_err(|e| SourceError::BadUrl(format!("redirect: {e}")))?;
    url.set_fragment(None);
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(SourceError::UnsupportedScheme(other.to_owned())),
    }
}

/// RFC 7617: the user name and password of the URL, percent-decoded, in base64.
pub(super) fn basic_credentials(url: &Url) -> Result<HeaderValue, SourceError> {
    let mut plain = super::policy::percent_decoded(url.username());
    plain.push(b':');
    plain.extend(super::policy::percent_decoded(url.password().unwrap_or("")));
    let text = format!("Basic {}", STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| SourceError::BadUrl("its credentials cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Content-Range: bytes 0-0/1234` (RFC 9110 14.4); the total may be `*`.
struct ContentRange {
    first: u64,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some(ContentRange {
        first: first.trim().parse().ok()?,
        total: total.trim().parse().ok(),
    })
}

fn file_validators(metadata: &std::fs::Metadata) -> Validators {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    Validators {
        length_bytes: Some(metadata.len()),
        etag: None,
        last_modified: modified.map(|d| format!("{}.{:09}", d.as_secs(), d.subsec_nanos())),
        accepts_ranges: true,
    }
}

/// The cause inside a client's error: the policy's own, or one of TLS or http.
pub(super) fn failure(error: &(dyn std::error::Error + 'static), host: &str) -> SourceError {
    let mut next = Some(error);
    let mut tls = None;
    while let Some(e) = next {
        if let Some(own) = e.downcast_ref::<SourceError>() {
            return own.clone();
        }
        let io = e.downcast_ref::<std::io::Error>();
        if let Some(io) = io.filter(|io| io.kind() == std::io::ErrorKind::InvalidData) {
            tls = Some(io.to_string());
        }
        // An io::Error hides the error that it wraps from its `source`.
        next = match io.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    SourceError::Unreachable(match tls {
        Some(why) => format!("host '{host}' has no valid TLS: {why}"),
        None => format!("host '{host}' closed the connection or does not speak http"),
    })
}

/// Speaks TLS where the URL says so.
pub(super) fn https_connector(policy: Arc<SourcePolicy>) -> HttpsConnector<Connector> {
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connector { policy })
}

/// Connects only to addresses that the policy allows.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) policy: Arc<SourcePolicy>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = SourceError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, SourceError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SourceError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = self.policy.clone();
        Box::pin(async move {
            let default = if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            let port = uri.port_u16().unwrap_or(default);
            policy
                .connect(uri.host().unwrap_or_default(), port)
                .await
                .map(TokioIo::new)
        })
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
