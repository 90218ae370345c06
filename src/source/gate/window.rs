//! Reading a long body in parts: whoever asks for everything from a byte on and then wants little of
//! it, as ffmpeg does when it seeks, should not make the source send megabytes for nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::beginning::Known;
use super::body::{RelayBody, RelayError};
use super::serve::{Context, Upstream, ask, dial};

/// The first part asked for; each next one is twice as long as the one before it.
const FIRST_BYTES: u64 = 256 * 1024;
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A request for everything from byte `next` on, of which parts are asked for.
#[derive(Clone)]
pub(super) struct Window {
    next: u64,
    bytes: u64,
    request: Request<()>,
    authority: Authority,
}

/// What the answer says from which a window is read first.
pub(super) struct Start {
    last: u64,
    total: u64,
    etag: Option<HeaderValue>,
}

/// `Content-Range: bytes first-last/total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    first: u64,
    last: u64,
    total: u64,
}

impl Part {
    fn of(status: StatusCode, headers: &HeaderMap) -> Option<Part> {
        if status != StatusCode::PARTIAL_CONTENT {
            return None;
        }
        let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        (first <= last && last < total).then_some(Part { first, last, total })
    }
}

impl Window {
    /// The window of `request`, when it asks for everything from a byte on.
    pub(super) fn of(request: &Request<Incoming>, authority: &Authority) -> Option<Window> {
        let range = request.headers().get(header::RANGE)?.to_str().ok()?;
        let first = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        if request.method() != Method::GET {
            return None;
        }
        let mut template = Request::new(());
        *template.uri_mut() = request.uri().clone();
        *template.headers_mut() = request.headers().clone();
        Some(Window {
            next: first.parse().ok()?,
            bytes: FIRST_BYTES,
            request: template,
            authority: authority.clone(),
        })
    }

    /// The part to ask for next.
    pub(super) fn request(&self) -> Request<()> {
        let mut request = self.request.clone();
        let last = self.next.saturating_add(self.bytes - 1);
        if let Ok(range) = HeaderValue::try_from(format!("bytes={}-{last}", self.next)) {
            request.headers_mut().insert(header::RANGE, range);
        }
        request
    }

    /// What is known of it from an earlier run, if anything is.
    pub(super) fn known(&self, context: &Context) -> Option<Known> {
        let beginning = context.beginning.as_ref()?;
        beginning.from(self.request.uri(), self.next)
    }

    /// Makes the head of a part's answer one for everything from `self.next` on.
    pub(super) fn head(&self, headers: &mut HeaderMap, total: u64) -> bool {
        let range = format!("bytes {}-{}/{total}", self.next, total - 1);
        let Ok(range) = HeaderValue::try_from(range) else {
            return false;
        };
        headers.insert(header::CONTENT_RANGE, range);
        headers.insert(header::CONTENT_LENGTH, (total - self.next).into());
        true
    }

    /// Makes the head of the first part's answer one for everything; `None` when it holds everything
    /// already, or is no part.
    pub(super) fn widen(
        &self,
        parts: &mut http::response::Parts,
        context: &Context,
    ) -> Option<Start> {
        let Part { first, last, total } = Part::of(parts.status, &parts.headers)?;
        if first != self.next || last + 1 == total {
            return None;
        }
        if let Some(beginning) = context.beginning.as_ref().filter(|_| first == 0) {
            beginning.begin(self.request.uri(), &parts.headers, total);
        }
        let etag = parts.headers.get(header::ETAG).cloned();
        let widened = self.head(&mut parts.headers, total);
        widened.then_some(Start { last, total, etag })
    }

    /// The whole body: the rest of the answer that was opened, then further parts as they are wanted.
    pub(super) fn read(
        self,
        context: Arc<Context>,
        start: Start,
        upstream: Upstream,
        body: Incoming,
    ) -> impl Stream<Item = Result<Frame<Bytes>, RelayError>> + Send {
        let Start { last, total, etag } = start;
        let body = RelayBody::new(body, context.report.clone(), context.patience);
        self.go_on(context, etag, total, Some((body, last)), Some(upstream))
    }

    /// The whole body: what is known of it, then parts as they are wanted.
    pub(super) fn read_on(
        mut self,
        context: Arc<Context>,
        known: Known,
    ) -> impl Stream<Item = Result<Frame<Bytes>, RelayError>> + Send {
        let etag = known.headers.get(header::ETAG).cloned();
        let bytes: usize = known.chunks.iter().map(Bytes::len).sum();
        self.next += bytes as u64;
        let chunks = known.chunks.into_iter();
        let kept = futures_util::stream::iter(chunks.map(|chunk| Ok(Frame::data(chunk))));
        kept.chain(self.go_on(context, etag, known.total, None, None))
    }

    /// From `current`, a body that ends with the byte it names, or else from `next` on to the end of
    /// `total` bytes.
    fn go_on(
        mut self,
        context: Arc<Context>,
        etag: Option<HeaderValue>,
        total: u64,
        mut current: Option<(RelayBody, u64)>,
        mut upstream: Option<Upstream>,
    ) -> impl Stream<Item = Result<Frame<Bytes>, RelayError>> + Send {
        async_stream::try_stream! {
            loop {
                if let Some((mut body, last)) = current.take() {
                    while let Some(frame) = body.frame().await {
                        let frame = frame?;
                        if let Some(data) = frame.data_ref() {
                            self.passed(data, &context);
                        }
                        yield frame;
                    }
                    self.next = last + 1;
                    self.bytes = (self.bytes * 2).min(MOST_BYTES);
                }
                if self.next >= total {
                    return;
                }
                let request = self.request();
                let mut answer = None;
                if let Some(upstream) = &mut upstream
                    && upstream.ready().await.is_ok()
                {
                    // The source may have closed it meanwhile.
                    answer = ask(upstream, &request, &self.authority, &context).await.ok();
                }
                let answer = match answer {
                    Some(answer) => answer,
                    None => {
                        let failed = |e| {
                            context.report.failed(&e);
                            RelayError::Changed
                        };
                        let mut new = dial(&self.authority, &context).await.map_err(failed)?;
                        let asked = ask(&mut new, &request, &self.authority, &context).await;
                        upstream = Some(new);
                        asked.map_err(failed)?
                    }
                };
                let next = Part::of(answer.status(), answer.headers());
                let same = answer.headers().get(header::ETAG) == etag.as_ref();
                let last = match next {
                    Some(next) if same && next.first == self.next && next.total == total => next.last,
                    _ => {
                        context.report.body_ended(false);
                        Err(RelayError::Changed)?
                    }
                };
                let body = answer.into_body();
                let body = RelayBody::new(body, context.report.clone(), context.patience);
                current = Some((body, last));
            }
        }
    }

    /// Notes `data`, which lies at `next`.
    fn passed(&mut self, data: &Bytes, context: &Context) {
        if let Some(beginning) = &context.beginning {
            beginning.add(self.request.uri(), self.next, data);
        }
        self.next += data.len() as u64;
    }
}
