//! The bell of runners: Socket.IO over WebSocket, one event (contract section 3).

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::{SocketIo, SocketIoBuilder, TransportType};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use url::Url;

use crate::videos::{Connected, VideoError, Videos};

use super::super::state::AppState;
use super::problem::Problem;

type Service = BoxCloneSyncService<Request, Response, Infallible>;

/// Name of the namespace. Runners put the path of the address with which they were registered before
/// it, although the connection itself is always made at `/socket.io/`.
const NAMESPACE: &str = "/runners";
const EVENT: &str = "available-jobs";
/// New jobs come in groups: runners are told once.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// A runner that came too late, or was refused, asks again only when it is told.
const REPEAT: Duration = Duration::from_secs(30);
/// Time in which a runner must have said who it is. While our store does not answer, it is not
/// answered either; then the connection ends, and it comes back by itself.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The open sockets of runners.
#[derive(Clone)]
pub struct RunnerSockets {
    service: Service,
}

impl fmt::Debug for RunnerSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerSockets").finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hello {
    runner_token: String,
}

/// Said only to who is really not known: its client never tries again.
#[derive(Debug, thiserror::Error)]
#[error("Invalid runner token.")]
struct Unknown;

/// Namespaces for runners that were registered with or without the path of `advertised` (that of a
/// proxy before us), with or without a slash behind it.
fn namespaces(advertised: Option<&Url>) -> Vec<String> {
    let path = advertised.map(|url| url.path().trim_end_matches('/'));
    let mut found = Vec::new();
    for path in [Some(""), path.filter(|p| !p.is_empty())]
        .into_iter()
        .flatten()
    {
        found.extend(["", "/"].map(|slash| format!("{path}{slash}{NAMESPACE}")));
    }
    found
}

impl RunnerSockets {
    /// Tells runners of work until `cancel`; `advertised` is the address under which they know this
    /// gateway. Must be called on a runtime.
    pub fn new(
        videos: &Arc<Videos>,
        advertised: Option<&Url>,
        tracker: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let (service, io) = SocketIoBuilder::new()
            .transports([TransportType::Websocket])
            .connect_timeout(CONNECT_WITHIN)
            .build_svc();
        let namespaces = namespaces(advertised);
        for namespace in &namespaces {
            let videos = videos.clone();
            let admit = move |socket: SocketRef, hello: TryData<Hello>| {
                let videos = videos.clone();
                async move { admit(&videos, &socket, hello).await }
            };
            io.ns(namespace.clone(), (async || {}).with(admit));
        }
        let (videos, cancel) = (videos.clone(), cancel.clone());
        tracker.spawn(async move {
            cancel
                .run_until_cancelled(ring(&videos, &io, &namespaces))
                .await;
            io.close().await;
        });
        let service = ServiceExt::<Request>::map_response(service, IntoResponse::into_response);
        RunnerSockets {
            service: BoxCloneSyncService::new(service),
        }
    }
}

async fn admit(
    videos: &Arc<Videos>,
    socket: &SocketRef,
    TryData(hello): TryData<Hello>,
) -> Result<(), Unknown> {
    let hello = hello.map_err(|_| Unknown)?;
    let known = async {
        loop {
            match videos.runner(&hello.runner_token).await {
                Err(VideoError::UnknownRunner) => return Err(Unknown),
                Ok(runner) => return Ok(runner),
                Err(error) => {
                    tracing::warn!(%error, "a runner cannot be looked up");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    };
    // Whatever is said after that goes to a connection that has ended.
    let known = tokio::time::timeout(CONNECT_WITHIN * 2, known).await;
    let runner = known.unwrap_or(Err(Unknown))?;
    let listens: Arc<Connected> = Arc::new(videos.connected(&runner));
    socket.extensions.insert(listens);
    Ok(())
}

async fn ring(videos: &Arc<Videos>, io: &SocketIo, namespaces: &[String]) {
    let mut work = videos.work();
    loop {
        let asked = tokio::select! {
            changed = work.changed() => changed.is_ok(),
            () = tokio::time::sleep(REPEAT) => false,
        };
        if asked {
            tokio::time::sleep(DEBOUNCE).await;
            work.mark_unchanged();
        } else if !videos.anybody_listens() || !videos.has_work().await.unwrap_or(true) {
            continue;
        }
        for namespace in namespaces {
            let Some(runners) = io.of(namespace) else {
                continue;
            };
            if let Err(error) = runners.emit(EVENT, &NO_ARGUMENTS).await {
                tracing::debug!(%error, "cannot tell runners of work");
            }
        }
    }
}

const NO_ARGUMENTS: [(); 0] = [];

/// `GET /socket.io/`: takes a connection over. It holds its place among the WebSockets as long as it
/// lives.
pub(super) async fn connect(State(app): State<AppState>, mut request: Request) -> Response {
    let Ok(place) = app.websockets.clone().try_acquire_owned() else {
        let text = "too many WebSockets; try again later";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    request.extensions_mut().insert(Arc::new(place));
    match app.sockets.service.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_behind_a_proxy_have_its_path_in_their_namespace() {
        let of = |url: &str| namespaces(Some(&Url::parse(url).unwrap()));
        assert_eq!(of("https://h"), ["/runners", "//runners"]);
        let wanted = ["/runners", "//runners", "/gs/runners", "/gs//runners"];
        assert_eq!(of("https://h/gs/"), wanted);
        assert_eq!(namespaces(None), ["/runners", "//runners"]);
    }
}
