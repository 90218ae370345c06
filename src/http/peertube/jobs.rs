//! What runners do with jobs.

use axum::Extension;
use axum::Json;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Path, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::QueueId;
use crate::job::JobKind;
use crate::videos::{Delivered, LiveUpdate, Right, Runner, RunnerJobState, VideoError, Working};

use super::super::server::LongBody;
use super::super::state::AppState;
use super::multipart::{self, Texts};
use super::problem::Problem;
use super::runners::{json_body, runner};
use super::wire::{job_shape, offer_shape};

pub(super) fn job_id(text: &str) -> Result<QueueId, Problem> {
    text.parse().map_err(|_| VideoError::UnknownJob.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    runner_token: String,
    job_types: Option<Vec<String>>,
}

/// `POST /request`: what there is to do.
pub(super) async fn request(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let said: Request = json_body(&body)?;
    let runner = runner(&app, &said.runner_token).await?;
    // Types that are not known here are of servers to come.
    let kinds = said.job_types.map(|types| {
        let known = types.iter().filter_map(|t| JobKind::from_runner_type(t));
        known.collect::<Vec<_>>()
    });
    let jobs = app.videos.offers(&runner, kinds.as_deref()).await?;
    let base = app.base_url(&headers);
    let jobs: Vec<Value> = jobs.iter().filter_map(|j| offer_shape(j, &base)).collect();
    Ok(Json(json!({"availableJobs": jobs})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    runner_token: String,
}

pub(super) async fn accept(
    State(app): State<AppState>,
    Path(job): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let said: Known = json_body(&body)?;
    let runner = runner(&app, &said.runner_token).await?;
    let accepted = app.videos.accept(&runner, &job_id(&job)?).await?;
    let base = app.base_url(&headers);
    let processing = RunnerJobState::Processing;
    let mut shape = job_shape(&accepted.job, processing, &base, Some(&runner));
    shape["jobToken"] = accepted.token.to_string().into();
    Ok(Json(json!({"job": shape})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Holder {
    pub(super) runner_token: String,
    pub(super) job_token: String,
    /// Of `error`; absent, empty and long ones are taken.
    message: Option<String>,
    /// Of `abort`.
    reason: Option<String>,
}

/// The job that a runner holds.
pub(super) async fn working(
    app: &AppState,
    runner: &Runner,
    job: &str,
    token: &str,
) -> Result<Box<Working>, Problem> {
    if token.is_empty() {
        return Err(Problem::bad("jobToken: is missing"));
    }
    match app.videos.right(runner, &job_id(job)?, token).await? {
        Right::Working(held) => Ok(held),
        Right::Completing | Right::Ended { .. } => Err(VideoError::NotProcessing.into()),
    }
}

pub(super) async fn error(
    State(app): State<AppState>,
    Path(job): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let said: Holder = json_body(&body)?;
    let runner = runner(&app, &said.runner_token).await?;
    let held = working(&app, &runner, &job, &said.job_token).await?;
    let message = said.message.unwrap_or_default();
    app.videos.failed(&held, &message).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn abort(
    State(app): State<AppState>,
    Path(job): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let said: Holder = json_body(&body)?;
    let runner = runner(&app, &said.runner_token).await?;
    let held = working(&app, &runner, &job, &said.job_token).await?;
    let reason = said.reason.unwrap_or_default();
    app.videos.aborted(&held, &reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// By what right the texts that have come so far speak.
async fn right(app: &AppState, job: &str, texts: &Texts) -> Result<Right, Problem> {
    let runner = runner(app, texts.required("runnerToken")?).await?;
    let token = texts.required("jobToken")?;
    Ok(app.videos.right(&runner, &job_id(job)?, token).await?)
}

pub(super) async fn update(
    State(app): State<AppState>,
    Path(job): Path<String>,
    Extension(long): Extension<LongBody>,
    body: Result<Multipart, MultipartRejection>,
) -> Result<StatusCode, Problem> {
    long.allow();
    let mut body = multipart::body(body)?;
    match read_update(&app, &job, &mut body).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(problem) => Err(multipart::refuse(&app, body, problem)),
    }
}

/// What an update may speak of: the job itself, or one that has ended (then nothing is to be done).
fn at_work(right: Right) -> Result<Option<Box<Working>>, Problem> {
    match right {
        Right::Working(held) => Ok(Some(held)),
        Right::Completing | Right::Ended { done: true, .. } => Ok(None),
        Right::Ended { done: false, .. } => Err(VideoError::NotProcessing.into()),
    }
}

async fn read_update(app: &AppState, job: &str, body: &mut Multipart) -> Result<(), Problem> {
    let mut texts = Texts::default();
    let mut held: Option<Option<Box<Working>>> = None;
    while let Some(mut field) = multipart::next(body).await? {
        let name = field.name().unwrap_or_default().to_owned();
        if !multipart::is_file(&field) {
            let text = multipart::text(&mut field).await?;
            texts.put(&name, text)?;
            continue;
        }
        // Tokens come before files: nothing is kept of who has none.
        if held.is_none() {
            held = Some(at_work(right(app, job, &texts).await?)?);
        }
        let Some(Some(held)) = &held else { continue };
        match name.as_str() {
            "payload[videoChunkFile]" => {
                let chunk = texts.required("payload[videoChunkFilename]")?;
                let mut upload = app.videos.live_chunk(held, chunk).await?;
                while let Some(bytes) = multipart::part(&mut field).await? {
                    upload.write(bytes).await?;
                }
                upload.finish().await?;
            }
            _ => {
                let text = multipart::text(&mut field).await?;
                texts.put(&name, text)?;
            }
        }
    }
    let held = match held {
        Some(held) => held,
        None => at_work(right(app, job, &texts).await?)?,
    };
    let Some(held) = held else { return Ok(()) };
    match texts.take("payload[type]") {
        Some(kind) => {
            let update = LiveUpdate {
                kind,
                chunk: texts.required("payload[videoChunkFilename]")?.to_owned(),
                list_name: texts.take("payload[resolutionPlaylistFilename]"),
                list: texts.take("payload[resolutionPlaylistFile]"),
                master: texts.take("payload[masterPlaylistFile]"),
            };
            Ok(app.videos.live_update(&held, &update).await?)
        }
        None => {
            let progress = texts.take("progress").and_then(|p| p.trim().parse().ok());
            Ok(app.videos.update(&held, progress).await?)
        }
    }
}

pub(super) async fn success(
    State(app): State<AppState>,
    Path(job): Path<String>,
    Extension(long): Extension<LongBody>,
    body: Result<Multipart, MultipartRejection>,
) -> Result<StatusCode, Problem> {
    long.allow();
    let mut body = multipart::body(body)?;
    match read_success(&app, &job, &mut body).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(problem) => Err(multipart::refuse(&app, body, problem)),
    }
}

/// The job whose results come; `None`: a live stream that has been ended, which is all right.
fn finishing(right: Right) -> Result<Option<Box<Working>>, Problem> {
    match right {
        Right::Working(held) => Ok(Some(held)),
        Right::Ended {
            live: true,
            done: false,
        } => Ok(None),
        Right::Completing | Right::Ended { .. } => Err(VideoError::NotProcessing.into()),
    }
}

async fn read_success(app: &AppState, job: &str, body: &mut Multipart) -> Result<(), Problem> {
    let mut texts = Texts::default();
    let mut held: Option<(Box<Working>, Delivered)> = None;
    let check = async |texts: &Texts| -> Result<Option<(Box<Working>, Delivered)>, Problem> {
        let held = finishing(right(app, job, texts).await?)?;
        Ok(held.map(|held| {
            let delivered = app.videos.delivery(&held);
            (held, delivered)
        }))
    };
    while let Some(mut field) = multipart::next(body).await? {
        let name = field.name().unwrap_or_default().to_owned();
        if !multipart::is_file(&field) {
            let text = multipart::text(&mut field).await?;
            texts.put(&name, text)?;
            // Late deliveries are refused before their files come.
            let both = texts.required("runnerToken").is_ok() && texts.required("jobToken").is_ok();
            if both && held.is_none() {
                match check(&texts).await? {
                    None => return Ok(()),
                    some => held = some,
                }
            }
            continue;
        }
        let Some((_, delivered)) = &mut held else {
            texts.required("runnerToken")?;
            texts.required("jobToken")?;
            return Ok(());
        };
        if let Some(file) = app.videos.delivered_file(delivered, &name).await? {
            multipart::store(&mut field, file).await?;
        }
    }
    let Some((held, mut delivered)) = held else {
        texts.required("runnerToken")?;
        texts.required("jobToken")?;
        return Ok(());
    };
    if held.work.is_live() {
        return Ok(app.videos.live_done(&held).await?);
    }
    delivered.language = texts.take("payload[inputLanguage]");
    Ok(app.videos.deliver(&held, delivered).await?)
}
