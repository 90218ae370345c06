//! Runners, registration tokens and jobs, for who looks after them.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::job::JobKind;
use crate::videos::{JobQuery, JobSort, Runner, RunnerJobState};

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

/// Which entries of a list are asked for: `start`, `count`, `sort`, and what only jobs have.
///
/// # Errors
/// A value that is not understood, by its name. What the contract does not name is not looked at.
fn asked(query: Option<&str>) -> Result<JobQuery, Problem> {
    let mut asked = JobQuery {
        start: 0,
        count: USUAL,
        sort: JobSort::CreatedAt,
        descending: true,
        search: String::new(),
        states: Vec::new(),
        kinds: Vec::new(),
    };
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let bad = || Problem::bad(format!("{key}: '{value}' is not understood"));
        match key.trim_end_matches("[]") {
            "start" => asked.start = value.parse().map_err(|_| bad())?,
            "count" => asked.count = value.parse::<usize>().map_err(|_| bad())?.min(MOST),
            "search" => asked.search = value.into_owned(),
            "sort" => {
                let name = value.strip_prefix('-');
                asked.descending = name.is_some();
                asked.sort = sort_named(name.unwrap_or(&value)).ok_or_else(bad)?;
            }
            "stateOneOf" => {
                let id: u8 = value.parse().map_err(|_| bad())?;
                let all = RunnerJobState::ALL.iter();
                let state = all.copied().find(|s| s.id() == id);
                asked.states.push(state.ok_or_else(bad)?);
            }
            "typeOneOf" => {
                let kind = JobKind::from_runner_type(&value);
                asked.kinds.push(kind.ok_or_else(bad)?);
            }
            _ => {}
        }
    }
    Ok(asked)
}

/// How many there are of `all` (oldest first), and those that are asked for.
fn page<T>(mut all: Vec<T>, asked: &JobQuery) -> (usize, Vec<T>) {
    if asked.descending {
        all.reverse();
    }
    let total = all.len();
    let shown = all.into_iter().skip(asked.start).take(asked.count);
    (total, shown.collect())
}

fn sort_named(name: &str) -> Option<JobSort> {
    Some(match name {
        "createdAt" => JobSort::CreatedAt,
        "updatedAt" => JobSort::UpdatedAt,
        "priority" => JobSort::Priority,
        "state" => JobSort::State,
        "progress" => JobSort::Progress,
        _ => return None,
    })
}

pub(super) async fn runners(State(app): State<AppState>, RawQuery(query): RawQuery) -> Answer {
    let asked = asked(query.as_deref())?;
    let (total, shown) = page(app.videos.runners().await?, &asked);
    Ok(list(total, shown.iter().map(runner_shape).collect()))
}

pub(super) async fn remove_runner(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.videos.remove_runner(number(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn tokens(State(app): State<AppState>, RawQuery(query): RawQuery) -> Answer {
    let asked = asked(query.as_deref())?;
    let runners = app.videos.runners().await?;
    let count = |number: i64| {
        let of = |r: &&Runner| r.registration == Some(number);
        runners.iter().filter(of).count()
    };
    let (total, shown) = page(app.videos.registration_tokens().await?, &asked);
    let shapes = shown.iter().map(|t| token_shape(t, count(t.number)));
    Ok(list(total, shapes.collect()))
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

pub(super) async fn jobs(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let page = app.videos.runner_jobs(&asked(query.as_deref())?).await?;
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
