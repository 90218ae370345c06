//! `/api/v2/artifacts/JOB/FILE`: results of queued work, in and out; `/api/v2/uploads/FILE`: sources, in.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::artifact::{ArtifactName, ArtifactStore, Upload};
use crate::base::{JobId, LeaseToken};
use crate::dispatch::DispatchError;
use crate::job::Refused;
use crate::source::UPLOADED;

use super::body::{Part, linger, part};
use super::error::ApiError;
use super::server::LongBody;
use super::state::AppState;

#[derive(Deserialize)]
pub(super) struct UploadQuery {
    lease_token: Option<LeaseToken>,
}

fn name_of(job: &str, file: &str) -> Result<ArtifactName, ApiError> {
    let job = job.parse();
    let name = job.and_then(|job| ArtifactName::new(job, file));
    name.map_err(|_| ApiError::not_found("there is no such file"))
}

/// `PUT`: an engine delivers what it made. Only the holder of the job's lease may, before and after:
/// what comes late is thrown away.
pub(super) async fn upload(
    State(app): State<AppState>,
    Path((job, file)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    Extension(long): Extension<LongBody>,
    body: Body,
) -> Result<Response, ApiError> {
    let name = name_of(&job, &file)?;
    let holds = async || {
        let job = app.dispatcher.get(name.job()).await?;
        match query.lease_token.is_some_and(|token| job.is_held_by(token)) {
            true => Ok(()),
            false => Err(DispatchError::Refused(Refused::NotYours)),
        }
    };
    if let Err(error) = holds().await {
        linger(&app, body);
        return Err(error.into());
    }
    long.allow();
    let upload = receive(&app, &app.artifacts, &name, body).await?;
    if let Err(error) = holds().await {
        upload.abort().await?;
        return Err(error.into());
    }
    let uploaded = upload.finish().await?;
    let answer = json!({
        "artifact": name.to_string(),
        "size_bytes": uploaded.size_bytes,
        "sha256": uploaded.sha256,
    });
    Ok(axum::Json(answer).into_response())
}

/// Takes a whole body; what breaks off or is too large leaves nothing.
async fn receive(
    app: &AppState,
    artifacts: &ArtifactStore,
    name: &ArtifactName,
    body: Body,
) -> Result<Upload, ApiError> {
    let mut upload = match artifacts.upload(name).await {
        Ok(upload) => upload,
        Err(error) => {
            linger(app, body);
            return Err(error.into());
        }
    };
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let written = match part {
            Ok(bytes) => upload.write(bytes).await.map_err(ApiError::from),
            Err(_) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "the file broke off on its way",
            )),
        };
        if let Err(error) = written {
            linger(app, Body::from_stream(parts));
            upload.abort().await?;
            return Err(error);
        }
    }
    Ok(upload)
}

/// `PUT /api/v2/uploads/{file}`: a client sends what the gateway cannot read by itself. The answer names
/// it as a source.
pub(super) async fn upload_source(
    State(app): State<AppState>,
    Path(file): Path<String>,
    Extension(long): Extension<LongBody>,
    body: Body,
) -> Result<Response, ApiError> {
    let name = ArtifactName::new(JobId::random().into(), &file).map_err(|_| {
        let told =
            "file: must be 1 to 100 letters, digits, '.', '_' and '-' of ASCII, no dot first";
        ApiError::new(StatusCode::BAD_REQUEST, told)
    })?;
    long.allow();
    let uploaded = receive(&app, &app.uploads, &name, body)
        .await?
        .finish()
        .await?;
    let answer = json!({
        "source": format!("{UPLOADED}{name}"),
        "size_bytes": uploaded.size_bytes,
        "sha256": uploaded.sha256,
    });
    Ok(axum::Json(answer).into_response())
}

/// `GET` and `HEAD`, whole or one range.
pub(super) async fn download(
    State(app): State<AppState>,
    Path((job, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = name_of(&job, &file)?;
    give(&app.artifacts, &name, &method, &headers).await
}

/// An artifact, or the part that is asked for (RFC 9110 sections 13.1.2 and 14).
pub(super) async fn give(
    artifacts: &ArtifactStore,
    name: &ArtifactName,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let facts = artifacts.facts(name).await?;
    let size = facts.size_bytes;
    if is_known(headers, facts.etag.as_deref()) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        if let Some(etag) = &facts.etag {
            put(&mut response, header::ETAG, etag);
        }
        return Ok(response);
    }
    let wanted = match part(headers.get(header::RANGE), size) {
        _ if *method == Method::HEAD => Part::All,
        part => part,
    };
    let (status, range, length) = match wanted {
        Part::All => (StatusCode::OK, None, size),
        Part::Bytes(first, last) => {
            let range = Some(first..last + 1);
            (StatusCode::PARTIAL_CONTENT, range, last - first + 1)
        }
        Part::Unsatisfiable => {
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "Range not satisfiable");
            let mut response = error.into_response();
            put(
                &mut response,
                header::CONTENT_RANGE,
                &format!("bytes */{size}"),
            );
            return Ok(response);
        }
    };
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(artifacts.read(name, range.clone()).await?.bytes),
    };
    let mut response = (status, body).into_response();
    if let Some(range) = range {
        let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        put(&mut response, header::CONTENT_RANGE, &text);
    }
    put(&mut response, header::CONTENT_LENGTH, &length.to_string());
    put(&mut response, header::ACCEPT_RANGES, "bytes");
    let kind = mime_guess::from_path(name.file()).first_or_octet_stream();
    put(&mut response, header::CONTENT_TYPE, kind.essence_str());
    if let Some(etag) = &facts.etag {
        put(&mut response, header::ETAG, etag);
    }
    Ok(response)
}

/// Whether the client has this version already.
fn is_known(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let wanted = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    let (Some(wanted), Some(etag)) = (wanted, etag) else {
        return false;
    };
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let mut tags = wanted.split(',').map(plain);
    tags.any(|tag| tag == "*" || tag == plain(etag))
}

fn put(response: &mut Response, name: header::HeaderName, value: &str) {
    // Ours are all of plain ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
