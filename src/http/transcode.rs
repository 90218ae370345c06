//! Starting, watching and ending jobs.

use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::base::JobId;
use crate::media::Mode;
use crate::session::{JobPhase, SessionError};
use crate::source::SourceError;

use super::error::ApiError;
use super::presence;
use super::state::AppState;
use super::wire::{parse_start, start_response, status_response, stream_url};

type Answer = Result<Json<Value>, ApiError>;

pub(super) fn job_id(text: &str) -> Result<JobId, ApiError> {
    JobId::from_str(text).map_err(|_| SessionError::NoSuchJob.into())
}

/// `POST /api/transcode/start`. The work goes on when the client leaves before the answer.
pub(super) async fn start(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        let missing =
            json!({"type": "missing", "loc": ["body"], "msg": "Field required", "input": null});
        return Err(ApiError::invalid(vec![missing]));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|error| {
        ApiError::invalid(vec![json!({
            "type": "json_invalid",
            "loc": ["body", error.column()],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.to_string()},
        })])
    })?;
    let start = parse_start(&body, app.defaults()).map_err(ApiError::invalid)?;
    if start.source.trim().is_empty() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "Source URL is required",
        ));
    }
    if let Some(url) = &start.callback
        && let Err(error @ SourceError::Refused { .. }) =
            app.registry.policy().resolve(url.as_str()).await
    {
        let text = format!("callback_url: {error}");
        return Err(ApiError::new(StatusCode::FORBIDDEN, text));
    }
    let named = presence::told(start.origin.client.clone());
    let job = match start.request.mode {
        Mode::Batch => {
            let batches = &app.batches;
            let taking = batches.submit(&start.source, start.request, start.origin);
            taking.await?
        }
        Mode::Stream | Mode::Abr => {
            let registry = &app.registry;
            let starting = registry.start(&start.source, start.request, start.origin);
            starting.await?
        }
    };
    let viewers = app.registry.viewers(&job);
    let links = app.links(job.id, &headers);
    let answer = start_response(&job, &job.status(), &links, viewers);
    if let Some(url) = start.callback
        && !app.callbacks.watch(&app, &job, url, links)
    {
        tracing::warn!(job.id = %job.id, "too many callbacks wait: this one is left out");
    }
    Ok((named, Json(answer)))
}

/// `GET /api/transcode/{id}/status`.
pub(super) async fn status(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let job = app.registry.job(job_id(&id)?)?;
    app.registry.note_poll(&job);
    let viewers = app.registry.viewers(&job);
    Ok(Json(status_response(
        &job,
        &job.status(),
        &app.links(job.id, &headers),
        viewers,
    )))
}

/// `GET /api/transcode/{id}/stream`.
pub(super) async fn stream_info(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let job = app.registry.job(job_id(&id)?)?;
    let status = job.status().name;
    match job.phase() {
        JobPhase::Failed(_) | JobPhase::Cancelled | JobPhase::File(_) => {
            let text = format!("Job is not ready for streaming: {status}");
            Err(ApiError::new(StatusCode::BAD_REQUEST, text))
        }
        JobPhase::Opening | JobPhase::Open(_) => {
            let url = stream_url(&job, &app.links(job.id, &headers));
            Ok(Json(
                json!({"job_id": job.id, "stream_url": url, "status": status}),
            ))
        }
    }
}

/// `POST /api/transcode/{id}/cancel`. Detached: a client that leaves does not stop the stopping.
pub(super) async fn cancel(State(app): State<AppState>, Path(id): Path<String>) -> Answer {
    let refused = || ApiError::new(StatusCode::BAD_REQUEST, "Job cannot be cancelled");
    let id = JobId::from_str(&id).map_err(|_| refused())?;
    let (registry, batches) = (app.registry.clone(), app.batches.clone());
    let cancelling = async move {
        match registry.job(id)?.is_batch() {
            true => batches.cancel(id).await,
            false => Ok(registry.cancel(id).await?),
        }
    };
    let done = app.tracker.spawn(cancelling).await;
    match done {
        Ok(Ok(true)) => Ok(Json(json!({"status": "cancelled", "job_id": id}))),
        _ => Err(refused()),
    }
}

/// `DELETE /api/transcode/{id}`. Detached, as `cancel`.
pub(super) async fn delete(State(app): State<AppState>, Path(id): Path<String>) -> Answer {
    let id = job_id(&id)?;
    let (registry, batches) = (app.registry.clone(), app.batches.clone());
    let deleting = async move {
        match registry.job(id)?.is_batch() {
            true => batches.delete(id).await,
            false => Ok(registry.delete(id).await?),
        }
    };
    let done = app.tracker.spawn(deleting).await;
    done.map_err(|_| SessionError::Cancelled)??;
    Ok(Json(json!({"status": "deleted", "job_id": id})))
}
