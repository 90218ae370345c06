//! `/video` and `/videos`: what users do with videos.

use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::videos::{Given, Order, Submission};

use super::super::server::LongBody;
use super::super::state::AppState;
use super::multipart::{self, Texts};
use super::problem::Problem;
use super::tus;
use super::wire::video_shape;

type Answer = Result<Json<Value>, Problem>;

/// Room for what stands around the files of a body.
const AROUND_FILES: u64 = 1 << 20;
/// Largest body without files.
const MAX_BODY_BYTES: usize = 1 << 20;

fn taken(id: &str) -> Json<Value> {
    Json(json!({"video": {"id": id, "uuid": id}}))
}

/// Takes the fields of an order out of `texts`.
pub(super) fn order(texts: &mut Texts) -> Order {
    Order {
        name: texts.take("name"),
        jobs: texts.take("jobs"),
        resolutions: texts.take("resolutions"),
        fps: texts.take("fps"),
        tasks: texts.take("tasks"),
        destination: texts.take("destination"),
        callback_url: texts.take("callback_url"),
    }
}

/// Reads texts and files; files go to disk as they come.
async fn read(body: &mut Multipart, submission: &mut Submission) -> Result<Texts, Problem> {
    let mut texts = Texts::default();
    while let Some(mut field) = multipart::next(body).await? {
        let name = field.name().unwrap_or_default().to_owned();
        if multipart::is_file(&field) {
            // A name that leads anywhere is only a name.
            let shown = field.file_name().unwrap_or_default();
            let shown = shown.rsplit(['/', '\\']).next().unwrap_or_default();
            if texts.required("name").is_err() && !shown.is_empty() {
                texts.put(FILE_NAME, shown.to_owned())?;
            }
            let file = submission.file(&name).await?;
            let stored = multipart::store(&mut field, file).await?;
            submission.keep(&name, stored);
        } else {
            let text = multipart::text(&mut field).await?;
            texts.put(&name, text)?;
        }
    }
    Ok(texts)
}

/// Where the name of the uploaded file is kept among the texts: no part is called that.
const FILE_NAME: &str = "\0file name";

/// `POST /video/upload`.
pub(super) async fn upload(
    State(app): State<AppState>,
    Extension(long): Extension<LongBody>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    if headers.contains_key(tus::RESUMABLE) {
        return tus::begin(&app, &headers).await;
    }
    long.allow();
    let mut body = multipart::body(Multipart::from_request(request, &app).await)?;
    let mut submission = app.videos.submission();
    let length = headers.get(header::CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|l| l.to_str().ok()?.parse().ok());
    let most = app.videos.max_upload_bytes();
    let read = match length.is_some_and(|l| l > most.saturating_add(AROUND_FILES)) {
        true => Err(crate::videos::VideoError::TooLarge(most).into()),
        false => read(&mut body, &mut submission).await,
    };
    let mut texts = match read {
        Ok(texts) => texts,
        Err(problem) => return Err(multipart::refuse(&app, body, problem)),
    };
    let part = ["videoFile", "file"]
        .into_iter()
        .find(|p| submission.has(p));
    let part = part.ok_or_else(|| Problem::bad("videoFile: is missing"))?;
    let mut order = order(&mut texts);
    order.name = order.name.or_else(|| texts.take(FILE_NAME));
    let base = app.base_url(&headers);
    let given = Given::Part(part.to_owned());
    let id = app.videos.submit(submission, given, &order, &base).await?;
    Ok(taken(&id).into_response())
}

/// The fields of a JSON object as texts; lists as comma lists.
fn texts_of_json(body: &[u8]) -> Result<Texts, Problem> {
    let fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|e| Problem::bad(format!("the body must be a JSON object: {e}")))?;
    let mut texts = Texts::default();
    for (name, value) in fields {
        let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let text = match &value {
            Value::Null => continue,
            // The steps of an edit are JSON anyway.
            Value::Array(items) if name != "tasks" => {
                items.iter().map(plain).collect::<Vec<_>>().join(",")
            }
            value => plain(value),
        };
        texts.put(&name, text)?;
    }
    Ok(texts)
}

fn texts_of_form(body: &[u8]) -> Result<Texts, Problem> {
    let mut texts = Texts::default();
    for (name, value) in url::form_urlencoded::parse(body) {
        texts.put(&name, value.into_owned())?;
    }
    Ok(texts)
}

/// `POST /video/transcode`: JSON or a form, which may bring files along.
pub(super) async fn transcode(
    State(app): State<AppState>,
    Extension(long): Extension<LongBody>,
    request: Request,
) -> Answer {
    let headers = request.headers().clone();
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
    let mut submission = app.videos.submission();
    let mut texts = if kind.starts_with("multipart/") {
        long.allow();
        let mut body = multipart::body(Multipart::from_request(request, &app).await)?;
        match read(&mut body, &mut submission).await {
            Ok(texts) => texts,
            Err(problem) => return Err(multipart::refuse(&app, body, problem)),
        }
    } else {
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
        let body = body.map_err(|_| Problem::bad("the body broke off or is too large"))?;
        match kind.starts_with("application/x-www-form-urlencoded") {
            true => texts_of_form(&body)?,
            false => texts_of_json(&body)?,
        }
    };
    let place = texts.required("path")?.to_owned();
    let (order, base) = (order(&mut texts), app.base_url(&headers));
    let given = Given::Place(place);
    let id = app.videos.submit(submission, given, &order, &base).await?;
    Ok(taken(&id))
}

/// `POST /video/live`.
pub(super) async fn live(State(app): State<AppState>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut texts = texts_of_json(&body)?;
    let given = Given::Live(texts.required("source")?.to_owned());
    let (order, base) = (order(&mut texts), app.base_url(&headers));
    let submission = app.videos.submission();
    let id = app.videos.submit(submission, given, &order, &base).await?;
    Ok(taken(&id))
}

pub(super) async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let view = app.videos.view(&id).await?;
    let links = app.video_links(&id, app.base_url(&headers));
    Ok(Json(video_shape(&view, &links)))
}

pub(in super::super) async fn list(State(app): State<AppState>, headers: HeaderMap) -> Answer {
    let base = app.base_url(&headers);
    let views = app.videos.list().await?;
    let shape =
        |v: &crate::videos::VideoView| video_shape(v, &app.video_links(&v.id, base.clone()));
    let videos: Vec<Value> = views.iter().map(shape).collect();
    Ok(Json(json!({"total": videos.len(), "videos": videos})))
}

pub(super) async fn remove(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.videos.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
