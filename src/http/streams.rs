//! `/api/v2/streams`: what is played now, and the map of one stream. Looking keeps nothing alive.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::base::JobId;
use crate::session::{HeadDetail, Job, JobPhase, SessionError, StreamMap, TrackMap};

use super::error::ApiError;
use super::state::AppState;

/// `GET /api/v2/streams`: newest first.
pub(super) async fn list(State(app): State<AppState>) -> Json<Value> {
    Json(json!({"streams": summaries(&app)}))
}

/// Jobs that play or were played lately; files that are made are in the queue.
pub(super) fn summaries(app: &AppState) -> Vec<Value> {
    let mut jobs = app.registry.jobs();
    jobs.retain(|job| !job.is_batch());
    jobs.sort_by_key(|job| std::cmp::Reverse(job.created_at));
    jobs.iter().map(|job| summary(app, job)).collect()
}

fn summary(app: &AppState, job: &Job) -> Value {
    let status = job.status();
    let stream = match job.phase() {
        JobPhase::Open(stream) => Some(stream),
        _ => None,
    };
    json!({
        "job_id": job.id,
        "stream": stream.as_ref().map(|s| s.id()),
        "source": job.source,
        "mode": job.request.mode,
        "client": job.origin.client,
        "state": status.name,
        "phase": status.activity,
        "progress": rounded(status.progress),
        "duration": status.duration,
        "speed": rounded(status.speed),
        "eta_seconds": status.eta_seconds,
        "encoded_by": status.encoded_by,
        "encoders": stream.map_or(0, |s| s.encoders()),
        "viewers": app.registry.viewers(job).viewers,
        "error": status.error,
        "warnings": status.warnings,
        "created_at": job.created_at.to_string(),
    })
}

/// `GET /api/v2/streams/{id}`: what of the stream of job `id` is there, who makes the rest, and how
/// fast. Times are seconds of the stream. `tracks` is empty until the source was probed.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id: JobId = id.parse().map_err(|_| SessionError::NoSuchJob)?;
    // Not `Registry::job`, which counts as watching.
    let jobs = app.registry.jobs();
    let job = jobs.iter().find(|job| job.id == id && !job.is_batch());
    let job = job.ok_or(SessionError::NoSuchJob)?;
    let map = match job.phase() {
        JobPhase::Open(stream) => Some(stream.map()),
        _ => None,
    };
    let mut told = summary(&app, job);
    told["map"] = map.as_ref().map_or(Value::Null, shown);
    Ok(Json(told))
}

fn shown(map: &StreamMap) -> Value {
    json!({
        "duration": rounded(map.duration),
        "open_ended": map.open_ended,
        "segments": map.segments,
        "tracks": map.tracks.iter().map(track).collect::<Vec<_>>(),
    })
}

fn track(track: &TrackMap) -> Value {
    let spans = track.ready.iter();
    let spans: Vec<_> = spans.map(|(a, b)| [rounded(*a), rounded(*b)]).collect();
    json!({
        "id": track.id.to_string(),
        "kind": track.id.kind.name(),
        "name": track.name,
        "codec": track.codec,
        "encoder": track.encoder,
        "accelerator": track.accelerator,
        "ready": spans,
        "ready_segments": track.ready_segments,
        "heads": track.heads.iter().map(head).collect::<Vec<_>>(),
        "last_failure": track.last_failure,
    })
}

fn head(head: &HeadDetail) -> Value {
    json!({
        "segment": head.segment,
        "position": rounded(head.seconds),
        "paused": head.paused,
        "speed": head.speed.map(rounded),
    })
}

pub(super) fn rounded(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}
