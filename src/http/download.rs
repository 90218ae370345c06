//! `GET /download/{job}`: the file of a batch job, whole or in parts; for HLS its playlist, whose
//! segments are `/download/{job}/{name}`.

use std::io::SeekFrom;
use std::ops::Range;
use std::path::Path as FilePath;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::batch::BatchError;

use super::error::ApiError;
use super::links::carry;
use super::ranges::{self, Asked, Finished};
use super::state::AppState;
use super::transcode::job_id;

/// Read from the disk at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The file itself.
pub(super) async fn file(
    State(app): State<AppState>,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    serve(&app, &id, None, &asked).await
}

/// A part of it.
pub(super) async fn part(
    State(app): State<AppState>,
    Path((id, name)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, ApiError> {
    serve(&app, &id, Some(&name), &asked).await
}

async fn serve(
    app: &AppState,
    id: &str,
    part: Option<&str>,
    asked: &Asked,
) -> Result<Response, ApiError> {
    let id = job_id(id)?;
    let (path, made) = app.batches.file(id, part)?;
    let is_playlist = path.extension().is_some_and(|e| e == "m3u8");
    let token = app.links(id, &asked.headers).token;
    let mut response = match token {
        Some(token) if is_playlist => {
            let text = tokio::fs::read_to_string(&path).await;
            let text = text.map_err(|_| BatchError::NoFile)?;
            carry(&text, &token).into_response()
        }
        _ => whole_or_part(&path, asked).await?,
    };
    if !(response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED) {
        return Ok(response);
    }
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

pub(super) async fn whole_or_part(path: &FilePath, asked: &Asked) -> Result<Response, ApiError> {
    let file = File::open(path).await.map_err(|_| BatchError::NoFile)?;
    let facts = file.metadata().await.map_err(|_| BatchError::NoFile)?;
    let changed = facts.modified().unwrap_or(UNIX_EPOCH);
    let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", facts.len(), changed.as_nanos());
    let whole = Finished {
        length: facts.len(),
        tag: Some(&tag),
    };
    let read = async move |range: Range<u64>| {
        let mut file = file;
        let found = file.seek(SeekFrom::Start(range.start)).await;
        found.map_err(|_| BatchError::NoFile)?;
        let bytes = file.take(range.end - range.start);
        let chunks = ReaderStream::with_capacity(bytes, CHUNK_BYTES);
        Ok(Body::from_stream(chunks))
    };
    ranges::answer::<ApiError>(asked, whole, read).await
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
