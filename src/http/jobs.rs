//! `/api/v2/jobs`: queued work of every kind.

use axum::Json;
use axum::extract::{Path, Query, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{JobId, MediaTime, QueueId, UnixMillis, WorkerId};
use crate::dispatch::DispatchError;
use crate::hardware::Accelerator;
use crate::job::{Job, JobKind, JobSpec, JobState};
use crate::store::{JobFilter, JobOrder};

use super::error::ApiError;
use super::state::AppState;

type Answer = Result<Json<Value>, ApiError>;

/// Jobs of one page, when nothing else is asked for, and at most.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    /// States, separated by commas.
    state: Option<String>,
    /// Kinds, separated by commas.
    kind: Option<String>,
    worker: Option<String>,
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

fn named<T>(
    field: &str,
    list: Option<&String>,
    parse: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<Vec<T>, ApiError> {
    let names = list.into_iter().flat_map(|l| l.split(','));
    let parse = |name: &str| {
        parse(name).ok_or_else(|| {
            let known = known.join(", ");
            let told = format!("{field}: '{name}' is not known; there are {known}");
            ApiError::new(StatusCode::BAD_REQUEST, told)
        })
    };
    names
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(parse)
        .collect()
}

/// `GET /api/v2/jobs`: newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    Query(query): Query<ListQuery>,
    headers: HeaderMap,
) -> Answer {
    let states: Vec<&str> = JobState::ALL.iter().map(|s| s.name()).collect();
    let kinds: Vec<&str> = JobKind::ALL.iter().map(|k| k.name()).collect();
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        let told = format!("limit: must be 1 to {LARGEST_PAGE}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, told));
    }
    let after = query.after.as_deref().map(str::parse::<QueueId>);
    let after = after
        .transpose()
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "after: is not the id of a job"))?;
    let filter = JobFilter {
        kinds: named("kind", query.kind.as_ref(), JobKind::from_name, &kinds)?,
        states: named("state", query.state.as_ref(), JobState::from_name, &states)?,
        worker: query.worker.map(WorkerId::new),
        order: JobOrder::NewestFirst,
        after,
        limit: Some(limit),
    };
    let jobs = app.dispatcher.list(&filter).await?;
    let full = jobs.len() == limit as usize;
    let next = jobs
        .last()
        .filter(|_| full)
        .map(|j| j.id.as_str().to_owned());
    let jobs: Vec<Value> = jobs.iter().map(|j| shown(&app, &headers, j)).collect();
    Ok(Json(json!({"jobs": jobs, "next": next})))
}

pub(super) fn queue_id(text: &str) -> Result<QueueId, ApiError> {
    text.parse().map_err(|_| DispatchError::NoSuchJob.into())
}

/// `GET /api/v2/jobs/{id}`.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let job = app.dispatcher.get(&queue_id(&id)?).await?;
    Ok(Json(shown(&app, &headers, &job)))
}

/// `POST /api/v2/jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let job = app.dispatcher.cancel(&queue_id(&id)?).await?;
    Ok(Json(shown(&app, &headers, &job)))
}

/// `POST /api/v2/jobs/{id}/retry`.
pub(super) async fn retry(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let job = app.dispatcher.retry(&queue_id(&id)?).await?;
    Ok(Json(shown(&app, &headers, &job)))
}

#[derive(Deserialize)]
struct PriorityBody {
    priority: i32,
}

/// `POST /api/v2/jobs/{id}/priority`: `{"priority": N}`; higher comes first, 0 is usual.
pub(super) async fn prioritise(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> Answer {
    let body: PriorityBody = serde_json::from_slice(&body).map_err(|_| {
        let told = "priority: must be a whole number; higher comes first, 0 is usual";
        ApiError::new(StatusCode::BAD_REQUEST, told)
    })?;
    let id = queue_id(&id)?;
    let job = app.dispatcher.prioritise(&id, body.priority).await?;
    Ok(Json(shown(&app, &headers, &job)))
}

/// `GET /api/v2/queue`: how many jobs of each kind stand where.
pub(super) async fn counts(State(app): State<AppState>) -> Answer {
    let counts = app.dispatcher.counts().await?;
    let counts: Vec<Value> = counts
        .iter()
        .map(|c| json!({"kind": c.kind.name(), "state": c.state.name(), "jobs": c.jobs}))
        .collect();
    Ok(Json(json!({"counts": counts})))
}

fn time(at: UnixMillis) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(at.to_string())
}

/// A job as our own API tells it.
pub(super) fn shown(app: &AppState, headers: &HeaderMap, job: &Job) -> Value {
    let source = match &job.spec {
        JobSpec::Transcode(spec) => Some(&spec.source_url),
        JobSpec::Batch(spec) => Some(&spec.source),
        // It is shown by its video.
        JobSpec::Runner(_) => None,
        JobSpec::Scene(spec) => Some(&spec.segment),
    };
    let output = job.output.as_ref().map(|output| {
        let ours = output.artifact.as_deref();
        let ours = ours.map(|name| app.artifact_url(name, headers));
        json!({
            "url": output.url.clone().or(ours).or_else(|| batch_url(app, headers, job)),
            "size_bytes": output.size_bytes,
            "sha256": output.sha256,
            "duration_seconds": output.duration.map(MediaTime::as_secs_f64),
            "encoded_by": output.encoded_by.map(Accelerator::name),
            "notes": output.notes,
        })
    });
    let lease = job.lease.as_ref();
    json!({
        "id": job.id.as_str(),
        "kind": job.spec.kind().name(),
        "state": job.state.name(),
        "source": source,
        "requires": job.spec.requires(),
        "priority": job.priority,
        "parents": job.parents,
        "attempts": job.attempts,
        "failures": job.failures,
        "max_failures": job.retry.max_failures,
        "worker": job.worker,
        "lease_expires_at": lease.and_then(|l| time(l.expires_at)),
        "progress": job.progress,
        "output": output,
        "error": job.error,
        "created_at": time(job.created_at),
        "updated_at": time(job.updated_at),
    })
}

/// The file of a batch job that is done lies with the gateway that made it.
fn batch_url(app: &AppState, headers: &HeaderMap, job: &Job) -> Option<String> {
    let JobSpec::Batch(_) = job.spec else {
        return None;
    };
    let id: JobId = job.id.as_str().parse().ok()?;
    let link = app.links(id, headers);
    (job.state == JobState::Done).then(|| link.to(&format!("/download/{id}")))
}
