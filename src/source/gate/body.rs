//! What a source sends on its way to ffmpeg: counted, and a body never waited for without end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
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
    #[error("the source sent nothing for too long")]
    Idle,
}

impl RelayBody {
    pub(super) fn new(inner: Incoming, report: Arc<SharedReport>, patience: Duration) -> Self {
        let idle = Box::pin(tokio::time::sleep(patience));
        RelayBody {
            inner,
            report,
            patience,
            idle,
            waiting: false,
            ended: false,
        }
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
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = false;
                if let Some(data) = frame.data_ref() {
                    self.report.received(data.len() as u64);
                }
                if self.inner.is_end_stream() {
                    self.end(true);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                self.end(false);
                Poll::Ready(Some(Err(e.into())))
            }
            Poll::Ready(None) => {
                self.end(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                // The clock runs only while the source is waited for, not while ffmpeg is busy.
                if !self.waiting {
                    self.waiting = true;
                    let until = Instant::now() + self.patience;
                    self.idle.as_mut().reset(until);
                }
                match self.idle.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        self.end(false);
                        Poll::Ready(Some(Err(RelayError::Idle)))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
