//! The grav1 protocol (contract `grav1`): clients make projects, workers fetch scenes and deliver encodes.
//! Words, statuses and headers are those of both generations; what each call does is one call of
//! [`crate::scenes`].

mod add;
mod web;
mod wire;
mod worker;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use aws_lc_rs::constant_time;

use super::error::Verbatim;
use super::state::AppState;

/// The secrets of the section `grav1` of the configuration.
#[derive(Clone, Default)]
pub struct Grav1Settings {
    /// What changes of projects must carry (`grav1.password`).
    pub password: Option<String>,
    /// What the paths of workers must carry (`grav1.worker_token`).
    pub worker_token: Option<String>,
}

/// Where workers with a token are served.
const PREFIX: &str = "/grav1/";

/// Whether a path carries a worker's token, which its route checks.
pub(super) fn carries_token(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The project whose file `path` names, if it is one; tokens in addresses are made for it.
pub(super) fn project_of_file(path: &str) -> Option<String> {
    let rest = path
        .strip_prefix("/scene/")
        .or_else(|| path.strip_prefix("/completed/"))?;
    let id = rest.split('/').next().filter(|id| !id.is_empty())?;
    Some(file_subject(id))
}

/// What tokens for the files of a project are made for.
fn file_subject(project: &str) -> String {
    format!("project {project}")
}

pub(super) fn routes(state: &AppState) -> Router<AppState> {
    let open = from_fn_with_state(state.clone(), without_token);
    let guarded = from_fn_with_state(state.clone(), with_token);
    Router::new()
        .route("/api/get_projects", get(web::projects))
        .route("/api/get_project/{project}", get(web::project))
        .route("/api/add_project", post(web::add))
        .route("/api/modify/{project}", post(web::modify))
        .route("/api/modify_project/{project}", post(web::modify))
        .route("/api/delete_project/{project}", post(web::delete))
        .route("/api/list_directory", get(web::list_directory))
        .route("/api/get_info", get(web::info))
        .route("/api/get_home", get(web::home))
        .route("/scene/{project}/{scene}", get(web::scene))
        .route("/completed/{project}", get(web::completed))
        .route("/api/v2/scene-workers", get(web::workers))
        .route("/api/v2/projects/{project}/pause", post(web::pause))
        .route("/api/v2/projects/{project}/resume", post(web::resume))
        .route(
            "/api/v2/projects/{project}/scenes/{scene}/retry",
            post(web::retry),
        )
        .merge(workers().route_layer(open))
        .nest(
            "/grav1/{token}",
            workers()
                .route("/{*rest}", any(nothing))
                .route_layer(guarded),
        )
}

fn workers() -> Router<AppState> {
    Router::new()
        .route("/api/get_job/{*jobs}", get(worker::get_job))
        .route("/api/is_job/{project}/{scene}", get(worker::is_job))
        .route("/api/get_grain/{project}/{scene}", get(worker::get_grain))
        .route(
            "/finish_job",
            // Its limit depends on the scene.
            post(worker::finish_job).layer(DefaultBodyLimit::disable()),
        )
        .route("/cancel_job", post(worker::cancel_job))
}

/// With a token, workers are served only where their path has it; without one, only where it has none.
async fn without_token(State(app): State<AppState>, request: Request, next: Next) -> Response {
    match app.grav1.worker_token {
        None => next.run(request).await,
        Some(_) => no_job(),
    }
}

async fn with_token(
    State(app): State<AppState>,
    Path(path): Path<TokenPath>,
    request: Request,
    next: Next,
) -> Response {
    let is_right = app.grav1.worker_token.as_ref().is_some_and(|token| {
        let (token, given) = (token.as_bytes(), path.token.as_bytes());
        constant_time::verify_slices_are_equal(token, given).is_ok()
    });
    match is_right {
        true => next.run(request).await,
        false => no_job(),
    }
}

#[derive(Deserialize)]
struct TokenPath {
    token: String,
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// What both generations of workers take for "there is nothing to do".
fn no_job() -> Response {
    (StatusCode::NOT_FOUND, [("success", "0")]).into_response()
}

/// An answer that is one word, or a sentence.
fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = (status, text.into()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.extensions_mut().insert(Verbatim);
    response
}
