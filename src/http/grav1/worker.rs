//! What grav1's workers ask (contract, section 3).

use std::path::PathBuf;

use axum::Extension;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::artifact::ArtifactError;
use crate::scenes::{Asker, HandedScene, HeldScene, ScenesError, Upload, Verdict};

use super::super::error::ApiError;
use super::super::presence::Peer;
use super::super::server::LongBody;
use super::super::state::AppState;
use super::{no_job, text};

#[derive(Deserialize)]
pub(super) struct JobsPath {
    jobs: String,
}

#[derive(Deserialize)]
pub(super) struct ScenePath {
    project: String,
    scene: String,
}

/// Longest text of a form field, bytes.
const MAX_FIELD_BYTES: usize = 64 * 1024;

fn asker(peer: Peer, headers: &HeaderMap) -> Asker {
    let forwarded = headers.get("x-forwarded-for").and_then(|v| v.to_str().ok());
    let forwarded = forwarded.and_then(|v| v.split(',').next()).map(str::trim);
    let plain = |ip: &&str| {
        let letter = |b: u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':' | b'[' | b']' | b'%');
        !ip.is_empty() && ip.len() <= 64 && ip.bytes().all(letter)
    };
    let own = peer.0.ip().to_canonical().to_string();
    let ip = forwarded.filter(plain).map_or(own, str::to_owned);
    Asker {
        id: format!("{ip}:{}", peer.0.port()),
        ip,
    }
}

/// `GET /api/get_job/{jobs}`: `jobs` is the JSON list of what the worker has.
pub(super) async fn get_job(
    State(app): State<AppState>,
    Path(path): Path<JobsPath>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let held: Vec<HeldScene> = match serde_json::from_str(&path.jobs) {
        Ok(held) => held,
        Err(error) => {
            let told = format!("the path must end in a JSON list of held jobs: {error}");
            return text(StatusCode::BAD_REQUEST, told);
        }
    };
    let asker = asker(peer, &headers);
    let Some(scene) = app.scenes.hand_out(&asker, &held) else {
        return no_job();
    };
    match app.artifacts.read(&scene.segment, None).await {
        Ok(segment) => {
            let body = Body::from_stream(segment.bytes);
            job(&asker, &scene, segment.facts.size_bytes, body)
        }
        Err(error) => {
            tracing::warn!(project = scene.project, scene = scene.scene, %error, "no segment");
            // Nobody has it then.
            let _ = app
                .scenes
                .give_back(&scene.project, &scene.scene, &asker.id);
            no_job()
        }
    }
}

