//! What grav1's web client asks, and what it has no name for (`/api/v2/projects`).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use aws_lc_rs::constant_time;

use crate::artifact::ArtifactName;
use crate::media::OnComplete;
use crate::plan::scenes::{GRAIN_OPTION, take_grain_option};
use crate::scenes::{Activity, ProjectView, Reencode, ScenesError, scene_number};

use super::super::access::now;
use super::super::artifacts;
use super::super::error::ApiError;
use super::super::links::Links;
use super::super::ranges::Asked;
use super::super::state::AppState;
use super::{add, file_subject, text, wire};

/// A path below a project.
#[derive(Deserialize)]
pub(super) struct ProjectPath {
    project: String,
}

#[derive(Deserialize)]
pub(super) struct ScenePath {
    project: String,
    scene: String,
}

fn success() -> Response {
    Json(json!({"success": true})).into_response()
}

fn refused(reason: impl Into<String>) -> Response {
    let reason: String = reason.into();
    Json(json!({"success": false, "reason": reason})).into_response()
}

/// What the client did wrong is a `reason`; what is ours, a status.
fn outcome(done: Result<(), ScenesError>) -> Result<Response, ApiError> {
    match done {
        Ok(()) => Ok(success()),
        Err(
            error @ (ScenesError::Dispatch(_) | ScenesError::Store(_) | ScenesError::Artifact(_)),
        ) => Err(error.into()),
        Err(error) => Ok(refused(error.to_string())),
    }
}

fn shown(app: &AppState, headers: &HeaderMap, project: &ProjectView) -> Value {
    let links = Links {
        base: app.base_url(headers),
        token: app
            .access
            .signer()
            .map(|s| s.token(file_subject(&project.id), now())),
    };
    wire::project(project, |path| links.to(path))
}

/// `GET /api/get_projects`.
pub(super) async fn projects(State(app): State<AppState>, headers: HeaderMap) -> Json<Value> {
    let projects = app.scenes.projects();
    let projects: Vec<Value> = projects.iter().map(|p| shown(&app, &headers, p)).collect();
    Json(projects.into())
}

