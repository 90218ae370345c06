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
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::media::query::{
    MetaQuery, ParameterError, Parameters, PictureFormat, PreviewFormat, PreviewQuery,
    StoryboardQuery, ThumbQuery, WebmQuery,
};
use crate::queries::{Prepared, Queries, Query, QueryError};

use super::body::unmeasured;
use super::error::QueryRefusal;
use super::peertube;
use super::state::AppState;

/// Credentials for the source, in the form of an `Authorization` header.
const SOURCE_AUTHORIZATION: HeaderName = HeaderName::from_static("x-source-authorization");

/// Answers are asked for anew after this time, mostly to hear that they have not changed.
const MAX_AGE_SECONDS: u32 = 300;

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
        ("/storyboard", get(storyboard)),
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

/// With `queries.legacy_errors`, refusals say so in the body only, as the original's did.
async fn legacy(State(app): State<AppState>, request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    if app.legacy_query_errors && (status.is_client_error() || status.is_server_error()) {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

async fn version(State(app): State<AppState>, headers: HeaderMap) -> Response {
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
    finished(body, "application/json", &tag, &headers, false)
}

async fn thumb(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = ThumbQuery::read(&p)?;
    let kind = picture_type(query.format);
    whole(&app.queries, &p, Query::Thumb(query), kind, &headers).await
}

/// `/video/`: the picture of a source that is named, else the list of videos.
async fn thumb_or_videos(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let named = parameters(query.clone())
        .text("url")
        .is_ok_and(|u| u.is_some());
    match named {
        true => thumb(State(app), RawQuery(query), headers)
            .await
            .into_response(),
        false => peertube::list(State(app), headers).await.into_response(),
    }
}

async fn preview(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
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
    whole(&app.queries, &p, Query::Preview(query), kind, &headers).await
}

async fn meta(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = Query::Meta(MetaQuery::read(&p)?);
    whole(&app.queries, &p, query, "application/json", &headers).await
}

/// The list of pictures, or a sheet that it names.
async fn storyboard(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    let url = p.url()?;
    let query = StoryboardQuery::read(&p)?;
    let asked = Query::Storyboard(query.clone());
    if query.sheet.is_some() {
        let kind = picture_type(query.format);
        return whole(&app.queries, &p, asked, kind, &headers).await;
    }
    let prepared = prepare(&app.queries, &p, asked, &headers).await?;
    let board = prepared.storyboard(&query).await?;
    let mut link = url::form_urlencoded::Serializer::new(String::new());
    link.append_pair("url", url);
    link.append_pair("interval", &query.interval_seconds.to_string());
    link.append_pair("width", &query.width.to_string());
    link.append_pair("columns", &query.columns.to_string());
    link.append_pair("format", query.format.name());
    link.append_pair("quality", &query.quality.to_string());
    let link = format!("{}/storyboard?{}", app.base_url(&headers), link.finish());
    let text = Bytes::from(board.vtt(|sheet| format!("{link}&sheet={sheet}")));
    let tag = content_tag(&text);
    let private = headers.contains_key(SOURCE_AUTHORIZATION);
    Ok(finished(
        text,
        "text/vtt; charset=utf-8",
        &tag,
        &headers,
        private,
    ))
}

/// Cancelled when the client goes, as is its encoder.
async fn webm(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, QueryRefusal> {
    let p = parameters(query);
    p.url()?;
    let query = WebmQuery::read(&p)?;
    let prepared = prepare(&app.queries, &p, Query::Webm(query.clone()), &headers).await?;
    let begun = prepared.webm(&query, method != Method::HEAD).await?;
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

/// Answers with a whole result, or that the client has it already.
async fn whole(
    queries: &Arc<Queries>,
    p: &Parameters,
    query: Query,
    kind: &'static str,
    headers: &HeaderMap,
) -> Result<Response, QueryRefusal> {
    let prepared = prepare(queries, p, query, headers).await?;
    let private = headers.contains_key(SOURCE_AUTHORIZATION);
    let tag = prepared.tag().map(|t| format!("\"{t}\""));
    if let Some(tag) = &tag
        && client_has(headers, tag)
    {
        return Ok(finished(Bytes::new(), kind, tag, headers, private));
    }
    let answer = prepared.answer().await?;
    let tag = tag.unwrap_or_else(|| content_tag(&answer));
    Ok(finished(answer, kind, &tag, headers, private))
}

/// A strong entity tag of the content.
fn content_tag(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// RFC 9110 section 13.1.2; the comparison is weak.
fn client_has(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter();
    let tags = lists
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    let mut tags = tags.map(|t| t.trim().trim_start_matches("W/"));
    tags.any(|t| t == "*" || t == tag)
}

fn finished(
    body: Bytes,
    kind: &'static str,
    tag: &str,
    asked: &HeaderMap,
    private: bool,
) -> Response {
    let mut response = match client_has(asked, tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let mut response = Body::from(body).into_response();
            let kind = HeaderValue::from_static(kind);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
    };
    let whose = if private { "private" } else { "public" };
    let caching = format!("{whose}, max-age={MAX_AGE_SECONDS}");
    for (name, value) in [(header::ETAG, tag), (header::CACHE_CONTROL, &caching)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    let vary = HeaderValue::from_static("x-source-authorization");
    response.headers_mut().append(header::VARY, vary);
    response
}

impl From<ParameterError> for QueryRefusal {
    fn from(error: ParameterError) -> Self {
        QueryError::Parameter(error).into()
    }
}