fn job(asker: &Asker, scene: &HandedScene, length: u64, body: Body) -> Response {
    let frames = scene.frames.to_string();
    let fields: [(&'static str, &str); 12] = [
        ("success", "1"),
        ("projectid", &scene.project),
        ("filename", scene.segment.file()),
        ("scene", &scene.scene),
        ("id", &asker.id),
        ("encoder", scene.encoder.name()),
        ("encoder_params", &scene.encoder_params),
        ("ffmpeg_params", &scene.ffmpeg_params),
        ("version", scene.version.as_deref().unwrap_or_default()),
        ("start", "0"),
        ("frames", &frames),
        ("grain", if scene.has_grain { "1" } else { "0" }),
    ];
    let mut response = body.into_response();
    let headers = response.headers_mut();
    for (name, value) in fields {
        // They were checked when the project was made.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let kind = HeaderValue::from_static("video/x-matroska");
    headers.insert(header::CONTENT_TYPE, kind);
    // No worker takes a body whose length it is not told.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /api/is_job/{project}/{scene}`: whether it is still to be encoded.
pub(super) async fn is_job(State(app): State<AppState>, Path(path): Path<ScenePath>) -> StatusCode {
    match app.scenes.is_open(&path.project, &path.scene) {
        true => StatusCode::OK,
        false => StatusCode::NOT_FOUND,
    }
}

/// `GET /api/get_grain/{project}/{scene}`: the table of film grain that a job with `grain: 1` is encoded with.
pub(super) async fn get_grain(
    State(app): State<AppState>,
    Path(path): Path<ScenePath>,
) -> Response {
    let Ok(name) = app.scenes.grain_file(&path.project, &path.scene) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match app.artifacts.read(&name, None).await {
        Ok(table) => {
            let length = HeaderValue::from(table.facts.size_bytes);
            let mut response = Body::from_stream(table.bytes).into_response();
            let headers = response.headers_mut();
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            headers.insert(header::CONTENT_TYPE, kind);
            // As with segments, no worker takes it without.
            headers.insert(header::CONTENT_LENGTH, length);
            response
        }
        // The film is not parted yet.
        Err(ArtifactError::NotFound) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// `POST /cancel_job`, a form.
pub(super) async fn cancel_job(State(app): State<AppState>, body: Bytes) -> Response {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| {
        form.iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    let worker = field("client").or_else(|| field("id")).unwrap_or_default();
    let project = field("projectid").unwrap_or_default();
    let scene = field("scene").unwrap_or_default();
    match app.scenes.give_back(project, scene, worker) {
        Ok(()) => text(StatusCode::OK, "saved"),
        Err(ScenesError::NoSuchProject) => text(StatusCode::NOT_FOUND, "project not found"),
        Err(_) => text(StatusCode::NOT_FOUND, "job not found"),
    }
}

/// A file that is deleted with this.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // It is open nowhere any more, and small work.
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an upload cannot be deleted");
        }
    }
}

/// What became of the bytes of an upload.
enum Received {
    /// All are in a file.
    Whole(Staged),
    /// None, or more than there may be.
    Useless,
    /// Read and thrown away: the answer was known without them.
    Unneeded(Verdict),
}

/// `POST /finish_job`, a multipart form with the file at its end.
pub(super) async fn finish_job(
    State(app): State<AppState>,
    Extension(long): Extension<LongBody>,
    mut form: Multipart,
) -> Result<Response, ApiError> {
    long.allow();
    let mut upload = Upload::default();
    let mut received = None;
    loop {
        let field = match form.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(error) => {
                let told = format!("the form is not understood: {}", error.body_text());
                return Ok(text(StatusCode::BAD_REQUEST, told));
            }
        };
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            upload.file_name = field.file_name().unwrap_or_default().to_owned();
            received = Some(receive(&app, &upload, field).await?);
            continue;
        }
        let value = match short(field).await {
            Ok(value) => value,
            Err(told) => return Ok(text(StatusCode::BAD_REQUEST, told)),
        };
        match name.as_str() {
            "client" | "id" => upload.worker = value,
            "projectid" => upload.project = value,
            "scene" => upload.scene = value,
            "encoder" => upload.encoder = value,
            "encoder_params" => upload.encoder_params = value,
            "version" => upload.version = Some(value),
            "ffmpeg_params" => upload.ffmpeg_params = Some(value),
            "grain" => upload.grain = Some(value),
            _ => {}
        }
    }
    let verdict = match &received {
        Some(Received::Unneeded(verdict)) => *verdict,
        Some(Received::Whole(staged)) => app.scenes.finish(&upload, Some(&staged.0)).await?,
        Some(Received::Useless) | None => app.scenes.finish(&upload, None).await?,
    };
    tracing::info!(
        project = upload.project,
        scene = upload.scene,
        worker = upload.worker,
        ?verdict,
        "a worker delivers"
    );
    Ok(text(
        StatusCode::OK,
        word(verdict, upload.version.is_none()),
    ))
}

/// The word for a verdict; the first generation counts in other words.
fn word(verdict: Verdict, is_first_generation: bool) -> &'static str {
    match verdict {
        Verdict::Saved => "saved",
        Verdict::NoSuchProject => "project not found",
        Verdict::NoSuchScene => "job not found",
        Verdict::BadVersion => "bad encoder version",
        Verdict::BadParams => "bad params",
        Verdict::BadUpload => "bad upload",
        Verdict::BadEncode => "bad encode",
        Verdict::FrameMismatch if is_first_generation => "bad framecount",
        Verdict::FrameMismatch => "frame mismatch",
    }
}

async fn short(mut field: Field<'_>) -> Result<String, String> {
    let mut bytes = Vec::new();
    loop {
        match field.chunk().await {
            Ok(None) => break,
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_FIELD_BYTES => {
                bytes.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err("a field of the form is too long".into()),
            Err(error) => return Err(format!("the form broke off: {}", error.body_text())),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file to disk as it comes. What is not wanted is read to its end all the same: a worker that
/// is broken off sends it again and again.
async fn receive(
    app: &AppState,
    upload: &Upload,
    mut field: Field<'_>,
) -> Result<Received, ApiError> {
    let checked = app.scenes.check_upload(upload).await?;
    let path = app
        .scenes
        .folder()
        .join(Uuid::new_v4().simple().to_string());
    let failed = |error: std::io::Error| {
        tracing::warn!(%error, "an upload cannot be written");
        let told = "the upload cannot be written to storage.directory";
        ApiError::new(StatusCode::INSUFFICIENT_STORAGE, told)
    };
    let staged = Staged(path);
    let mut file = match checked {
        Ok(_) => Some(tokio::fs::File::create(&staged.0).await.map_err(failed)?),
        Err(_) => None,
    };
    let most = checked.unwrap_or(0);
    let limit = app.artifacts.max_bytes();
    let mut bytes: u64 = 0;
    loop {
        let chunk = match field.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                let told = format!("the upload broke off: {}", error.body_text());
                return Err(ApiError::new(StatusCode::BAD_REQUEST, told));
            }
        };
        bytes += chunk.len() as u64;
        if bytes > limit {
            let told = "the upload is larger than artifacts.max_bytes";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, told));
        }
        if bytes > most {
            file = None;
        }
        if let Some(file) = &mut file {
            file.write_all(&chunk).await.map_err(failed)?;
        }
    }
    if let Some(file) = &mut file {
        file.flush().await.map_err(failed)?;
    }
    Ok(match (checked, file) {
        (Err(verdict), _) => Received::Unneeded(verdict),
        (Ok(_), Some(_)) if bytes > 0 => Received::Whole(staged),
        (Ok(_), _) => Received::Useless,
    })
}
