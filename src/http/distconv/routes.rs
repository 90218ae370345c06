//! The calls of the protocol.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::base::{QueueId, WorkerId};
use crate::dispatch::DispatchError;
use crate::job::{
    Failure, Job, JobKind, JobOutput, JobSpec, JobState, NewJob, Proof, Refused, RetryPolicy,
};
use crate::store::{JobFilter, StoreError};

use super::super::error::{ApiError, Verbatim};
use super::super::state::AppState;
use super::wire;

const OWN: [&str; 4] = ["/jobs", "/engines", "/assign_job", "/storage_pools"];

/// Whether a path belongs to this protocol, known or not.
pub(in super::super) fn is_own(path: &str) -> bool {
    OWN.iter()
        .filter_map(|own| path.strip_prefix(own))
        .any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A call without the key, in the original's words.
pub(in super::super) fn unauthorised(headers: &HeaderMap) -> Response {
    let key = headers.get("x-api-key");
    let said = match key.is_none_or(HeaderValue::is_empty) {
        true => "Unauthorized: Missing 'X-API-Key' header.",
        false => "Unauthorized",
    };
    text(StatusCode::UNAUTHORIZED, said)
}

/// All routes; unknown paths and methods below them are a 404 without a body.
pub(in super::super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jobs/", get(list_jobs).post(submit))
        .route("/jobs/{*path}", get(show_job).post(change_job))
        .route("/jobs", any(nothing))
        .route("/engines/", get(list_engines))
        .route("/engines/heartbeat", post(heartbeat))
        .route("/engines/benchmark_result", post(benchmark))
        .route("/engines/{*path}", any(nothing))
        .route("/engines", any(nothing))
        .route("/assign_job/", post(assign))
        .route("/assign_job", any(nothing))
        .route("/assign_job/{*path}", any(nothing))
        .route("/storage_pools/", get(storage_pools))
        .route("/storage_pools", any(nothing))
        .route("/storage_pools/{*path}", any(nothing))
        .method_not_allowed_fallback(nothing)
}

fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let kind = HeaderValue::from_static("text/plain");
    let mut response = (status, text.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.extensions_mut().insert(Verbatim);
    response
}

fn json_body(value: &Value) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], value.to_string()).into_response()
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// An answer that is no success.
enum Refusal {
    BadRequest(String),
    Dispatch(DispatchError),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal::BadRequest(text)
    }
}