/// `GET /api/get_project/{project}`.
pub(super) async fn project(
    State(app): State<AppState>,
    Path(path): Path<ProjectPath>,
    headers: HeaderMap,
) -> Response {
    match app.scenes.view(&path.project) {
        Ok(project) => Json(shown(&app, &headers, &project)).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A JSON object, or how grav1 refuses what is none.
fn object(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, Box<Response>> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().contains("json") {
        let told = "the body must be JSON, with Content-Type: application/json";
        return Err(Box::new(text(StatusCode::UNSUPPORTED_MEDIA_TYPE, told)));
    }
    let told = |why: &dyn std::fmt::Display| {
        let told = format!("the body is not understood: {why}");
        Box::new(text(StatusCode::BAD_REQUEST, told))
    };
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(told(&"it must be an object")),
        Err(error) => Err(told(&error)),
    }
}

/// Whether changes are allowed; the field `password` must be the configured one, if there is one.
fn has_password(app: &AppState, body: &Map<String, Value>) -> bool {
    let Some(password) = &app.grav1.password else {
        return true;
    };
    let given = body
        .get("password")
        .and_then(Value::as_str)
        .unwrap_or_default();
    constant_time::verify_slices_are_equal(given.as_bytes(), password.as_bytes()).is_ok()
}

const BAD_PASSWORD: &str = "Bad password.";

/// `POST /api/add_project`.
pub(super) async fn add(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body = match object(&headers, &body) {
        Ok(body) => body,
        Err(response) => return Ok(*response),
    };
    if !has_password(&app, &body) {
        return Ok(refused(BAD_PASSWORD));
    }
    let new = match add::parse(&body) {
        Ok(new) => new,
        Err(reason) => return Ok(refused(reason)),
    };
    match app.scenes.add(new).await {
        Ok(ids) => Ok(Json(json!({"success": true, "projectids": ids})).into_response()),
        Err(error) => outcome(Err(error)),
    }
}

/// `POST /api/modify/{project}`, also under the name that the original's documentation has.
pub(super) async fn modify(
    State(app): State<AppState>,
    Path(path): Path<ProjectPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body = match object(&headers, &body) {
        Ok(body) => body,
        Err(response) => return Ok(*response),
    };
    if !has_password(&app, &body) {
        return Ok(refused(BAD_PASSWORD));
    }
    let wanted = add::priority(&body).and_then(|p| Ok((p, add::on_complete(&body)?)));
    match wanted {
        Ok((priority, action)) => outcome(app.scenes.modify(&path.project, priority, action).await),
        Err(reason) => Ok(refused(reason)),
    }
}

/// `POST /api/delete_project/{project}`; a body is needed for a password only.
pub(super) async fn delete(
    State(app): State<AppState>,
    Path(path): Path<ProjectPath>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
    if !has_password(&app, &body) {
        return Ok(refused(BAD_PASSWORD));
    }
    outcome(app.scenes.delete(&path.project).await)
}

/// `GET /api/list_directory`: names that `add_project` takes.
pub(super) async fn list_directory(State(app): State<AppState>) -> Json<Value> {
    // Without roots there is nothing to list.
    let policy = app.registry.policy();
    let mut listed = policy.list("").await.unwrap_or_default();
    if listed.iter().all(|e| e.is_dir) {
        // Several roots: their names alone are of no use.
        for root in std::mem::take(&mut listed) {
            listed.extend(policy.list(&root.path).await.unwrap_or_default());
        }
    }
    let names: Vec<String> = listed.into_iter().map(|e| e.path).collect();
    Json(names.into())
}

/// `GET /api/get_info`: what a web client may offer.
pub(super) async fn info(State(app): State<AppState>) -> Json<Value> {
    let versions = app.scenes.versions();
    let actions = OnComplete::ALL.iter().map(|o| o.name());
    let actions: Vec<&str> = actions.filter(|n| !n.is_empty()).collect();
    Json(json!({
        "encoders": {"aomenc": versions.aom, "vpxenc": versions.vpx},
        "actions": actions,
        "protocols": ["http-get"],
        "logs": [],
        "password": app.grav1.password.is_some(),
    }))
}

/// `GET /api/get_home`.
pub(super) async fn home(State(app): State<AppState>) -> Json<Value> {
    let projects = app.scenes.projects();
    let is_open = |p: &&ProjectView| p.activity == Activity::Ready;
    let jobs: usize = projects.iter().filter(is_open).map(|p| p.remaining).sum();
    let versions = app.scenes.versions();
    let speed = match app.scenes.accepted() {
        None => json!({"since": 0, "frames": 0}),
        Some((since, spent, frames)) => {
            let hours = (spent.as_secs_f64() / 3600.0).max(1.0 / 3600.0);
            let since = jiff::Timestamp::from_millisecond(since.as_millis()).unwrap_or_default();
            json!({
                "since": since.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                "frames": (frames as f64 / hours).round() as u64,
            })
        }
    };
    Json(json!({
        "versions": {"libaom": versions.aom, "libvpx": versions.vpx},
        "projects": projects.len(),
        "jobs": jobs,
        "frames per hour": speed,
    }))
}

async fn send(
    app: &AppState,
    name: Result<ArtifactName, ScenesError>,
    shown_as: &str,
    asked: &Asked,
) -> Response {
    let name = match name {
        Ok(name) => name,
        Err(error) => return text(StatusCode::NOT_FOUND, error.to_string()),
    };
    let sent = artifacts::give(&app.artifacts, &name, asked).await;
    let mut response = sent.unwrap_or_else(ApiError::into_response);
    let extension = name.file().rsplit_once('.').map_or("", |(_, e)| e);
    let kind = match extension {
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    };
    let disposition = format!("inline; filename=\"{shown_as}.{extension}\"");
    let own = response.headers_mut();
    if own.contains_key(header::ETAG) {
        own.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(disposition) = HeaderValue::try_from(disposition) {
            own.insert(header::CONTENT_DISPOSITION, disposition);
        }
    }
    response
}

/// `GET /scene/{project}/{scene}`, with or without the extension of its file.
pub(super) async fn scene(
    State(app): State<AppState>,
    Path(path): Path<ScenePath>,
    asked: Asked,
) -> Response {
    let name = app.scenes.scene_file(&path.project, &path.scene);
    let shown_as = scene_number(&path.scene).map_or(String::new(), |n| format!("{n:05}"));
    send(&app, name, &shown_as, &asked).await
}

/// `GET /completed/{project}`.
pub(super) async fn completed(
    State(app): State<AppState>,
    Path(path): Path<ProjectPath>,
    asked: Asked,
) -> Response {
    let name = app.scenes.completed_file(&path.project);
    send(&app, name, &path.project, &asked).await
}

/// `GET /api/v2/scene-workers`: who of grav1's workers is there.
pub(super) async fn workers(State(app): State<AppState>) -> Json<Value> {
    let workers = app.scenes.workers().into_iter().map(|worker| {
        let scenes = worker.scenes.iter();
        let scenes: Vec<Value> = scenes
            .map(|(project, scene)| json!({"project": project, "scene": scene}))
            .collect();
        json!({
            "ip": worker.ip,
            "last_contact_seconds": worker.silent_for.as_secs_f64(),
            "scenes": scenes,
        })
    });
    Json(json!({"workers": workers.collect::<Vec<_>>()}))
}

/// `POST /api/v2/projects/{project}/pause`.
pub(super) async fn pause(
    State(app): State<AppState>,
    Path(path): Path<ProjectPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    set_paused(&app, &path.project, &headers, &body, true).await
}

/// `POST /api/v2/projects/{project}/resume`.
pub(super) async fn resume(
    State(app): State<AppState>,
    Path(path): Path<ProjectPath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    set_paused(&app, &path.project, &headers, &body, false).await
}

fn optional_body(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| {
        let told = format!("the body is not understood: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, told)
    })
}

fn check_password(app: &AppState, body: &Map<String, Value>) -> Result<(), ApiError> {
    match has_password(app, body) {
        true => Ok(()),
        false => Err(ApiError::new(StatusCode::FORBIDDEN, BAD_PASSWORD)),
    }
}

async fn set_paused(
    app: &AppState,
    id: &str,
    headers: &HeaderMap,
    body: &[u8],
    paused: bool,
) -> Result<Response, ApiError> {
    check_password(app, &optional_body(body)?)?;
    app.scenes.pause(id, paused).await?;
    let project = app.scenes.view(id)?;
    Ok(Json(shown(app, headers, &project)).into_response())
}

/// `POST /api/v2/projects/{project}/scenes/{scene}/retry`: encodes a scene once more. `encoder_params` in the
/// body replaces the project's for this scene.
pub(super) async fn retry(
    State(app): State<AppState>,
    Path(path): Path<ScenePath>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body = optional_body(&body)?;
    check_password(&app, &body)?;
    let bad = |reason| ApiError::new(StatusCode::BAD_REQUEST, reason);
    let encoder_params = add::optional_line(&body, "encoder_params").map_err(bad)?;
    if take_grain_option(encoder_params.as_deref().unwrap_or_default())
        .1
        .is_some()
    {
        let told = format!("encoder_params: {GRAIN_OPTION} is for a whole project");
        return Err(bad(told));
    }
    let how = Reencode { encoder_params };
    app.scenes
        .encode_again(&path.project, &path.scene, how)
        .await?;
    let project = app.scenes.view(&path.project)?;
    Ok(Json(shown(&app, &headers, &project)).into_response())
}
