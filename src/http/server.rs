//! The accept loop: how many connections, how long a client may take, how they end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::body::read_rest;
use super::presence::Peer;

/// Limits of the listener.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Open connections; further ones wait in the system's queue.
    pub max_connections: usize,
    /// Time to send a request's head, and then its body.
    pub header_timeout: Duration,
}

/// Largest request head, bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// Accepts connections until `stop`; each runs on `tracker` and ends after the response under way,
/// or at once when `cancel` fires.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServerSettings,
    tracker: TaskTracker,
    stop: CancellationToken,
    cancel: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    loop {
        let Some(Ok(slot)) = stop
            .run_until_cancelled(slots.clone().acquire_owned())
            .await
        else {
            return;
        };
        let (socket, peer) = match stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                pause_after(&error, &stop).await;
                continue;
            }
        };
        // Without it, the second part of a small reply waits for the client's delayed ACK.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let (router, stop, cancel) = (router.clone(), stop.clone(), cancel.clone());
        let rest = Rest {
            tracker: tracker.clone(),
            cancel: cancel.clone(),
        };
        let header_timeout = settings.header_timeout;
        tracker.spawn(async move {
            let service =
                hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer));
                    let long = LongBody::default();
                    request.extensions_mut().insert(long.clone());
                    let deadline = Instant::now() + header_timeout;
                    // Who waits to be asked for the body has not begun to send it.
                    let waits = request.headers().contains_key(header::EXPECT);
                    let rest = (!waits).then(|| rest.clone());
                    router.clone().oneshot(request.map(|body| {
                        Body::new(TimedBody {
                            body: Some(body),
                            late: Box::pin(sleep_until(deadline)),
                            between: header_timeout,
                            long,
                            rest,
                        })
                    }))
                });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_buf_size(MAX_HEAD_BYTES)
                .max_headers(MAX_HEADERS)
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades();
            tokio::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        result = connection => result,
                        // The client may never read the rest.
                        () = cancel.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
}

/// Out of file descriptors, most likely: waiting lets other connections end.
async fn pause_after(error: &io::Error, stop: &CancellationToken) {
    tracing::warn!(%error, "cannot accept a connection");
    stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(100)))
        .await;
}

/// With a request: whether its body may take as long as it does, so long as something comes.
#[derive(Clone, Default)]
pub(super) struct LongBody(Arc<AtomicBool>);

impl LongBody {
    pub(super) fn allow(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where what is left of bodies is read.
#[derive(Clone)]
struct Rest {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Rest {
    fn read(&self, body: Incoming) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let cancel = self.cancel.clone();
        let reading = async move { cancel.run_until_cancelled(read_rest(body)).await };
        self.tracker.spawn_on(reading, &runtime);
    }
}

/// A request's body that breaks off when it is not there in time. What nobody wants of it is read all the
/// same, for a few seconds: a sender that is still at it may not see the answer when the connection is cut.
struct TimedBody {
    /// There until it is dropped.
    body: Option<Incoming>,
    late: Pin<Box<Sleep>>,
    /// Between two parts of a long body.
    between: Duration,
    long: LongBody,
    rest: Option<Rest>,
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Some(rest)) = (left, &self.rest) {
            rest.read(body);
        }
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            if self.long.0.load(Ordering::Relaxed) {
                let late = Instant::now() + self.between;
                self.late.as_mut().reset(late);
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        ready!(self.late.as_mut().poll(cx));
        // It has had its time.
        self.rest = None;
        Poll::Ready(Some(Err("the request's body did not come in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}
