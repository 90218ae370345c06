//! Who watches what, and what is left behind: leaving, shared streams, cleaning up.

use axum::Json;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::session::{JobState, SessionError};

use super::error::ApiError;
use super::state::AppState;
use super::transcode::job_id;

/// Characters of a source by which `/api/streams/shared` names it.
const NAME_CHARS: usize = 50;

#[derive(Deserialize)]
pub(super) struct LeaveQuery {
    session_id: Option<String>,
}

/// `POST /api/transcode/{id}/leave`. The session is named by the query or by a body, or not at all.
pub(super) async fn leave(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<LeaveQuery>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = job_id(&id)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let session = query.session_id.as_deref().or(body["session_id"].as_str());
    let left = app.registry.leave(id, session)?;
    Ok(Json(json!({
        "job_id": id,
        "viewers_remaining": left.viewers,
        "is_shared": left.is_shared,
    })))
}

/// `GET /api/streams/shared`.
pub(super) async fn shared(State(app): State<AppState>) -> Json<Value> {
    let shared = app.registry.shared_streams();
    let mut streams = Map::new();
    for stream in &shared {
        let source: String = stream.job.source.chars().take(NAME_CHARS).collect();
        let status = stream.job.status();
        let entry = json!({
            "job_id": stream.job.id,
            "viewers": stream.viewers,
            "status": status.name,
            "progress": status.progress,
        });
        // The same film in another quality, or another film that begins alike.
        let mut name = source.clone();
        for number in 2.. {
            if !streams.contains_key(&name) {
                break;
            }
            name = format!("{source} ({number})");
        }
        streams.insert(name, entry);
    }
    let sum = |count: fn(&crate::session::SharedStream) -> usize| -> usize {
        shared.iter().map(count).sum()
    };
    Json(json!({
        "active_shared_streams": shared.len(),
        "total_viewers": sum(|s| s.viewers),
        "viewer_sessions": sum(|s| s.sessions),
        "streams": streams,
    }))
}

/// `GET /api/cleanup/stats`.
pub(super) async fn cleanup_stats(State(app): State<AppState>) -> Json<Value> {
    let jobs = app.registry.jobs();
    let count = |wanted: fn(JobState) -> bool| {
        let states = jobs.iter().map(|job| job.status().state());
        states.filter(|state| wanted(*state)).count()
    };
    let folder = app.registry.cache().folder().parent();
    let folder = folder.and_then(|f| f.file_name());
    Json(json!({
        "total_jobs": jobs.len(),
        "active_jobs": count(|s| !s.is_end()),
        "ready_jobs": count(|s| s == JobState::Ready),
        "cleaned_jobs": count(|s| matches!(s, JobState::Error | JobState::Cancelled)),
        "nearly_stale": app.registry.nearly_stale(),
        // Its name alone: where it lies is nobody's business.
        "temp_dir": folder.map(|f| f.to_string_lossy()),
    }))
}

/// `POST /api/cleanup/run`. Detached: a client that leaves does not stop it.
pub(super) async fn cleanup_run(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    let registry = app.registry.clone();
    let cleaning = app.tracker.spawn(async move {
        let jobs = registry.clean().await;
        let sweep = move || registry.cache().sweep();
        let folders = tokio::task::spawn_blocking(sweep).await;
        (jobs, folders.unwrap_or(0))
    });
    let (jobs, folders) = cleaning.await.map_err(|_| SessionError::Cancelled)?;
    Ok(Json(json!({
        "stale_jobs_cleaned": jobs,
        "orphaned_dirs_cleaned": folders,
    })))
}
