//! `GET /stream/{job}/{file}`.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};

use crate::base::JobId;
use crate::session::{Served, SessionError, StreamFile, collect};

use super::body::{growing, unmeasured};
use super::error::ApiError;
use super::links::carry;
use super::ranges::{Asked, bytes};
use super::state::AppState;

/// Serves a file of a stream. Cancelled when the client goes: dropping the request withdraws it from
/// its track, whose head lives on as long as others need it.
pub(super) async fn file(
    State(app): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    asked: Asked,
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
    if asked.method == Method::HEAD && !stream.is_made(file) {
        // Whether it exists is known; how long it is, only when it was made.
        return Ok(typed(unmeasured(), kind, false));
    }
    let response = match stream.serve(file).await? {
        Served::Playlist(text) => {
            let text = match app.links(id, &asked.headers).token {
                Some(token) => carry(&text, &token),
                None => text,
            };
            return Ok(typed(text.into_response(), kind, true));
        }
        Served::Whole(segment) => bytes::<ApiError>(&asked, segment, None).await?,
        Served::Growing(body) if asked.headers.contains_key(header::RANGE) => {
            bytes::<ApiError>(&asked, collect(body).await?, None).await?
        }
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
