//! `/api/v2/engines` and `/api/v2/jobs/{id}/lease/...`: what our own engines speak. Unlike distconv it
//! waits for work, and every word about a job carries its lease's token.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{LeaseToken, WorkerId};
use crate::dispatch::DispatchError;
use crate::job::{
    Failure, Job, JobKind, JobOutput, JobSpec, Progress, Proof, Refused, codec_family,
};
use crate::media::LocalFile;
use crate::store::Wanted;

use super::download::whole_or_part;
use super::error::ApiError;
use super::jobs::queue_id;
use super::ranges::Asked;
use super::state::AppState;

#[derive(Deserialize)]
pub(super) struct ClaimBody {
    kinds: BTreeSet<JobKind>,
    /// Absent: all.
    codecs: Option<BTreeSet<String>>,
    /// Time that `plan::benchmark_encode` took; absent: it was not measured.
    benchmark_seconds: Option<f64>,
    #[serde(default)]
    wait_seconds: f64,
}

/// Longest wait for work in one request.
const LONGEST_WAIT_SECONDS: f64 = 30.0;

fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        format!("the body is not understood: {error}"),
    )
}

/// `POST /api/v2/engines/{id}/claim`: 200 with a lease, or 204 when there was no work in time.
pub(super) async fn claim(
    State(app): State<AppState>,
    Path(id): Path<String>,
    body: bytes::Bytes,
) -> Result<Response, ApiError> {
    let body: ClaimBody = serde_json::from_slice(&body).map_err(|e| unreadable(&e))?;
    let worker = WorkerId::new(id);
    let codecs = body
        .codecs
        .map(|c| c.iter().map(|c| codec_family(c)).collect());
    let known = app
        .dispatcher
        .heard_from(&worker, |w| {
            w.abilities.kinds = body.kinds.clone();
            w.abilities.codecs = codecs.clone();
            w.abilities.benchmark_seconds = body.benchmark_seconds;
        })
        .await?;
    let wanted = Wanted {
        kinds: body.kinds.into_iter().collect(),
        codecs,
    };
    let seconds = match body.wait_seconds.is_finite() {
        true => body.wait_seconds.clamp(0.0, LONGEST_WAIT_SECONDS),
        false => 0.0,
    };
    let wait = Duration::from_secs_f64(seconds);
    let claimed = match known.abilities.draining {
        true => None,
        false => {
            let claim = app.dispatcher.claim(&worker, &wanted, wait);
            // A gateway that stops does not keep its engines waiting.
            app.stop
                .run_until_cancelled(claim)
                .await
                .transpose()?
                .flatten()
        }
    };
    let Some(job) = claimed else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let has_source = source_file(&app, &job).await.is_some();
    Ok(Json(json!({
        "job_id": job.id.as_str(),
        "attempt": job.attempts,
        "spec": job.spec,
        "has_source": has_source,
        "lease_token": job.lease.as_ref().map(|l| l.token.to_string()),
        "lease_seconds": app.dispatcher.settings().lease.as_secs_f64(),
    }))
    .into_response())
}

/// The file that is to be transcoded, when it is one of this machine.
async fn source_file(app: &AppState, job: &Job) -> Option<LocalFile> {
    let JobSpec::Transcode(spec) = &job.spec else {
        return None;
    };
    app.registry.policy().resolve_file(&spec.source_url).await
}

#[derive(Deserialize)]
pub(super) struct SourceQuery {
    lease_token: Option<LeaseToken>,
}

/// `GET /api/v2/jobs/{id}/source`: the source of a job for the engine that holds its lease, whole or
/// in parts. Engines elsewhere do not have the folders of this machine.
pub(super) async fn source(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<SourceQuery>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let job = app.dispatcher.get(&queue_id(&id)?).await?;
    if !query.lease_token.is_some_and(|token| job.is_held_by(token)) {
        return Err(DispatchError::Refused(Refused::NotYours).into());
    }
    let none = || ApiError::not_found("there is no such file");
    let file = source_file(&app, &job).await.ok_or_else(none)?;
    let mut response = whole_or_part(file.path(), &asked).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

#[derive(Deserialize)]
struct ReportBody {
    lease_token: LeaseToken,
    progress: Option<Progress>,
    output: Option<JobOutput>,
    reason: Option<Value>,
}

/// `POST /api/v2/jobs/{id}/lease/{verb}`: `renew`, `complete`, `fail`, `fail_for_good`, `unsuited`,
/// `release`. 409 when the lease is lost.
pub(super) async fn report(
    State(app): State<AppState>,
    Path((id, verb)): Path<(String, String)>,
    body: bytes::Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = queue_id(&id)?;
    let body: ReportBody = serde_json::from_slice(&body).map_err(|e| unreadable(&e))?;
    let proof = Proof::Token(body.lease_token);
    let reason = body.reason.unwrap_or_else(|| "no reason was given".into());
    let dispatcher = &app.dispatcher;
    let job = match verb.as_str() {
        "renew" => dispatcher.renew(&id, proof, body.progress).await?,
        "complete" => {
            let output = body.output.unwrap_or_default();
            dispatcher.complete(&id, proof, output).await?
        }
        "fail" => {
            dispatcher
                .fail(&id, proof, Failure::Transient { reason })
                .await?
        }
        "fail_for_good" => {
            dispatcher
                .fail(&id, proof, Failure::Permanent { reason })
                .await?
        }
        "unsuited" => {
            dispatcher
                .fail(&id, proof, Failure::Unsuited { reason })
                .await?
        }
        "release" => dispatcher.release(&id, proof).await?,
        _ => return Err(ApiError::not_found("Not Found")),
    };
    if let Some(lease) = &job.lease {
        dispatcher.heard_from(&lease.worker, |_| {}).await?;
    }
    Ok(Json(
        json!({"job_id": job.id.as_str(), "state": job.state.name()}),
    ))
}

/// `GET /api/v2/engines`.
pub(super) async fn list(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    let now = app.dispatcher.now();
    let engines = app.dispatcher.workers().await?;
    let engines: Vec<Value> = engines
        .iter()
        .map(|e| {
            json!({
                "id": e.worker.id,
                "alive": e.alive,
                "busy": e.booked,
                "abilities": e.worker.abilities,
                "last_contact_seconds": now.since(e.worker.last_contact).as_secs_f64(),
            })
        })
        .collect();
    Ok(Json(json!({"engines": engines})))
}

/// `POST /api/v2/engines/{id}/drain`: it finishes what it has and gets no more.
pub(super) async fn drain(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    draining(&app, &id, true).await
}

/// `POST /api/v2/engines/{id}/resume`: it gets work again.
pub(super) async fn resume(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    draining(&app, &id, false).await
}

async fn draining(app: &AppState, id: &str, draining: bool) -> Result<Json<Value>, ApiError> {
    let worker = app.dispatcher.drain(&WorkerId::new(id), draining).await?;
    Ok(Json(json!({"id": worker.id, "draining": draining})))
}

/// `DELETE /api/v2/engines/{id}`: forgets it; what it had is offered again.
pub(super) async fn deregister(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.dispatcher.deregister(&WorkerId::new(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
