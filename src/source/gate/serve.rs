//! Connections of ffmpeg to the gate.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_rustls::HttpsConnector;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::beginning::{Beginning, Known};
use super::body::{CountedStream, RelayBody, RelayError};
use super::report::SharedReport;
use super::window::Window;
use crate::source::authorization::Authorization;
use crate::source::client::{Connector, failure};
use crate::source::error::SourceError;
use crate::source::policy::SourcePolicy;

/// How much is read from a socket at once; fewer, larger reads cost less.
const BUFFER_BYTES: usize = 256 * 1024;

/// Ranges of longer bodies are not made up for: each would cost reading the whole body.
const MAX_EMULATED_BYTES: u64 = 64 * 1024 * 1024;

/// What ffmpeg sends through a tunnel is short.
const TUNNEL_REQUEST_BUFFER_BYTES: usize = 16 * 1024;

/// Headers that belong to one connection (RFC 9110 7.6.1) and those that only proxies read.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

type Reply = Response<UnsyncBoxBody<Bytes, RelayError>>;
pub(super) type Upstream = SendRequest<Empty<Bytes>>;

pub(super) struct Context {
    pub(super) policy: Arc<SourcePolicy>,
    pub(super) authorization: Option<Authorization>,
    /// For the origin's host, when it has credentials and speaks https.
    pub(super) tls: Option<HttpsConnector<Connector>>,
    pub(super) origin_port: Option<u16>,
    pub(super) report: Arc<SharedReport>,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
    /// Whether long bodies are read in parts.
    pub(super) is_sparing: bool,
    /// What earlier runs of the same query read.
    pub(super) beginning: Option<Arc<Beginning>>,
    /// How long a source may send nothing.
    pub(super) patience: Duration,
}

