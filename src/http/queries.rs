//! Media queries: `/version`, `/thumb` (also `/video?url=`), `/webm`, `/preview`, `/storyboard`,
//! `/meta` (contract `pythumbio.md`).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::media::query::{
    MetaQuery, ParameterError, Parameters, PictureFormat, PreviewFormat, PreviewQuery,
    StoryboardQuery, ThumbQuery, WebmQuery,
};
use crate::queries::{Prepared, Queries, Query, QueryError};

use super::body::unmeasured;
use super::error::{ApiError, QueryRefusal};
use super::links::TOKEN_PARAMETER;
use super::peertube;
use super::ranges::{self, Asked};
use super::state::AppState;

/// Credentials for the source, in the form of an `Authorization` header.
const SOURCE_AUTHORIZATION: HeaderName = HeaderName::from_static("x-source-authorization");

/// Answers are asked for anew after this time, mostly to hear that they have not changed.
const MAX_AGE_SECONDS: u32 = 300;

const STORYBOARD: &str = "/storyboard";

/// The parameter with a sheet's number.
const SHEET: &str = "sheet";

/// Paths that are answered in the shape of media queries. `/video` and what lies below it is PeerTube's.
pub(super) fn is_own(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    let own = ["version", "thumb", "webm", "preview", "storyboard", "meta"];
    path == "/video" || first.is_some_and(|first| own.contains(&first))
}

/// What a client hears that did not give the gateway's key.
pub(super) fn unauthorised(error: &ApiError) -> Response {
    let text = error.text().unwrap_or_default();
    let mut response = QueryRefusal::new(StatusCode::UNAUTHORIZED, text).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, scheme);
    response
}

/// The routes, with and without a trailing slash.
pub(super) fn routes(state: &AppState) -> Router<AppState> {
    let mut routes = Router::new();
    for (path, handler) in [
        ("/version", get(version)),
        ("/thumb", get(thumb)),
        // The original's second name for it.
        ("/video", get(thumb)),
        ("/webm", get(webm)),
        ("/preview", get(preview)),
        (STORYBOARD, get(storyboard)),
        ("/meta", get(meta)),
    ] {
        let handler = handler.fallback(method_not_allowed);
        routes = routes.route(path, handler.clone());
        if path == "/video" {
            let handler = get(thumb_or_videos).fallback(method_not_allowed);
            routes = routes.route("/video/", handler);
        } else {
            routes = routes.route(&format!("{path}/"), handler);
            routes = routes.route(&format!("{path}/{{*rest}}"), axum::routing::any(not_found));
        }
    }
    routes.route_layer(from_fn_with_state(state.clone(), legacy))
}

