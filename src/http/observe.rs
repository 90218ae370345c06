//! One line in the log and one count in the metrics for every request, when its answer has been sent.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{RequestLabels, RouteLabels};

use super::links::TOKEN_PARAMETER;
use super::presence::Peer;
use super::state::AppState;

/// What requests are told to.
#[derive(Debug)]
pub struct Observer {
    metrics: Metrics,
    logs_requests: AtomicBool,
}

impl Observer {
    /// `logs_requests` is `logging.requests`.
    pub fn new(metrics: Metrics, logs_requests: bool) -> Observer {
        Observer {
            metrics,
            logs_requests: AtomicBool::new(logs_requests),
        }
    }

    pub fn log_requests(&self, wanted: bool) {
        self.logs_requests.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a request that is taken over from a proxy.
const MAX_ID: usize = 64;
/// Longest path and query that are written into the log, bytes.
const MAX_SHOWN: usize = 1024;
/// The client left before there was an answer: as nginx counts it. It is never sent.
const CLIENT_LEFT: u16 = 499;
const HIDDEN: &str = "***";

/// Outermost: what it does not see, nobody answered.
pub(super) async fn observe(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let mut observed = Observed::new(&app, &request);
    let id = observed.id.clone();
    let response = next.run(request).await;
    observed.answered(response.status());
    let (mut head, body) = response.into_parts();
    if let Ok(id) = HeaderValue::from_str(&id) {
        head.headers.insert(REQUEST_ID, id);
    }
    Response::from_parts(head, Body::new(Counted { body, observed }))
}

/// A request until its answer has been sent or its client has left. Dropping it counts and logs it.
struct Observed {
    metrics: Metrics,
    is_logged: bool,
    id: String,
    method: Method,
    /// `None`: no route takes it.
    route: Option<MatchedPath>,
    path: String,
    query: Option<String>,
    client: Option<std::net::IpAddr>,
    since: Instant,
    status: Option<StatusCode>,
    answered_after: Duration,
    bytes: u64,
    is_complete: bool,
}

impl Observed {
    fn new(app: &AppState, request: &Request) -> Observed {
        let observer = &app.observer;
        let metrics = observer.metrics.clone();
        metrics.requests_in_flight.inc();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let uri = request.uri();
        let is_logged = observer.logs_requests.load(Ordering::Relaxed);
        let shown = |text: String| text.chars().take(MAX_SHOWN).collect::<String>();
        let template = route.as_ref().map(MatchedPath::as_str);
        Observed {
            metrics,
            is_logged,
            id: request_id(request.headers()),
            method: request.method().clone(),
            path: match is_logged {
                true => shown(shown_path(template, uri.path())),
                false => String::new(),
            },
            query: uri
                .query()
                .filter(|_| is_logged)
                .map(|q| shown(shown_query(q))),
            route,
            client: request.extensions().get::<Peer>().map(|p| p.0.ip()),
            since: Instant::now(),
            status: None,
            answered_after: Duration::ZERO,
            bytes: 0,
            is_complete: false,
        }
    }

    fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.answered_after = self.since.elapsed();
        // Neither has a body that could be sent.
        self.is_complete = self.method == Method::HEAD || status.is_informational();
    }

    fn route_name(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let status = self.status.map_or(CLIENT_LEFT, |s| s.as_u16());
        let route = self.route_name().to_owned();
        self.metrics.requests_in_flight.dec();
        let labels = RouteLabels {
            route: route.clone(),
        };
        if self.status.is_some() {
            let durations = self.metrics.request_duration.get_or_create_owned(&labels);
            durations.observe(self.answered_after.as_secs_f64());
        }
        let sent = self.metrics.response_bytes.get_or_create_owned(&labels);
        sent.inc_by(self.bytes);
        let labels = RequestLabels {
            method: known_method(&self.method),
            route,
            status,
        };
        self.metrics.requests.get_or_create(&labels).inc();
        if !self.is_logged {
            return;
        }
        let client = self.client.map(|ip| ip.to_string());
        let milliseconds = |d: Duration| (d.as_secs_f64() * 1e4).round() / 10.0;
        tracing::info!(
            request.id = self.id,
            method = known_method(&self.method),
            route = self.route_name(),
            path = self.path,
            query = self.query,
            client,
            status,
            bytes = self.bytes,
            complete = self.is_complete,
            answered_ms = milliseconds(self.answered_after),
            duration_ms = milliseconds(self.since.elapsed()),
            "request"
        );
    }
}

/// A body whose bytes are counted as they leave.
struct Counted {
    body: Body,
    observed: Observed,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(0, Bytes::len);
                self.observed.bytes += data as u64;
                // hyper does not ask for the end of a body that says so itself.
                self.observed.is_complete |= self.body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => self.observed.is_complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An empty body is never asked for.
impl Drop for Counted {
    fn drop(&mut self) {
        self.observed.is_complete |= self.observed.bytes == 0 && self.body.is_end_stream();
    }
}

/// The id that a proxy gave the request, else one of our own.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let given = given.filter(|id| (1..=MAX_ID).contains(&id.len()) && id.chars().all(plain));
    given.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Clients may send any word; labels are of a closed list.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The path without what is secret in it: parts that the route calls `token`, and what stands where
/// grav1's workers carry theirs.
fn shown_path(route: Option<&str>, path: &str) -> String {
    let is_grav1 = path.starts_with("/grav1/");
    let mut template = route.unwrap_or_default().split('/');
    let shown = path.split('/').enumerate().map(|(at, part)| {
        let is_token = template.next() == Some("{token}");
        match is_token || (is_grav1 && at == 2) {
            true => HIDDEN,
            false => part,
        }
    });
    shown.collect::<Vec<_>>().join("/")
}

/// The query without what is secret in it: values whose name says so, and passwords and queries of
/// URLs, which may be signed.
fn shown_query(query: &str) -> String {
    let mut shown = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = match is_secret(&name) {
            true => Cow::Borrowed(HIDDEN),
            false => shown_value(value),
        };
        shown.append_pair(&name, &value);
    }
    shown.finish()
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = [
        "key",
        "token",
        "secret",
        "password",
        "passwd",
        "sig",
        "auth",
        "credential",
    ];
    name == TOKEN_PARAMETER || words.iter().any(|word| name.contains(word))
}

fn shown_value(value: Cow<'_, str>) -> Cow<'_, str> {
    if !value.contains("://") {
        return value;
    }
    let Ok(mut url) = Url::parse(&value) else {
        return Cow::Borrowed(HIDDEN);
    };
    let secret = !url.username().is_empty() || url.password().is_some();
    if secret && (url.set_username("").is_err() || url.set_password(None).is_err()) {
        return Cow::Borrowed(HIDDEN);
    }
    if url.query().is_some() {
        url.set_query(Some(HIDDEN));
    }
    url.set_fragment(None);
    Cow::Owned(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        for (query, shown) in [
            ("t=1&width=3", "t=1&width=3"),
            ("api_key=abc&a=b", "api_key=***&a=b"),
            ("Token=abc", "Token=***"),
            ("gst=abc&t=1", "gst=***&t=1"),
            ("X-Amz-Signature=abc", "X-Amz-Signature=***"),
            (
                "url=https%3A%2F%2Fu%3Ap%40h%2Ff.mp4%3Fsig%3D1%23x",
                "url=https%3A%2F%2Fh%2Ff.mp4%3F***",
            ),
            ("url=film.mkv", "url=film.mkv"),
            ("url=https%3A%2F%2F", "url=***"),
        ] {
            assert_eq!(shown_query(query), shown, "{query}");
        }
        for (route, path, shown) in [
            (None, "/grav1/abc/api/get_job", "/grav1/***/api/get_job"),
            (Some("/grav1/{token}/x"), "/grav1/abc/x", "/grav1/***/x"),
            (Some("/grav1/{*rest}"), "/grav1/abc/x", "/grav1/***/x"),
            (Some("/a/{token}/b"), "/a/abc/b", "/a/***/b"),
            (Some("/download/{id}"), "/download/abc", "/download/abc"),
            (None, "/nothing/here", "/nothing/here"),
        ] {
            assert_eq!(shown_path(route, path), shown, "{path}");
        }
    }

    #[test]
    fn ids_of_proxies_are_taken_over_when_they_are_plain() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("a-1.b_2"));
        assert_eq!(request_id(&headers), "a-1.b_2");
        for odd in ["", "a b", "a\"b"] {
            headers.insert(REQUEST_ID, HeaderValue::from_str(odd).unwrap());
            assert_eq!(request_id(&headers).len(), 32, "{odd}");
        }
    }
}
