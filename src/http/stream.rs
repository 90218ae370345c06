//! `GET /stream/{job}/{file}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::base::JobId;
use crate::session::{Served, SessionError, StreamFile, collect};

use super::body::{growing, ranged, unmeasured};
use super::error::ApiError;
use super::links::carry;
use super::state::AppState;

/// Serves a file of a stream. Cancelled when the client goes: dropping the request withdraws it from
/// its track, whose head lives on as long as others need it.
pub(super) async fn file(
    State(app): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: JobId = id.parse().map_err(|_| SessionError::NoSuchJob)?;
    let job = app.registry.job(id)?;
    if name.contains("..") || name.contains('\\') || name.starts_with('/') {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Invalid filename"));
    }
    let file = StreamFile::parse(&name).ok_or(SessionError::NoSuchFile)?;
    let stream = job
        .stream()
        .await
        .map_err(|error| ApiError::from(&*error))?;
    if !stream.has(file) {
        return Err(SessionError::NoSuchFile.into());
    }
    let kind = file.content_type();
    if method == Method::HEAD && !stream.is_made(file) {
        // Whether it exists is known; how long it is, only when it was made.
        return Ok(typed(unmeasured(), kind, false));
    }
    let range = headers.get(header::RANGE);
    let response = match stream.serve(file).await? {
        Served::Playlist(text) => {
            let text = match app.links(id, &headers).token {
                Some(token) => carry(&text, &token),
                None => text,
            };
            return Ok(typed(
                ranged(text.into(), None, method == Method::HEAD)?,
                kind,
                true,
            ));
        }
        Served::Whole(bytes) => ranged(bytes, range, method == Method::HEAD)?,
        Served::Growing(body) if range.is_some() => ranged(collect(body).await?, range, false)?,
        Served::Growing(body) => growing(body),
    };
    Ok(typed(response, kind, false))
}

fn typed(mut response: Response, kind: &'static str, changes: bool) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let caching = if changes {
        "no-cache"
    } else {
        "private, max-age=3600"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
