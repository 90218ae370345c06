//! Reading a long body in parts: whoever asks for everything from a byte on and then wants little of
//! it, as ffmpeg does when it seeks, should not make the source send megabytes for nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::body::{RelayBody, RelayError};
use super::serve::{Context, Upstream, ask, dial};

/// The first part asked for; each next one is twice as long as the one before it.
const FIRST_BYTES: u64 = 256 * 1024;
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A request for everything from byte `next` on, of which parts are asked for.
pub(super) struct Window {
    next: u64,
    bytes: u64,
    request: Request<()>,
    authority: Authority,
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

    /// Makes the head of the first part's answer one for everything; `false` when it holds everything
    /// already, or is no part.
    pub(super) fn widen(&self, parts: &mut http::response::Parts) -> bool {
        let Some(part) = Part::of(parts.status, &parts.headers) else {
            return false;
        };
        if part.first != self.next || part.last + 1 == part.total {
            return false;
        }
        let range = format!("bytes {}-{}/{}", part.first, part.total - 1, part.total);
        let length = part.total - part.first;
        let Ok(range) = HeaderValue::try_from(range) else {
            return false;
        };
        parts.headers.insert(header::CONTENT_RANGE, range);
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
        true
    }

    /// The whole body: that of the first answer, whose head was `head` before it was widened, then
    /// further parts as they are wanted.
    pub(super) fn read(
        mut self,
        context: Arc<Context>,
        head: (StatusCode, HeaderMap),
        mut upstream: Upstream,
        body: Incoming,
    ) -> impl Stream<Item = Result<Frame<Bytes>, RelayError>> + Send {
        let relay = |body, context: &Context| {
            RelayBody::new(body, context.report.clone(), context.patience)
        };
        async_stream::try_stream! {
            let etag = head.1.get(header::ETAG).cloned();
            let mut part = Part::of(head.0, &head.1).ok_or(RelayError::Changed)?;
            let mut body = relay(body, &context);
            loop {
                while let Some(frame) = body.frame().await {
                    yield frame?;
                }
                self.next = part.last + 1;
                if self.next == part.total {
                    return;
                }
                self.bytes = (self.bytes * 2).min(MOST_BYTES);
                let request = self.request();
                let mut answer = None;
                if upstream.ready().await.is_ok() {
                    // The source may have closed it meanwhile.
                    answer = ask(&mut upstream, &request, &self.authority, &context).await.ok();
                }
                let answer = match answer {
                    Some(answer) => answer,
                    None => {
                        let failed = |e| {
                            context.report.failed(&e);
                            RelayError::Changed
                        };
                        upstream = dial(&self.authority, &context).await.map_err(failed)?;
                        let asked = ask(&mut upstream, &request, &self.authority, &context).await;
                        asked.map_err(failed)?
                    }
                };
                let next = Part::of(answer.status(), answer.headers());
                let same = answer.headers().get(header::ETAG) == etag.as_ref();
                match next {
                    Some(next) if same && next.first == self.next && next.total == part.total => {
                        part = next;
                    }
                    _ => {
                        context.report.body_ended(false);
                        Err(RelayError::Changed)?;
                    }
                }
                body = relay(answer.into_body(), &context);
            }
        }
    }
}
