//! Bodies: parts of what is there, and bytes as they are made.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderValue, StatusCode, header};

use crate::session::{LiveBytes, SessionError};

use super::error::ApiError;
use super::state::AppState;

/// The part of a representation that a Range header asks for (RFC 9110 section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// No range, a malformed one or several: everything.
    All,
    /// First and last byte, inclusive.
    Bytes(u64, u64),
    Unsatisfiable,
}

pub(super) fn part(range: Option<&HeaderValue>, length: u64) -> Part {
    let parsed = range
        .and_then(|r| r.to_str().ok())
        .and_then(|r| r.strip_prefix("bytes="));
    let Some((first, last)) = parsed.and_then(|r| r.split_once('-')) else {
        return Part::All;
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Part::All;
    }
    let end = length.saturating_sub(1);
    // Numbers beyond the type lie beyond every end.
    let number = |s: &str| (!s.is_empty()).then(|| s.parse::<u64>().unwrap_or(u64::MAX));
    match (number(first), number(last)) {
        (Some(a), Some(b)) if b < a => Part::All,
        (Some(a), _) if a >= length => Part::Unsatisfiable,
        (Some(a), Some(b)) => Part::Bytes(a, b.min(end)),
        (Some(a), None) => Part::Bytes(a, end),
        (None, Some(0)) => Part::Unsatisfiable,
        (None, Some(_)) if length == 0 => Part::Unsatisfiable,
        (None, Some(n)) => Part::Bytes(length.saturating_sub(n), end),
        (None, None) => Part::All,
    }
}

/// Answers with `bytes` or the asked part of them. `head` leaves the body out.
pub(super) fn ranged(
    bytes: Bytes,
    range: Option<&HeaderValue>,
    head: bool,
) -> Result<Response, ApiError> {
    let length = bytes.len();
    let (status, body, content_range) = match part(range, length as u64) {
        Part::All => (StatusCode::OK, bytes, None),
        Part::Bytes(first, last) => {
            let text = format!("bytes {first}-{last}/{length}");
            (
                StatusCode::PARTIAL_CONTENT,
                bytes.slice(first as usize..=last as usize),
                Some(text),
            )
        }
        Part::Unsatisfiable => {
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "Range not satisfiable");
            let mut response = error.into_response();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return Ok(response);
        }
    };
    let size = HeaderValue::from(body.len());
    let mut response = (
        status,
        if head {
            Body::empty()
        } else {
            Body::from(body)
        },
    )
        .into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, size);
    if let Some(text) = content_range
        && let Ok(value) = HeaderValue::from_str(&text)
    {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

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
    app.tracker.spawn(async move {
        let mut rest = body.into_data_stream();
        let reading = async { while let Some(Ok(_)) = rest.next().await {} };
        let reading = tokio::time::timeout(LINGER, reading);
        cancel.run_until_cancelled(reading).await
    });
}

/// The head of an answer whose length is not known: an empty body would claim that it is 0.
pub(super) fn unmeasured() -> Response {
    let nothing = futures_util::stream::empty::<Result<Bytes, Infallible>>();
    Body::from_stream(nothing).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_rfc_9110() {
        let of = |text: &'static str| part(Some(&HeaderValue::from_static(text)), 100);
        assert_eq!(of("bytes=0-9"), Part::Bytes(0, 9));
        assert_eq!(of("bytes=90-"), Part::Bytes(90, 99));
        assert_eq!(of("bytes=90-1000"), Part::Bytes(90, 99));
        assert_eq!(of("bytes=-10"), Part::Bytes(90, 99));
        assert_eq!(of("bytes=-1000"), Part::Bytes(0, 99));
        assert_eq!(of("bytes=100-"), Part::Unsatisfiable);
        assert_eq!(of("bytes=-0"), Part::Unsatisfiable);
        let beyond = "bytes=99999999999999999999999-99999999999999999999999";
        assert_eq!(of(beyond), Part::Unsatisfiable);
        assert_eq!(of("bytes=90-99999999999999999999999"), Part::Bytes(90, 99));
        for all in [
            "bytes=9-0",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,5-6",
            "bytes=-",
            "bytes=--5",
        ] {
            assert_eq!(of(all), Part::All, "{all}");
        }
        assert_eq!(part(None, 100), Part::All);
    }
}
