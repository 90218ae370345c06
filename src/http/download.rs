//! `GET /download/{job}`: the file of a batch job, whole or in parts; for HLS its playlist, whose
//! segments are `/download/{job}/{name}`.

use std::path::Path as FilePath;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tower::ServiceExt;
use tower_http::services::ServeFile;

use crate::batch::BatchError;

use super::error::ApiError;
use super::links::carry;
use super::state::AppState;
use super::transcode::job_id;

/// The file itself.
pub(super) async fn file(
    State(app): State<AppState>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    serve(&app, &id, None, request).await
}

/// A part of it.
pub(super) async fn part(
    State(app): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    serve(&app, &id, Some(&name), request).await
}

async fn serve(
    app: &AppState,
    id: &str,
    part: Option<&str>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = job_id(id)?;
    let (path, made) = app.batches.file(id, part)?;
    let is_playlist = path.extension().is_some_and(|e| e == "m3u8");
    let token = app.links(id, request.headers()).token;
    let mut response = match token {
        Some(token) if is_playlist => {
            let text = tokio::fs::read_to_string(&path).await;
            let text = text.map_err(|_| BatchError::NoFile)?;
            carry(&text, &token).into_response()
        }
        _ => whole_or_part(&path, request).await?,
    };
    let headers = response.headers_mut();
    let kind = match part {
        None => HeaderValue::from_static(made.file.content_type),
        Some(_) => content_type(&path),
    };
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    if part.is_none() {
        let disposition = format!("attachment; filename=\"{}\"", made.file.name);
        if let Ok(disposition) = HeaderValue::try_from(disposition) {
            headers.insert(header::CONTENT_DISPOSITION, disposition);
        }
    }
    Ok(response)
}

pub(super) async fn whole_or_part(path: &FilePath, request: Request) -> Result<Response, ApiError> {
    // What cannot be read is answered by a status; the service itself never fails.
    let Ok(answer) = ServeFile::new(path).oneshot(request).await;
    match answer.status() {
        StatusCode::NOT_FOUND => Err(BatchError::NoFile.into()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let range = answer.headers().get(header::CONTENT_RANGE).cloned();
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "Range not satisfiable");
            let mut response = error.into_response();
            if let Some(range) = range {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            Ok(response)
        }
        _ => Ok(answer.map(Body::new)),
    }
}

/// Of the parts of HLS; others are not made.
fn content_type(path: &FilePath) -> HeaderValue {
    let extension = path.extension().and_then(|e| e.to_str());
    HeaderValue::from_static(match extension {
        Some("ts") => "video/mp2t",
        Some("m4s" | "mp4") => "video/mp4",
        Some("m3u8") => "application/vnd.apple.mpegurl",
        _ => "application/octet-stream",
    })
}