/// Takes connections until the gate closes.
pub(super) async fn accept(listener: TcpListener, context: Arc<Context>) {
    loop {
        let accepted = tokio::select! {
            () = context.cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                context.tracker.spawn(serve(stream, context.clone()));
            }
            // Out of descriptors: those waiting are served when some are free.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, context: Arc<Context>) {
    // Failing to set this only costs time.
    stream.set_nodelay(true).ok();
    let cancel = context.cancel.clone();
    // The connection to the host that the last request went to, for the next one.
    let kept: Arc<Mutex<Option<(Authority, Upstream)>>> = Arc::default();
    let service = hyper::service::service_fn(move |request| {
        let (context, kept) = (context.clone(), kept.clone());
        async move {
            let reply = match request.method() {
                &Method::CONNECT => tunnel(request, &context).await,
                &Method::GET | &Method::HEAD => forward(request, &context, &kept).await,
                _ => Ok(text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "only GET, HEAD and CONNECT",
                )),
            };
            Ok::<_, Infallible>(reply.unwrap_or_else(|error| {
                context.report.failed(&error);
                text(status_of(&error), &error.to_string())
            }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        () = cancel.cancelled() => {}
        // A broken connection is ffmpeg's affair; what the source did is in the report.
        _ = connection => {}
    }
}

async fn forward(
    request: Request<Incoming>,
    context: &Arc<Context>,
    kept: &Mutex<Option<(Authority, Upstream)>>,
) -> Result<Reply, SourceError> {
    let (Some("http"), Some(authority)) = (request.uri().scheme_str(), request.uri().authority())
    else {
        return Ok(text(
            StatusCode::BAD_REQUEST,
            "this is a proxy for http URLs",
        ));
    };
    let authority = authority.clone();
    let window = context
        .is_sparing
        .then(|| Window::of(&request, &authority))
        .flatten();
    if let Some(window) = window.as_ref()
        && let Some(known) = window.known(context)
    {
        return Ok(known_reply(window.clone(), known, context));
    }
    let asked = match &window {
        Some(window) => window.request(),
        None => without_body(&request),
    };
    let reused = kept
        .lock()
        .await
        .take()
        .filter(|(to, up)| *to == authority && up.is_ready());
    let again = match reused {
        // The source may have closed it meanwhile; then the request goes out anew.
        Some((_, mut upstream)) => match ask(&mut upstream, &asked, &authority, context).await {
            Ok(answer) => Some((answer, upstream)),
            Err(SourceError::Unreachable(_)) => None,
            Err(other) => return Err(other),
        },
        None => None,
    };
    let (answer, upstream) = match again {
        Some(answered) => answered,
        None => {
            let mut upstream = dial(&authority, context).await?;
            (
                ask(&mut upstream, &asked, &authority, context).await?,
                upstream,
            )
        }
    };
    context.report.answered(Some(answer.status().as_u16()));
    let (mut parts, body) = answer.into_parts();
    if let Some(window) = window
        && let Some(start) = window.widen(&mut parts, context)
    {
        remove_hop_by_hop(&mut parts.headers);
        parts.version = http::Version::HTTP_11;
        let frames = window.read(context.clone(), start, upstream, body);
        let body = http_body_util::StreamBody::new(frames).boxed_unsync();
        return Ok(Response::from_parts(parts, body));
    }
    *kept.lock().await = Some((authority, upstream));
    remove_hop_by_hop(&mut parts.headers);
    keep_at_the_gate(&mut parts.headers, context);
    parts.version = http::Version::HTTP_11;
    let body = RelayBody::new(body, context.report.clone(), context.patience);
    let body = match missing_range(&request, &parts) {
        Some((first, last, total)) => {
            parts.status = StatusCode::PARTIAL_CONTENT;
            let length = last - first + 1;
            let range = format!("bytes {first}-{last}/{total}");
            for (name, value) in [
                (header::CONTENT_RANGE, range),
                (header::CONTENT_LENGTH, length.to_string()),
            ] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    parts.headers.insert(name, value);
                }
            }
            parts
                .headers
                .insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            body.window(first, length)
        }
        None => body,
    };
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Answers with what earlier runs read; only what lies behind it is asked for.
fn known_reply(window: Window, known: Known, context: &Arc<Context>) -> Reply {
    context
        .report
        .answered(Some(StatusCode::PARTIAL_CONTENT.as_u16()));
    let mut headers = known.headers.clone();
    window.head(&mut headers, known.total);
    remove_hop_by_hop(&mut headers);
    let frames = window.read_on(context.clone(), known);
    let mut reply = Response::new(http_body_util::StreamBody::new(frames).boxed_unsync());
    *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    *reply.headers_mut() = headers;
    reply
}

/// The first and last byte of the range that a source without ranges left out, and the length of
/// its whole body. ffmpeg could not read the index at the end of such a source: the gate reads and
/// drops what comes before the range.
fn missing_range(
    request: &Request<Incoming>,
    answer: &http::response::Parts,
) -> Option<(u64, u64, u64)> {
    if request.method() != Method::GET
        || answer.status != StatusCode::OK
        || answer.headers.contains_key(header::CONTENT_ENCODING)
    {
        return None;
    }
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let text = |map: &HeaderMap, name| Some(map.get(name)?.to_str().ok()?.to_owned());
    let total = number(&text(&answer.headers, header::CONTENT_LENGTH)?)?;
    let range = text(request.headers(), header::RANGE)?;
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = number(first)?;
    let last = if last.is_empty() {
        total.checked_sub(1)?
    } else {
        number(last)?.min(total.checked_sub(1)?)
    };
    (total <= MAX_EMULATED_BYTES && first <= last).then_some((first, last, total))
}

pub(super) async fn ask(
    upstream: &mut Upstream,
    request: &Request<()>,
    authority: &Authority,
    context: &Context,
) -> Result<Response<Incoming>, SourceError> {
    let sent = upstream.send_request(outgoing(request, authority, context)?);
    match tokio::time::timeout(context.patience, sent).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) if e.is_parse() => Err(SourceError::Unreachable(format!(
            "host '{}' does not speak http",
            authority.host()
        ))),
        Ok(Err(_)) => Err(SourceError::Unreachable(format!(
            "host '{}' closed the connection",
            authority.host()
        ))),
        Err(_) => Err(SourceError::Timeout),
    }
}

/// A new connection for `authority`, driven on the tracker.
pub(super) async fn dial(
    authority: &Authority,
    context: &Context,
) -> Result<Upstream, SourceError> {
    match &context.tls {
        Some(tls) if context.given(authority).is_some() => {
            let uri = Uri::builder()
                .scheme("https")
                .authority(authority.clone())
                .path_and_query("/")
                .build()
                .map_err(|_| SourceError::BadUrl("it cannot be requested".to_owned()))?;
            let connecting = tower::ServiceExt::oneshot(tls.clone(), uri);
            let stream = connecting
                .await
                .map_err(|e| failure(&*e, authority.host()))?;
            converse(stream, context).await
        }
        _ => {
            let stream = connect(authority, 80, context).await?;
            converse(TokioIo::new(stream), context).await
        }
    }
}

/// The side of an http connection that asks, on a connected `stream`.
async fn converse<S>(stream: S, context: &Context) -> Result<Upstream, SourceError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (upstream, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .title_case_headers(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(stream)
        .await
        .map_err(|_| SourceError::Unreachable("the connection broke".to_owned()))?;
    let cancel = context.cancel.clone();
    context.tracker.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            // Its requests see the error.
            _ = connection => {}
        }
    });
    Ok(upstream)
}

