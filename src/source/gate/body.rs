//! What a source sends on its way to ffmpeg: counted, and a body never waited for without end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::report::SharedReport;

/// Passes `inner` through. Dropping it early, as ffmpeg's seeks do, is no failure.
pub(super) struct RelayBody {
    inner: Incoming,
    report: Arc<SharedReport>,
    /// Bytes still to leave out, then bytes still to pass on (`None`: all).
    skip: u64,
    left: Option<u64>,
    patience: Duration,
    idle: Pin<Box<Sleep>>,
    waiting: bool,
    ended: bool,
}

/// The source stopped sending.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("the source's body broke off")]
    Source(#[from] hyper::Error),
    #[error("the source changed while it was read")]
    Changed,
    #[error("the source sent nothing for too long")]
    Idle,
}

impl RelayBody {
    pub(super) fn new(inner: Incoming, report: Arc<SharedReport>, patience: Duration) -> Self {
        let idle = Box::pin(tokio::time::sleep(patience));
        RelayBody {
            inner,
            report,
            skip: 0,
            left: None,
            patience,
            idle,
            waiting: false,
            ended: false,
        }
    }

    /// Passes on only `length` bytes from byte `start` of the body.
    pub(super) fn window(mut self, start: u64, length: u64) -> Self {
        (self.skip, self.left) = (start, Some(length));
        self
    }

    /// The part of `data` that lies in the window.
    fn cut(&mut self, mut data: Bytes) -> Bytes {
        let before = self.skip.min(data.len() as u64);
        self.skip -= before;
        data.advance(before as usize);
        if let Some(left) = &mut self.left {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
        }
        data
    }

    fn end(&mut self, complete: bool) {
        if !self.ended {
            self.ended = true;
            self.report.body_ended(complete);
        }
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        loop {
            if self.left == Some(0) {
                self.end(true);
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    // Trailers belong to the connection that they came on.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.report.received(data.len() as u64);
                    let data = self.cut(data);
                    if self.is_end_stream() {
                        self.end(true);
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(e))) => {
                    self.end(false);
                    return Poll::Ready(Some(Err(e.into())));
                }
                Poll::Ready(None) => {
                    self.end(true);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    // The clock runs only while the source is waited for, not while ffmpeg is busy.
                    if !self.waiting {
                        self.waiting = true;
                        let until = Instant::now() + self.patience;
                        self.idle.as_mut().reset(until);
                    }
                    std::task::ready!(self.idle.as_mut().poll(cx));
                    self.end(false);
                    return Poll::Ready(Some(Err(RelayError::Idle)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(|| self.inner.size_hint(), SizeHint::with_exact)
    }
}

/// The source's end of a tunnel.
pub(super) struct CountedStream {
    inner: TcpStream,
    report: Arc<SharedReport>,
}

impl CountedStream {
    pub(super) fn new(inner: TcpStream, report: Arc<SharedReport>) -> Self {
        CountedStream { inner, report }
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.report.received((buf.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
