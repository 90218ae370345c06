//! The list of routes.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{delete, get, post, put};
use http::{HeaderName, Method, StatusCode, Uri, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::web_ui;

use super::error::{ApiError, Verbatim};
use super::state::AppState;
use super::{
    access, artifacts, distconv, download, engines, events, files, grav1, health, jobs, licenses,
    machine, metrics, observe, openapi, peertube, presence, progress, queries, readiness, settings,
    sharing, stream, streams, transcode,
};

/// Largest request body, bytes: requests are small JSON objects.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Longest text of a refusal that is passed on, bytes.
const MAX_REASON_BYTES: usize = 4096;

/// All routes of the gateway.
pub fn router(state: AppState) -> Router {
    let origins = state.access.allowed_origins();
    let origins = match origins.is_empty() {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ])
        // What is asked for is repeated, as web clients of grav1 were answered.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            header::ETAG,
            HeaderName::from_static("retry-after"),
            HeaderName::from_static("location"),
            HeaderName::from_static("upload-offset"),
            HeaderName::from_static("upload-length"),
            HeaderName::from_static("tus-resumable"),
            HeaderName::from_static("video-id"),
        ]);
    Router::new()
        .route("/api/health", get(health::health))
        .route("/health", get(health::health))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(readiness::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::json))
        .route("/docs", get(openapi::docs))
        .route("/docs/style.css", get(openapi::style))
        .route("/api/live", get(health::alive))
        .route("/api/ready", get(readiness::ready))
        .route("/api/capabilities", get(health::capabilities))
        .route("/capabilities", get(health::capabilities))
        .route("/api/health/detailed", get(machine::detailed))
        .route("/api/stats", get(health::stats))
        .route("/api/transcode/{id}/leave", post(sharing::leave))
        .route("/api/streams/shared", get(sharing::shared))
        .route("/api/cleanup/stats", get(sharing::cleanup_stats))
        .route("/api/cleanup/run", post(sharing::cleanup_run))
        .route("/api/transcode/start", post(transcode::start))
        .route("/transcode", post(transcode::start))
        .route("/api/transcode/{id}/status", get(transcode::status))
        .route(
            "/transcode/{id}",
            get(transcode::status).delete(transcode::cancel),
        )
        .route("/api/transcode/{id}/cancel", post(transcode::cancel))
        .route("/api/transcode/{id}/stream", get(transcode::stream_info))
        .route("/api/transcode/{id}", delete(transcode::delete))
        .route("/stream/{id}/{*file}", get(stream::file))
        .route("/download/{id}", get(download::file))
        .route("/download/{id}/{part}", get(download::part))
        .route("/api/clients", get(presence::clients))
        .route("/ws/progress", get(progress::listen))
        .route("/api/v2/files", get(files::list))
        .merge(queries::routes(&state))
        .route("/api/v2/jobs", get(jobs::list))
        .route("/api/v2/jobs/{id}", get(jobs::show))
        .route("/api/v2/jobs/{id}/cancel", post(jobs::cancel))
        .route("/api/v2/jobs/{id}/retry", post(jobs::retry))
        .route("/api/v2/jobs/{id}/priority", post(jobs::prioritise))
        .route("/api/v2/queue", get(jobs::counts))
        .route("/api/v2/events", get(events::listen))
        .route("/api/v2/streams", get(streams::list))
        .route("/api/v2/streams/{id}", get(streams::show))
        .route("/api/v2/config", get(settings::show))
        .route("/api/v2/licenses", get(licenses::list))
        .route("/api/v2/jobs/{id}/lease/{verb}", post(engines::report))
        .route("/api/v2/jobs/{id}/source", get(engines::source))
        .route("/api/v2/engines", get(engines::list))
        .route("/api/v2/engines/{id}", delete(engines::deregister))
        .route("/api/v2/engines/{id}/claim", post(engines::claim))
        .route("/api/v2/engines/{id}/drain", post(engines::drain))
        .route("/api/v2/engines/{id}/resume", post(engines::resume))
        .route("/api/v2/uploads/{file}", put(artifacts::upload_source))
        .route(
            "/api/v2/artifacts/{job}/{file}",
            get(artifacts::download).put(artifacts::upload),
        )
        .merge(grav1::routes(&state))
        .merge(distconv::routes())
        .merge(peertube::routes())
        .merge(web_ui::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(shaped))
        .layer(from_fn_with_state(state.clone(), presence::note))
        .layer(from_fn_with_state(state.clone(), access::guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors)
        .layer(from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

/// Refusals by axum itself (a body too large, a path that is no UTF-8) are plain text; gives them the
/// shape of all others.
async fn shaped(response: Response) -> Response {
    if response.extensions().get::<Verbatim>().is_some() {
        return response;
    }
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let plain = kind.is_some_and(|k| k.as_bytes().starts_with(b"text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let told = format!("the request's body is larger than {MAX_BODY_BYTES} bytes");
        return ApiError::new(status, told).into_response();
    }
    let text = to_bytes(response.into_body(), MAX_REASON_BYTES).await;
    let text = text.map(|t| String::from_utf8_lossy(&t).into_owned());
    let reason = status.canonical_reason().unwrap_or("error").to_owned();
    ApiError::new(status, text.unwrap_or(reason)).into_response()
}

/// Workers of grav1 whose address of the gateway ends in a slash ask for `//api/...`.
async fn not_found(uri: Uri) -> Response {
    let whole = uri.path_and_query().map_or("", |p| p.as_str());
    if whole.starts_with("//") {
        let location = format!("/{}", whole.trim_start_matches('/'));
        return Redirect::permanent(&location).into_response();
    }
    match peertube::is_own(uri.path()) {
        true => peertube::nothing(StatusCode::NOT_FOUND),
        false => ApiError::not_found("Not Found").into_response(),
    }
}

async fn method_not_allowed(uri: Uri) -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    match peertube::is_own(uri.path()) {
        true => peertube::nothing(status),
        false => ApiError::new(status, "Method Not Allowed").into_response(),
    }
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response()
}
