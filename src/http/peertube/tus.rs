//! Uploads in pieces, by tus 1.0.0 (core, creation, termination): `POST /video/upload` with
//! `Tus-Resumable` begins one, `PATCH` goes on with it, `HEAD` tells how far it is.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::videos::{Order, Resumable};

use super::super::body::linger;
use super::super::server::LongBody;
use super::super::state::AppState;
use super::multipart::Texts;
use super::problem::Problem;
use super::videos::order;

const VERSION: &str = "1.0.0";
pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
/// Of ours: the video that an upload has become.
const VIDEO: HeaderName = HeaderName::from_static("video-id");

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let value = headers
        .get(name)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    value.ok_or_else(|| Problem::bad(format!("{name}: must be a whole number")))
}

fn answer(status: StatusCode, upload: &Resumable) -> Response {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.insert(RESUMABLE, HeaderValue::from_static(VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(OFFSET, HeaderValue::from(upload.offset));
    headers.insert(LENGTH, HeaderValue::from(upload.length));
    if let Some(Ok(video)) = upload.video.as_deref().map(HeaderValue::from_str) {
        headers.insert(VIDEO, video);
    }
    response
}

/// The fields of an order from `Upload-Metadata`: `name BASE64,...`; `filename` names the video too.
fn ordered(headers: &HeaderMap) -> Result<Order, Problem> {
    let mut texts = Texts::default();
    let mut file_name = None;
    let given = headers.get(&METADATA).and_then(|v| v.to_str().ok());
    for pair in given.unwrap_or_default().split(',').map(str::trim) {
        let Some((name, value)) = pair.split_once(' ') else {
            continue;
        };
        let value = STANDARD.decode(value.trim()).ok();
        let value = value.and_then(|v| String::from_utf8(v).ok());
        let bad = || Problem::bad(format!("Upload-Metadata: {name} is no base64 of a text"));
        let value = value.ok_or_else(bad)?;
        match name {
            "filename" => file_name = Some(value),
            name => texts.put(name, value)?,
        }
    }
    let mut order = order(&mut texts);
    let last = |name: String| {
        name.rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    order.name = order.name.or(file_name.map(last));
    Ok(order)
}

/// Begins an upload.
pub(super) async fn begin(app: &AppState, headers: &HeaderMap) -> Result<Response, Problem> {
    let length = number(headers, &LENGTH)?;
    let upload = app.videos.begin_upload(length, ordered(headers)?).await?;
    let mut response = answer(StatusCode::CREATED, &upload);
    let place = format!("{}/video/upload/{}", app.base_url(headers), upload.id);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

pub(super) async fn offset(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let upload = app.videos.upload_offset(&id).await?;
    Ok(answer(StatusCode::OK, &upload))
}

/// Goes on with an upload; with its last byte it becomes a video. What comes stays, also of a piece
/// that breaks off.
pub(super) async fn go_on(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Extension(long): Extension<LongBody>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind != Some(b"application/offset+octet-stream") {
        linger(&app, body);
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let text = "Content-Type: must be application/offset+octet-stream";
        return Err(Problem::new(status, text));
    }
    long.allow();
    let begun = match number(&headers, &OFFSET) {
        Ok(offset) => app
            .videos
            .upload_on(&id, offset)
            .await
            .map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    let mut piece = match begun {
        Ok(piece) => piece,
        Err(problem) => {
            linger(&app, body);
            return Err(problem);
        }
    };
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let Ok(bytes) = part else {
            piece.finish().await?;
            return Err(Problem::bad("the piece broke off"));
        };
        if let Err(error) = piece.write(bytes).await {
            linger(&app, Body::from_stream(parts));
            return Err(error.into());
        }
    }
    if let Some(whole) = piece.finish().await? {
        let base = app.base_url(&headers);
        app.videos.finish_upload(whole, &base).await?;
    }
    let upload = app.videos.upload_offset(&id).await?;
    Ok(answer(StatusCode::NO_CONTENT, &upload))
}

pub(super) async fn end(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let upload = app.videos.upload_offset(&id).await?;
    app.videos.drop_upload(&id).await?;
    Ok(answer(StatusCode::NO_CONTENT, &upload))
}