async fn method_not_allowed() -> Response {
    let mut response =
        QueryRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD").into_response();
    let allow = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

async fn not_found() -> QueryRefusal {
    QueryRefusal::new(StatusCode::NOT_FOUND, "there is no such path")
}

/// With `queries.legacy_errors`, refusals say so in the body only, as the original's did; it knew one
/// other status, for methods.
async fn legacy(State(app): State<AppState>, request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    if app.legacy_query_errors && is_refusal && status != StatusCode::METHOD_NOT_ALLOWED {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

async fn version(State(app): State<AppState>, asked: Asked) -> Result<Response, QueryRefusal> {
    let text = app.queries.ffmpeg_version_text();
    let words = |start: &str| -> Vec<&str> {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(start));
        line.unwrap_or_default().split_whitespace().collect()
    };
    let libraries: serde_json::Map<String, serde_json::Value> = text
        .lines()
        .filter(|l| l.starts_with("lib"))
        .filter_map(|l| {
            let (name, rest) = l.split_once(char::is_whitespace)?;
            let built = rest.split('/').next()?.replace(' ', "");
            Some((name.to_owned(), built.into()))
        })
        .collect();
    let body = json!({
        "ver": text,
        "ffmpeg": app.queries.ffmpeg_version(),
        "configuration": words("configuration:"),
        "libraries": libraries,
        "ghoststream": env!("CARGO_PKG_VERSION"),
    });
    let body = Bytes::from(body.to_string());
    let tag = content_tag(&body);
    finished(body, "application/json", &tag, &asked).await
}

async fn thumb(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = ThumbQuery::read(&p)?;
    let kind = picture_type(query.format);
    whole(&app.queries, &p, Query::Thumb(query), kind, &asked).await
}

/// `/video/`: the picture of a source that is named, else the list of videos.
async fn thumb_or_videos(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Response {
    let named = parameters(query.clone())
        .text("url")
        .is_ok_and(|u| u.is_some());
    match named {
        true => thumb(State(app), RawQuery(query), asked)
            .await
            .into_response(),
        false => peertube::list(State(app), asked.headers)
            .await
            .into_response(),
    }
}

async fn preview(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = PreviewQuery::read(&p)?;
    let kind = match query.format {
        PreviewFormat::Webm => "video/webm",
        PreviewFormat::Gif => "image/gif",
        PreviewFormat::Webp => "image/webp",
        PreviewFormat::Mp4 => "video/mp4",
    };
    whole(&app.queries, &p, Query::Preview(query), kind, &asked).await
}

async fn meta(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = Query::Meta(MetaQuery::read(&p)?);
    whole(&app.queries, &p, query, "application/json", &asked).await
}

/// What the token of a sheet's address is for: all sheets of one list, which have the same query but for
/// their number.
pub(super) fn sheet_subject(uri: &Uri) -> Option<String> {
    let pairs = uri.query().filter(|_| uri.path() == STORYBOARD)?.split('&');
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let (own, shared): (Vec<&str>, Vec<&str>) =
        pairs.partition(|pair| [SHEET, TOKEN_PARAMETER].contains(&name(pair).as_str()));
    own.iter()
        .any(|pair| name(pair) == SHEET)
        .then(|| shared.join("&"))
}

/// The list of pictures, or a sheet that it names.
async fn storyboard(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    let url = p.url()?;
    let query = StoryboardQuery::read(&p)?;
    let question = Query::Storyboard(query.clone());
    if query.sheet.is_some() {
        let kind = picture_type(query.format);
        return whole(&app.queries, &p, question, kind, &asked).await;
    }
    let prepared = prepare(&app.queries, &p, question, &asked.headers).await?;
    let board = prepared.storyboard(&query).await?;
    let shared = shared_by_sheets(url, &query);
    let links = app.sheet_links(&shared, &asked.headers);
    let to = |sheet| links.to(&format!("{STORYBOARD}?{shared}&{SHEET}={sheet}"));
    let text = Bytes::from(board.vtt(to));
    let tag = content_tag(&text);
    finished(text, "text/vtt; charset=utf-8", &tag, &asked).await
}

/// The query of all sheets of a list, but for their number.
fn shared_by_sheets(url: &str, query: &StoryboardQuery) -> String {
    let mut link = url::form_urlencoded::Serializer::new(String::new());
    link.append_pair("url", url);
    link.append_pair("interval", &query.interval_seconds.to_string());
    link.append_pair("width", &query.width.to_string());
    link.append_pair("columns", &query.columns.to_string());
    link.append_pair("format", query.format.name());
    link.append_pair("quality", &query.quality.to_string());
    link.finish()
}

/// Cancelled when the client goes, as is its encoder.
async fn webm(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    asked: Asked,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = WebmQuery::read(&p)?;
    let prepared = prepare(&app.queries, &p, Query::Webm(query.clone()), &asked.headers).await?;
    let begun = prepared.webm(&query, asked.method != Method::HEAD).await?;
    let mut response = match begun {
        None => unmeasured(),
        Some(body) => {
            let stream = body.into_stream();
            let stream =
                stream.inspect_err(|error| tracing::warn!(%error, "a WebM stream ended early"));
            Body::from_stream(stream).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/webm"));
    // It is made anew each time, and never twice the same.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    Ok(response)
}

fn parameters(query: Option<String>) -> Parameters {
    Parameters::parse(&query.unwrap_or_default())
}

fn picture_type(format: PictureFormat) -> &'static str {
    match format {
        PictureFormat::Jpeg => "image/jpeg",
        PictureFormat::Png => "image/png",
        PictureFormat::Webp => "image/webp",
        PictureFormat::Avif => "image/avif",
    }
}

async fn prepare(
    queries: &Arc<Queries>,
    p: &Parameters,
    query: Query,
    headers: &HeaderMap,
) -> Result<Prepared, QueryRefusal> {
    let given = headers.get(SOURCE_AUTHORIZATION).cloned();
    Ok(queries.prepare(p.url()?, given, query).await?)
}

/// Answers with a whole result or a part of it, or that the client has it already.
async fn whole(
    queries: &Arc<Queries>,
    p: &Parameters,
    query: Query,
    kind: &'static str,
    asked: &Asked,
) -> Result<Response, QueryRefusal> {
    let prepared = prepare(queries, p, query, &asked.headers).await?;
    let tag = prepared.tag().map(|t| format!("\"{t}\""));
    // What the client has needs not be made again.
    let answer = match &tag {
        Some(tag) if asked.has(tag) => Bytes::new(),
        _ => prepared.answer().await?,
    };
    let tag = tag.unwrap_or_else(|| content_tag(&answer));
    finished(answer, kind, &tag, asked).await
}

/// A strong entity tag of the content.
fn content_tag(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

async fn finished(
    body: Bytes,
    kind: &'static str,
    tag: &str,
    asked: &Asked,
) -> Result<Response, QueryRefusal> {
    let mut response = ranges::bytes::<QueryRefusal>(asked, body, Some(tag)).await?;
    let private = asked.headers.contains_key(SOURCE_AUTHORIZATION);
    let status = response.status();
    let headers = response.headers_mut();
    if status.is_success() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        let whose = if private { "private" } else { "public" };
        let caching = format!("{whose}, max-age={MAX_AGE_SECONDS}");
        if let Ok(caching) = HeaderValue::try_from(caching) {
            headers.insert(header::CACHE_CONTROL, caching);
        }
    }
    let vary = HeaderValue::from_static("x-source-authorization");
    headers.append(header::VARY, vary);
    Ok(response)
}

impl From<ParameterError> for QueryRefusal {
    fn from(error: ParameterError) -> Self {
        QueryError::Parameter(error).into()
    }
}
