//! `/ws/progress`: the handshake of RFC 6455, and how many may listen.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::error::ApiError;
use super::progress_session::{self, Session};
use super::state::AppState;

/// Largest message of a client: room for some ten thousand job ids.
const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// Per connection; clients send little, and we send small messages one at a time.
const BUFFER_BYTES: usize = 4 * 1024;

/// Takes a WebSocket. The connection goes on in a task of its own until the client, a long silence
/// or the gateway's stop ends it.
pub(super) async fn listen(State(app): State<AppState>, mut request: Request) -> Response {
    if !app.access.admits_origin(request.headers()) {
        let text = "pages of this origin may not listen";
        return ApiError::new(StatusCode::FORBIDDEN, text).into_response();
    }
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(NoHandshake::NotAsked) => return upgrade_required(),
        Err(NoHandshake::Bad(text)) => {
            return ApiError::new(StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return upgrade_required();
    };
    // One too many is taken and told so in WebSocket's own words, which every client understands.
    let slot = app.websockets.clone().try_acquire_owned().ok();
    let presence = app.presence.connect();
    let (hub, stop) = (app.registry.progress().clone(), app.stop.clone());
    app.connections.spawn(async move {
        let socket = match upgrade.await {
            Ok(socket) => TokioIo::new(socket),
            Err(error) => return tracing::debug!(%error, "no WebSocket after all"),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        match slot {
            Some(_slot) => {
                Session::new(socket, hub.listen(), presence)
                    .run(&stop)
                    .await
            }
            None => progress_session::turn_away(socket).await,
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    *response.body_mut() = Body::empty();
    response
}

/// Why a request opens no WebSocket.
enum NoHandshake {
    /// It does not want one, or one of another version.
    NotAsked,
    Bad(&'static str),
}

/// The answer to the client's key (RFC 6455 section 4.2).
fn accept_key(request: &Request) -> Result<HeaderValue, NoHandshake> {
    let headers = request.headers();
    let no_key = NoHandshake::Bad("the header Sec-WebSocket-Key is not a key");
    let wants = names(headers, header::CONNECTION, "upgrade")
        && names(headers, header::UPGRADE, "websocket");
    if !wants || request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return Err(NoHandshake::NotAsked);
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|v| v.as_bytes() != b"13") {
        return Err(NoHandshake::NotAsked);
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(NoHandshake::Bad("the header Sec-WebSocket-Key is missing"));
    };
    // 16 bytes in base64; what they are is the client's.
    if key.len() != 24 {
        return Err(no_key);
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| no_key)
}

fn names(headers: &HeaderMap, header: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(header).into_iter();
    let mut tokens = values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    tokens.any(|t| t.trim().eq_ignore_ascii_case(token))
}

fn upgrade_required() -> Response {
    let text = "this is a WebSocket: connect to it as ws://";
    let mut response = ApiError::new(StatusCode::UPGRADE_REQUIRED, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
    response
}