impl From<DispatchError> for Refusal {
    fn from(error: DispatchError) -> Self {
        Refusal::Dispatch(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        const FINAL: &str = "Bad Request: Job is already in a final state.";
        match self {
            Refusal::BadRequest(said) => text(StatusCode::BAD_REQUEST, said),
            Refusal::Dispatch(error) => match error {
                DispatchError::NoSuchJob => text(StatusCode::NOT_FOUND, "Job not found"),
                DispatchError::NoSuchWorker => text(StatusCode::NOT_FOUND, "Engine not found"),
                DispatchError::Refused(Refused::Final(_)) => text(StatusCode::BAD_REQUEST, FINAL),
                DispatchError::Refused(why) => {
                    text(StatusCode::CONFLICT, format!("Conflict: {why}."))
                }
                error => ApiError::from(error).into_response(),
            },
        }
    }
}

type Answer = Result<Response, Refusal>;

fn shown(app: &AppState, headers: &HeaderMap, job: &Job) -> Value {
    let url = |name: &str| app.artifact_url(name, headers);
    wire::job(job, url).unwrap_or(Value::Null)
}

/// `POST /jobs/`.
async fn submit(State(app): State<AppState>, headers: HeaderMap, body: Bytes) -> Answer {
    let spec = wire::parse_submission(&wire::parse(&body)?)?;
    let attempts = u32::try_from(spec.max_retries).unwrap_or(u32::MAX);
    loop {
        let new = NewJob {
            id: next_id(app.dispatcher.now().as_millis()),
            spec: JobSpec::Transcode(spec.clone()),
            priority: 0,
            parents: Vec::new(),
            retry: RetryPolicy::at_once(attempts),
        };
        match app.dispatcher.submit(new).await {
            Ok(job) => return Ok(json_body(&shown(&app, &headers, &job))),
            // Another gateway gave the same id in the same microsecond.
            Err(DispatchError::Store(StoreError::Exists)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Microseconds since 1970 and a number that is this process's own (contract, section 1).
fn next_id(now_ms: i64) -> QueueId {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = now_ms.max(0).unsigned_abs().saturating_mul(1000);
    // Always later than the one before, so that the order of ids is that of submission.
    let next = |last: u64| now.max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(next(last))
    });
    let last = last.unwrap_or_default();
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    QueueId::counted(next(last), n)
}

/// `GET /jobs/`.
async fn list_jobs(State(app): State<AppState>, headers: HeaderMap) -> Answer {
    let filter = JobFilter {
        kinds: vec![JobKind::Transcode],
        ..JobFilter::default()
    };
    let jobs = app.dispatcher.list(&filter).await?;
    let jobs: Vec<Value> = jobs.iter().map(|j| shown(&app, &headers, j)).collect();
    Ok(json_body(&jobs.into()))
}

/// A job of this protocol.
async fn transcode_job(app: &AppState, id: &str) -> Result<Job, DispatchError> {
    let id: QueueId = id.parse().map_err(|_| DispatchError::NoSuchJob)?;
    let job = app.dispatcher.get(&id).await?;
    match job.spec {
        JobSpec::Transcode(_) => Ok(job),
        JobSpec::Batch(_) | JobSpec::Runner(_) | JobSpec::Scene(_) => Err(DispatchError::NoSuchJob),
    }
}

/// `GET /jobs/{id}`.
async fn show_job(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let job = transcode_job(&app, &id).await?;
    Ok(json_body(&shown(&app, &headers, &job)))
}

/// `POST /jobs/{id}/...`.
async fn change_job(
    State(app): State<AppState>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Some((id, verb)) = path.rsplit_once('/') else {
        return Ok(nothing().await.into_response());
    };
    match verb {
        "complete" => complete(&app, id, &body).await,
        "fail" => fail(&app, id, &body).await,
        "progress" => progress(&app, id, &body).await,
        "cancel" => {
            let job = transcode_job(&app, id).await?;
            let job = app.dispatcher.cancel(&job.id).await?;
            Ok(json_body(&shown(&app, &headers, &job)))
        }
        "retry" => {
            let job = transcode_job(&app, id).await?;
            let job = app.dispatcher.retry(&job.id).await?;
            Ok(json_body(&shown(&app, &headers, &job)))
        }
        _ => Ok(nothing().await.into_response()),
    }
}

/// The lease's token, if the engine sent one; its word otherwise.
fn proof(body: &Value) -> Result<Proof, Refusal> {
    match body.get("lease_token") {
        None => Ok(Proof::Word),
        Some(token) => {
            let token = token.as_str().and_then(|t| t.parse().ok());
            token
                .map(Proof::Token)
                .ok_or_else(|| Refusal::from(DispatchError::Refused(Refused::NotYours)))
        }
    }
}

async fn complete(app: &AppState, id: &str, body: &[u8]) -> Answer {
    let body = wire::parse(body)?;
    let url = wire::parse_output_url(&body)?;
    let before = transcode_job(app, id).await?;
    let output = JobOutput {
        url: Some(url),
        ..JobOutput::default()
    };
    let done = app
        .dispatcher
        .complete(&before.id, proof(&body)?, output.clone())
        .await;
    match done {
        Ok(_) => {}
        // The same words again, after an answer that was lost.
        Err(DispatchError::Refused(Refused::Final(JobState::Done)))
            if app.dispatcher.get(&before.id).await?.output == Some(output) => {}
        Err(error) => return Err(error.into()),
    }
    free_engine(app, &before).await?;
    Ok(text(
        StatusCode::OK,
        format!("Job {} marked as completed", before.id),
    ))
}

async fn fail(app: &AppState, id: &str, body: &[u8]) -> Answer {
    let body = wire::parse(body)?;
    let reason = wire::parse_error_message(&body)?;
    let before = transcode_job(app, id).await?;
    let failure = Failure::Transient { reason };
    let after = app
        .dispatcher
        .fail(&before.id, proof(&body)?, failure)
        .await?;
    free_engine(app, &before).await?;
    let what = match after.state {
        JobState::Failed => "failed permanently",
        _ => "re-queued",
    };
    Ok(text(StatusCode::OK, format!("Job {} {what}", before.id)))
}

/// Whoever had the job has nothing to do now.
async fn free_engine(app: &AppState, before: &Job) -> Result<(), Refusal> {
    let Some(engine) = &before.worker else {
        return Ok(());
    };
    match app.dispatcher.change_worker(engine, wire::set_idle).await {
        Ok(_) | Err(DispatchError::NoSuchWorker) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn progress(app: &AppState, id: &str, body: &[u8]) -> Answer {
    let body = wire::parse(body)?;
    let progress = wire::parse_progress(&body)?;
    let job = transcode_job(app, id).await?;
    let renewed = app
        .dispatcher
        .renew(&job.id, proof(&body)?, Some(progress.clone()))
        .await?;
    Ok(json_body(&json!({
        "job_id": renewed.id.as_str(),
        "message": progress.message,
        "progress": progress.percent,
    })))
}

/// `POST /engines/heartbeat`.
async fn heartbeat(State(app): State<AppState>, body: Bytes) -> Answer {
    let (id, said) = wire::parse_heartbeat(wire::parse(&body)?)?;
    let worker = WorkerId::new(id.as_str());
    app.dispatcher
        .heartbeat(&worker, |w| wire::merge_heartbeat(w, &said))
        .await?;
    Ok(text(
        StatusCode::OK,
        format!("Heartbeat received from engine {id}"),
    ))
}

/// `GET /engines/`.
async fn list_engines(State(app): State<AppState>) -> Answer {
    let engines = app.dispatcher.workers().await?;
    let spoke = engines
        .iter()
        .filter(|e| e.worker.said.contains_key("engine_id"));
    let engines: Vec<Value> = spoke.map(|e| wire::engine(&e.worker, e.booked)).collect();
    Ok(json_body(&engines.into()))
}

/// `POST /engines/benchmark_result`.
async fn benchmark(State(app): State<AppState>, body: Bytes) -> Answer {
    let (id, seconds) = wire::parse_benchmark(&wire::parse(&body)?)?;
    let worker = WorkerId::new(id.as_str());
    app.dispatcher
        .change_worker(&worker, |w| wire::merge_benchmark(w, seconds))
        .await?;
    Ok(text(
        StatusCode::OK,
        format!("Benchmark result received from engine {id}"),
    ))
}

/// `POST /assign_job/`. Whatever the body is: only an engine's name in it counts.
async fn assign(State(app): State<AppState>, headers: HeaderMap, body: Bytes) -> Answer {
    let asker: Option<Value> = serde_json::from_slice(&body).ok();
    let asker = asker.and_then(|b| Some(WorkerId::new(b.get("engine_id")?.as_str()?)));
    let job = app
        .dispatcher
        .assign(asker.as_ref(), &[JobKind::Transcode])
        .await?;
    Ok(match job {
        Some(job) => json_body(&shown(&app, &headers, &job)),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// `GET /storage_pools/`.
async fn storage_pools() -> Response {
    text(
        StatusCode::OK,
        "Storage pool configuration to be implemented.",
    )
}
