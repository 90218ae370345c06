//! Bodies of unknown length: bytes as they are made, and what is left of those that are refused.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;

use crate::session::{LiveBytes, SessionError};

use super::state::AppState;

/// A body of unknown length. An error breaks the connection off: the client must not take what it
/// has for the whole.
pub(super) fn growing(body: LiveBytes) -> Response {
    let body = body.inspect_err(|error| match error {
        // Its stream was deleted: nothing has gone wrong.
        SessionError::Cancelled => tracing::debug!("a segment of a deleted stream broke off"),
        error => tracing::warn!(%error, "a segment broke off"),
    });
    Body::from_stream(body).into_response()
}

/// How long the rest of a body that was refused is read.
const LINGER: Duration = Duration::from_secs(5);

/// Reads what is left of a body whose request is refused, without keeping anything: a sender that is
/// still at it may not look at the answer when the connection is cut. Detached on purpose, for a few
/// seconds.
pub(super) fn linger(app: &AppState, body: Body) {
    if body.is_end_stream() {
        return;
    }
    let cancel = app.cancel.clone();
    app.tracker
        .spawn(async move { cancel.run_until_cancelled(read_rest(body)).await });
}

/// Reads a body to its end, for a few seconds at most, and keeps nothing of it.
pub(super) async fn read_rest<B: HttpBody + Unpin>(mut body: B) {
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // A sender that takes longer is cut off.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// The head of an answer whose length is not known: an empty body would claim that it is 0.
pub(super) fn unmeasured() -> Response {
    let nothing = futures_util::stream::empty::<Result<Bytes, Infallible>>();
    Body::from_stream(nothing).into_response()
}