async fn tunnel(request: Request<Incoming>, context: &Arc<Context>) -> Result<Reply, SourceError> {
    let Some(authority) = request.uri().authority().cloned() else {
        return Ok(text(StatusCode::BAD_REQUEST, "CONNECT takes host:port"));
    };
    let upstream = connect(&authority, 443, context).await?;
    context.report.answered(None);
    let inner = context.clone();
    context.tracker.spawn(async move {
        let relay = async {
            // Fails only when ffmpeg hangs up first.
            let Ok(upgraded) = hyper::upgrade::on(request).await else {
                return;
            };
            let mut client = TokioIo::new(upgraded);
            let mut upstream = CountedStream::new(upstream, inner.report.clone());
            // Either side hanging up is how a tunnel ends.
            tokio::io::copy_bidirectional_with_sizes(
                &mut client,
                &mut upstream,
                TUNNEL_REQUEST_BUFFER_BYTES,
                BUFFER_BYTES,
            )
            .await
            .ok();
        };
        tokio::select! {
            () = inner.cancel.cancelled() => {}
            () = relay => {}
        }
    });
    Ok(Response::new(empty()))
}

async fn connect(
    authority: &Authority,
    default_port: u16,
    context: &Context,
) -> Result<TcpStream, SourceError> {
    let port = authority.port_u16().unwrap_or(default_port);
    if port < 1024 && !matches!(port, 80 | 443) && context.origin_port != Some(port) {
        return Err(SourceError::Refused {
            host: format!("{}:{port}", authority.host()),
            setting: "port below 1024",
        });
    }
    context.policy.connect(authority.host(), port).await
}

/// The head of a request that has no body of interest.
fn without_body(request: &Request<Incoming>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

/// The request as the source gets it: origin form, with its own headers only.
fn outgoing(
    request: &Request<()>,
    authority: &Authority,
    context: &Context,
) -> Result<Request<Empty<Bytes>>, SourceError> {
    let bad = || SourceError::BadUrl("the source named a URL that cannot be requested".to_owned());
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let mut headers = request.headers().clone();
    remove_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| bad())?;
    headers.insert(header::HOST, host);
    if let Some(value) = context.given(authority) {
        headers.insert(header::AUTHORIZATION, value.clone());
    }
    let mut out = Request::new(Empty::new());
    *out.method_mut() = request.method().clone();
    *out.uri_mut() = path.parse::<Uri>().map_err(|_| bad())?;
    *out.headers_mut() = headers;
    Ok(out)
}

impl Context {
    /// The credentials that a request to `authority` carries.
    fn given(&self, authority: &Authority) -> Option<&HeaderValue> {
        let port = authority.port_u16().unwrap_or(80);
        let authorization = self.authorization.as_ref()?;
        authorization.for_host(self.tls.is_some(), authority.host(), port)
    }
}

/// A redirect within an https host that the gate speaks to itself must come back to the gate.
fn keep_at_the_gate(headers: &mut HeaderMap, context: &Context) {
    let location = headers.get(header::LOCATION).and_then(|l| l.to_str().ok());
    let url = location.and_then(|l| url::Url::parse(l).ok());
    let plain = url.and_then(|url| context.authorization.as_ref()?.as_plain(&url));
    if let Some(value) = plain.and_then(|p| HeaderValue::try_from(p.as_str()).ok()) {
        headers.insert(header::LOCATION, value);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in &named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn status_of(error: &SourceError) -> StatusCode {
    use crate::source::SourceErrorKind as K;
    match error.kind() {
        K::BadRequest => StatusCode::BAD_REQUEST,
        K::Forbidden => StatusCode::FORBIDDEN,
        K::NotFound => StatusCode::NOT_FOUND,
        K::BadGateway => StatusCode::BAD_GATEWAY,
        K::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn text(status: StatusCode, words: &str) -> Reply {
    let body = Full::new(Bytes::from(format!("{words}\n")));
    let mut reply = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // hyper would otherwise keep a connection whose CONNECT was refused.
    reply
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn empty() -> UnsyncBoxBody<Bytes, RelayError> {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
