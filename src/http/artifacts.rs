//! `/api/v2/artifacts/JOB/FILE`: results of queued work, in and out; `/api/v2/uploads/FILE`: sources, in.

use std::ops::Range;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::artifact::{ArtifactName, ArtifactStore, Upload};
use crate::base::{JobId, LeaseToken};
use crate::dispatch::DispatchError;
use crate::job::Refused;
use crate::source::UPLOADED;

use super::body::linger;
use super::error::ApiError;
use super::ranges::{self, Asked, Finished};
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
    asked: Asked,
) -> Result<Response, ApiError> {
    let name = name_of(&job, &file)?;
    give(&app.artifacts, &name, &asked).await
}

/// An artifact, or the part that is asked for that the client does not have yet.
pub(super) async fn give(
    artifacts: &ArtifactStore,
    name: &ArtifactName,
    asked: &Asked,
) -> Result<Response, ApiError> {
    let facts = artifacts.facts(name).await?;
    let size = facts.size_bytes;
    let whole = Finished {
        length: size,
        tag: facts.etag.as_deref(),
    };
    let read = async |range: Range<u64>| {
        let range = (range != (0..size)).then_some(range);
        Ok(Body::from_stream(artifacts.read(name, range).await?.bytes))
    };
    let mut response = ranges::answer::<ApiError>(asked, whole, read).await?;
    if response.status().is_success() {
        let kind = mime_guess::from_path(name.file()).first_or_octet_stream();
        if let Ok(kind) = HeaderValue::from_str(kind.essence_str()) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
    }
    Ok(response)
}
