//! Runners, registration tokens and jobs, for who looks after them.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::job::JobKind;
use crate::videos::{Runner, RunnerJobState};

use super::super::state::AppState;
use super::jobs::job_id;
use super::problem::Problem;
use super::wire::{job_shape, runner_shape, token_shape};

/// Most entries of a page, and how many there are when nobody says.
const MOST: usize = 100;
const USUAL: usize = 15;

type Answer = Result<Json<Value>, Problem>;

fn list(total: usize, data: Vec<Value>) -> Json<Value> {
    Json(json!({"total": total, "data": data}))
}

fn number(text: &str) -> Result<i64, Problem> {
    text.parse()
        .map_err(|_| Problem::bad("id: must be a whole number"))
}

pub(super) async fn runners(State(app): State<AppState>) -> Answer {
    let all = app.videos.runners().await?;
    Ok(list(all.len(), all.iter().map(runner_shape).collect()))
}

pub(super) async fn remove_runner(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.videos.remove_runner(number(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn tokens(State(app): State<AppState>) -> Answer {
    let runners = app.videos.runners().await?;
    let tokens = app.videos.registration_tokens().await?;
    let count = |number: i64| {
        let of = |r: &&Runner| r.registration == Some(number);
        runners.iter().filter(of).count()
    };
    let shapes = tokens.iter().map(|t| token_shape(t, count(t.number)));
    Ok(list(tokens.len(), shapes.collect()))
}

pub(super) async fn new_token(State(app): State<AppState>) -> Result<StatusCode, Problem> {
    app.videos.new_registration_token().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_token(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.videos.remove_registration_token(number(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `start`, `count`, `sort` (`createdAt`, `-createdAt`), `search`, `stateOneOf`, `typeOneOf`.
pub(super) async fn jobs(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let (mut start, mut count, mut search, mut oldest_first) = (0, USUAL, String::new(), false);
    let (mut states, mut kinds) = (Vec::new(), Vec::new());
    let query = query.unwrap_or_default();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let bad = || Problem::bad(format!("{key}: '{value}' is not understood"));
        match key.trim_end_matches("[]") {
            "start" => start = value.parse().map_err(|_| bad())?,
            "count" => count = value.parse::<usize>().map_err(|_| bad())?.min(MOST),
            "search" => search = value.into_owned(),
            "sort" => oldest_first = !value.starts_with('-'),
            "stateOneOf" => {
                let id: u8 = value.parse().map_err(|_| bad())?;
                let all = RunnerJobState::ALL.iter();
                states.push(*all.clone().find(|s| s.id() == id).ok_or_else(bad)?);
            }
            "typeOneOf" => kinds.push(JobKind::from_runner_type(&value).ok_or_else(bad)?),
            _ => {}
        }
    }
    let page = app
        .videos
        .runner_jobs(&kinds, &states, &search, oldest_first, start, count);
    let page = page.await?;
    let (runners, base) = (app.videos.runners().await?, app.base_url(&headers));
    let shape = |(job, state): &(crate::job::Job, RunnerJobState)| {
        let number = job.worker.as_ref().and_then(Runner::number_of);
        let runner = runners.iter().find(|r| Some(r.number) == number);
        let mut shape = job_shape(job, *state, &base, runner);
        shape["privatePayload"] = json!({"videoUUID": job.spec.owner()});
        shape
    };
    Ok(list(page.total, page.jobs.iter().map(shape).collect()))
}

pub(super) async fn cancel_job(
    State(app): State<AppState>,
    Path(job): Path<String>,
) -> Result<StatusCode, Problem> {
    app.videos.cancel_job(&job_id(&job)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_job(
    State(app): State<AppState>,
    Path(job): Path<String>,
) -> Result<StatusCode, Problem> {
    app.videos.remove_job(&job_id(&job)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
